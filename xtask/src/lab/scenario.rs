//! The scenarios: a folder each under `lab/LANGUAGE/`, described by its
//! `scenario.toml`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use super::expectation::{Expectation, Site};

/// The comment that marks the line which opens connections.
const MARKER: &str = "// opened here";

/// What a scenario is made of, for the runner.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    /// `LANGUAGE/NAME`
    pub(crate) name: String,
    pub(crate) language: Language,
    /// Its folder
    pub(crate) dir: PathBuf,
    pub(crate) plan: Plan,
}

/// What the programs of a scenario are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Go,
    Java,
    Node,
    /// None of its own: configured programs and the shared ends.
    Proxy,
    Python,
    Rust,
}

impl Language {
    const ALL: [(&str, Self); 6] = [
        ("go", Self::Go),
        ("java", Self::Java),
        ("node", Self::Node),
        ("proxy", Self::Proxy),
        ("python", Self::Python),
        ("rust", Self::Rust),
    ];
}

/// `scenario.toml`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    /// Why this is, or is not, a leak
    pub(crate) about: String,
    /// Whether `--quick` runs it
    #[serde(default)]
    pub(crate) quick: bool,
    /// How long the programs run before the watch starts, in seconds; less than 0
    /// where they start after it
    #[serde(default = "five")]
    pub(crate) lead_s: i64,
    pub(crate) expect: Expectation,
    /// Settings of both namespaces
    #[serde(default)]
    pub(crate) sysctl: BTreeMap<String, i64>,
    /// In the order in which they are started
    #[serde(rename = "program")]
    pub(crate) programs: Vec<Program>,
    #[serde(default, rename = "event")]
    pub(crate) events: Vec<Event>,
}

const fn five() -> i64 {
    5
}

/// A program that takes part.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Program {
    pub(crate) name: String,
    /// Words; the first is `main` for the folder's own, `answerer` or `caller`
    /// for the shared ends, else a program of the machine. See lab/README.md for
    /// what stands in braces.
    pub(crate) run: String,
    #[serde(default, rename = "in")]
    pub(crate) place: Place,
}

/// Something that happens to the network.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Event {
    /// Seconds after the first program was started; 0 is before that
    pub(crate) at_s: u64,
    /// For the shell
    pub(crate) run: String,
    #[serde(default, rename = "in")]
    pub(crate) place: Place,
}

/// Which of the two namespaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Place {
    /// The one that tcpleak watches
    #[default]
    Near,
    /// The one at the other end of a link
    Far,
}

impl Plan {
    /// Whether a second namespace is wanted.
    pub(crate) fn has_far(&self) -> bool {
        self.programs.iter().any(|one| one.place == Place::Far)
    }
}

/// Reads every scenario below `lab`, by name.
pub(crate) fn load_all(lab: &Path) -> Result<Vec<Scenario>> {
    let mut scenarios = Vec::new();
    for (folder, language) in Language::ALL {
        let entries = fs::read_dir(lab.join(folder))
            .with_context(|| format!("no scenarios in {}", lab.join(folder).display()))?;
        for entry in entries {
            let dir = entry?.path();
            if dir.join("scenario.toml").is_file() {
                let scenario = load(&dir, folder, language)
                    .with_context(|| format!("{}/scenario.toml", dir.display()))?;
                scenarios.push(scenario);
            }
        }
    }
    scenarios.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(scenarios)
}

fn load(dir: &Path, folder: &str, language: Language) -> Result<Scenario> {
    let mut plan: Plan = toml::from_str(&fs::read_to_string(dir.join("scenario.toml"))?)?;
    let owner = &plan.expect.owner;
    ensure!(
        plan.programs
            .iter()
            .any(|one| one.name == *owner && one.place == Place::Near),
        "the owner {owner:?} is no program of the watched namespace"
    );
    if let Some(site) = &mut plan.expect.site {
        site.line = marked_line(dir)?;
    }
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    Ok(Scenario {
        name: format!("{folder}/{name}"),
        language,
        dir: dir.to_owned(),
        plan,
    })
}

/// `FILE:LINE` of the one marked line in a folder's sources, if one is marked.
fn marked_line(dir: &Path) -> Result<Option<String>> {
    let mut found = None;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let text = fs::read_to_string(&path).unwrap_or_default();
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        for (index, _) in text
            .lines()
            .enumerate()
            .filter(|(_, line)| line.contains(MARKER))
        {
            if found.is_some() {
                bail!("two lines are marked `{MARKER}`: one call site a scenario");
            }
            found = Some(format!("{file}:{}", index + 1));
        }
    }
    Ok(found)
}

impl Site {
    /// Whether one of a report's `frames` is this.
    pub(crate) fn is_in(&self, frames: &[String]) -> bool {
        frames.iter().any(|frame| {
            frame.contains(&self.function)
                && self.line.as_ref().is_none_or(|line| {
                    frame
                        .split_whitespace()
                        .any(|word| word.ends_with(line.as_str()))
                })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::build;

    #[test]
    fn every_scenario_reads_and_the_lab_is_broad() {
        let all = load_all(&build::sources()).expect("scenarios");
        let healthy = all
            .iter()
            .filter(|one| one.plan.expect.is_healthy())
            .count();
        assert!(
            all.len() >= 40 && healthy >= 18,
            "{healthy} of {}",
            all.len()
        );
        for one in all {
            assert!(one.plan.about.len() > 80, "{}: say more about it", one.name);
            let expected = &one.plan.expect;
            let compiled = matches!(one.language, Language::Go | Language::Rust);
            assert!(
                !compiled || expected.site.is_some(),
                "{}: no call site expected",
                one.name
            );
        }
    }

    #[test]
    fn a_frame_is_a_function_and_a_line() {
        let site = Site {
            function: "main.fetch".to_owned(),
            line: Some("main.go:12".to_owned()),
        };
        let in_frames = |frame: &str| site.is_in(&["net.Dial".to_owned(), frame.to_owned()]);
        assert!(in_frames("main.fetch main.go:12"));
        assert!(in_frames("main.fetch /lab/go/x/main.go:12"));
        assert!(!in_frames("main.fetch main.go:121"));
        assert!(!in_frames("main.other main.go:12"));
        assert!(!site.is_in(&[]));
    }
}
