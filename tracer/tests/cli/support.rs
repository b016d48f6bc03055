//! Runs the program.

use std::{
    ffi::OsString,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

pub(crate) const TCPLEAK: &str = env!("CARGO_BIN_EXE_tcpleak");

pub(crate) fn tcpleak(line: &str) -> Command {
    let mut command = Command::new(TCPLEAK);
    command.args(line.split_whitespace());
    command
}

pub(crate) fn run(line: &str) -> Result<Output> {
    Ok(tcpleak(line).output()?)
}

pub(crate) fn text(bytes: &[u8]) -> Result<&str> {
    Ok(std::str::from_utf8(bytes)?)
}

pub(crate) fn assert_one_line(output: &Output, code: i32, what: &str) -> Result<()> {
    let said = text(&output.stderr)?;
    assert_eq!(output.status.code(), Some(code), "{what}: {said}");
    assert_eq!(text(&output.stdout)?, "", "{what}");
    let line = said.strip_suffix('\n').context("no line end")?;
    assert!(
        line.starts_with("tcpleak: ") && !line.contains("panicked"),
        "{what}: {said}"
    );
    assert!(!line.chars().any(char::is_control), "{what}: {said}");
    Ok(())
}

/// The line of `doctor` that has this name.
pub(crate) fn check(report: &Value, name: &str) -> Result<Value> {
    let checks = report["checks"].as_array().context("no checks")?;
    let found = checks.iter().find(|check| check["name"] == name);
    found.cloned().with_context(|| format!("no check {name}"))
}

/// The program as somebody without root runs it.
pub(crate) struct Unprivileged {
    program: PathBuf,
    _temp: Temp,
}

impl Unprivileged {
    /// A copy, as the build's directories may be closed to others.
    pub(crate) fn new() -> Result<Self> {
        let temp = Temp::new()?;
        let program = temp.0.join("tcpleak");
        // By another process: one that is started meanwhile on another thread would
        // inherit the open copy, and a file open for writing is not run.
        let copy = Command::new("cp").arg(TCPLEAK).arg(&program).status()?;
        ensure!(copy.success(), "cannot copy the program");
        fs::set_permissions(&temp.0, Permissions::from_mode(0o755))?;
        fs::set_permissions(&program, Permissions::from_mode(0o755))?;
        Ok(Self {
            program,
            _temp: temp,
        })
    }

    pub(crate) fn tcpleak(&self, line: &str) -> Command {
        let as_nobody = [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
        ];
        let mut words: Vec<OsString> = Vec::new();
        if nix::unistd::geteuid().is_root() {
            words.extend(as_nobody.map(OsString::from));
        }
        words.push(self.program.clone().into());
        words.extend(line.split_whitespace().map(OsString::from));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
    }
}

/// A directory that goes away.
pub(crate) struct Temp(pub(crate) PathBuf);

impl Temp {
    pub(crate) fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tcpleak-cli-{}-{count}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
