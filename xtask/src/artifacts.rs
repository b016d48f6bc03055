//! What cargo built and where it put it, from cargo's own messages.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::command::{self, step};

/// One executable that cargo built.
pub(crate) struct Executable {
    /// The name of the target in its package
    pub(crate) target: String,
    /// What the target is: `bin`, `lib`, `test`...
    pub(crate) kind: String,
    /// Whether this is the target's test harness rather than the target itself
    pub(crate) is_test: bool,
    /// Where it is
    pub(crate) path: PathBuf,
}

/// Runs a cargo command that builds, and lists the executables it gave.
pub(crate) fn build(cargo: &mut Command) -> Result<Vec<Executable>> {
    step(command::shown(cargo));
    cargo
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit());
    let messages = command::output(cargo)?;
    let mut built = Vec::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message = serde_json::from_str(line).context("cannot read cargo's messages")?;
        if let Message::CompilerArtifact {
            target,
            profile,
            executable: Some(path),
        } = message
        {
            built.push(Executable {
                target: target.name,
                kind: target.kind.into_iter().next().unwrap_or_default(),
                is_test: profile.test,
                path,
            });
        }
    }
    Ok(built)
}

/// The path of the program `target` among the executables.
pub(crate) fn program(built: &[Executable], target: &str) -> Result<PathBuf> {
    built
        .iter()
        .find(|one| one.kind == "bin" && !one.is_test && one.target == target)
        .map(|one| one.path.clone())
        .with_context(|| format!("cargo built no program {target}"))
}

#[derive(Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Message {
    CompilerArtifact {
        target: Target,
        profile: Profile,
        executable: Option<PathBuf>,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}
