//! A nightly Rust, whose sanitizers and coverage fuzzing needs, and cargo-fuzz.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::{
    command::{output, run, step},
    place,
};

/// What fuzzing needs.
pub(crate) struct Tools {
    /// Name of the toolchain, as rustup lists it
    nightly: String,
}

/// Finds a nightly, and cargo-fuzz, which is installed if need be.
pub(crate) fn set_up() -> Result<Tools> {
    let list = output(Command::new("rustup").args(["toolchain", "list"])).unwrap_or_default();
    let tools = Tools {
        nightly: nightly(&list)
            .context("fuzzing needs a nightly Rust: run `rustup toolchain install nightly`")?,
    };
    if !tools.has_cargo_fuzz() {
        step("cargo install cargo-fuzz (a few minutes)");
        let mut install = Command::new(place::cargo());
        install
            .args(["install", "cargo-fuzz", "--locked", "--quiet"])
            // Away from this workspace's own settings.
            .current_dir("/");
        run(&mut install)?;
    }
    Ok(tools)
}

impl Tools {
    /// `cargo fuzz` with the nightly, at the root of the repository.
    pub(crate) fn cargo_fuzz(&self, what: &str) -> Command {
        let mut cargo = Command::new("rustup");
        cargo
            .args(["run", &self.nightly, "cargo", "fuzz", what])
            .current_dir(place::root());
        cargo
    }

    fn has_cargo_fuzz(&self) -> bool {
        let mut version = self.cargo_fuzz("--version");
        let said = version.stdout(Stdio::null()).stderr(Stdio::null()).status();
        said.is_ok_and(|status| status.success())
    }
}

/// The nightly of a list of toolchains: the one that is kept up to date, else
/// one of a date.
fn nightly(list: &str) -> Option<String> {
    let names = list
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let mut nightlies: Vec<&str> = names.filter(|name| name.starts_with("nightly")).collect();
    nightlies.sort_by_key(|name| name.starts_with("nightly-20"));
    nightlies.first().map(|&name| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::nightly;

    #[test]
    fn any_nightly_serves_and_the_current_one_best() {
        let list = "stable-x86_64-unknown-linux-gnu (active, default)\n\
                    nightly-2026-01-02-x86_64-unknown-linux-gnu\n\
                    nightly-x86_64-unknown-linux-gnu\n";
        let current = "nightly-x86_64-unknown-linux-gnu";
        assert_eq!(nightly(list).as_deref(), Some(current));
        let dated = "nightly-2026-01-02-x86_64-unknown-linux-gnu";
        assert_eq!(nightly(dated).as_deref(), Some(dated));
        assert_eq!(nightly("no installed toolchains"), None);
    }
}
