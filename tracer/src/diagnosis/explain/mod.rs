//! What each verdict means, and what to do about it: one text a verdict, beside this
//! file. Pure. `tcpleak explain` prints it, reports quote it.
//!
//! A text has a title (`# CODE: what is wrong`) and the sections named in
//! [`SECTIONS`]. The last one, the fix, begins with what holds for any program; a
//! list of `- RUNTIME: what to do` follows.

use std::fmt;

use super::runtime::Runtime;

/// The headings of every text, in order.
pub const SECTIONS: [&str; 4] = [
    "Cause",
    "How it is recognised",
    "How to tell it from a healthy pool",
    "Fix",
];

macro_rules! texts {
    ($($code:literal,)+) => {
        /// All texts, in the order of the rules' names.
        pub const ALL: &[Explanation] = &[
            $(Explanation { code: $code, text: include_str!(concat!($code, ".md")) },)+
        ];
    };
}

texts! {
    "missing-close",
    "response-not-finished",
    "inherited-fd",
    "dead-fd",
    "half-closed-held",
    "client-per-request",
    "pool-exhausted",
    "idle-growth",
    "unbounded-growth",
    "accept-stalled",
    "connect-stuck",
    "half-open-peer",
    "peer-wedged",
    "peer-not-reading",
    "timeout-not-passed",
    "keepalive-race",
    "silent-drop",
    "peer-leaks",
    "time-wait-churn",
    "not-enough-data",
    "healthy-pool",
    "healthy",
}

/// What there is to say of one verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The verdict's name.
    pub code: &'static str,
    /// The whole text: Markdown in lines of at most 80 columns.
    pub text: &'static str,
}

/// The text on `code`.
#[must_use]
pub fn of(code: &str) -> Option<&'static Explanation> {
    ALL.iter().find(|text| text.code == code)
}

/// The code most like a word that is none.
#[must_use]
pub fn nearest(word: &str) -> &'static str {
    let nearest = ALL
        .iter()
        .min_by_key(|text| strsim::levenshtein(word, text.code));
    nearest.map_or("healthy", |text| text.code)
}

impl Explanation {
    /// What is wrong, in a few words.
    #[must_use]
    pub fn title(&self) -> &'static str {
        let first = self.text.lines().next().unwrap_or_default();
        first.split_once(": ").map_or("", |(_, title)| title)
    }

    /// A section's text as it is written, without its heading.
    #[must_use]
    pub fn section(&self, heading: &str) -> &'static str {
        let heading = format!("\n## {heading}\n");
        let Some((_, rest)) = self.text.split_once(&heading) else {
            return "";
        };
        rest.split_once("\n## ")
            .map_or(rest, |(section, _)| section)
            .trim()
    }

    /// Why it comes to pass, in one line.
    #[must_use]
    pub fn cause(&self) -> String {
        in_one_line(self.section("Cause"))
    }

    /// What to do in a program on `runtime`, in one line: what holds for any, where
    /// nothing more particular is known.
    #[must_use]
    pub fn fix(&self, runtime: Runtime) -> String {
        let fix = self.section("Fix");
        let name = format!("- {runtime}: ");
        let mut items = fix.split("\n- ").skip(1).map(|item| format!("- {item}"));
        match items.find(|item| item.starts_with(&name)) {
            Some(item) => in_one_line(&item[name.len()..]),
            None => in_one_line(fix.split("\n- ").next().unwrap_or_default()),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
