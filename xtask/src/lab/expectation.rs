//! What is true of a scenario, as its file says.

use serde::{Deserialize, Serialize};

/// What kind of trouble, worst first, as tcpleak's reports name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Class {
    Leak,
    Stuck,
    Peer,
    Churn,
    Unknown,
    Healthy,
}

impl Class {
    pub(crate) const ALL: [Self; 6] = [
        Self::Leak,
        Self::Stuck,
        Self::Peer,
        Self::Churn,
        Self::Unknown,
        Self::Healthy,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Leak => "leak",
            Self::Stuck => "stuck",
            Self::Peer => "peer",
            Self::Churn => "churn",
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
        }
    }

    /// Whether somebody is told to act.
    pub(crate) const fn is_trouble(self) -> bool {
        !matches!(self, Self::Unknown | Self::Healthy)
    }

    /// Whether to say this of a healthy program is to cry wolf.
    pub(crate) const fn is_alarm(self) -> bool {
        matches!(self, Self::Leak | Self::Stuck)
    }
}

/// Which side of its connections a program is on, as reports name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Client,
    Server,
    Listener,
}

/// What tcpleak should say of a scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expectation {
    pub(crate) class: Class,
    /// The verdict's code
    pub(crate) code: String,
    /// Codes that are as true of it
    #[serde(default)]
    pub(crate) also: Vec<String>,
    /// The program that must act, or that owns what the peer does
    #[serde(default = "main_program")]
    pub(crate) owner: String,
    /// The side it is on
    pub(crate) role: Role,
    /// The call site; its file and line are where the sources say `opened here`
    pub(crate) site: Option<Site>,
}

/// The code that opens the connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Site {
    /// As the symbol table names it
    pub(crate) function: String,
    /// File and line, from the sources; none where a library opens them
    #[serde(skip)]
    pub(crate) line: Option<String>,
}

fn main_program() -> String {
    "main".to_owned()
}

impl Expectation {
    pub(crate) fn is_healthy(&self) -> bool {
        self.class == Class::Healthy
    }

    /// Whether `code` says what is true.
    pub(crate) fn allows(&self, code: &str) -> bool {
        self.code == code || self.also.iter().any(|also| also == code)
    }
}
