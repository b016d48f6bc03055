//! Suites in compiled languages, built with Debian's compilers.

use std::process::Command;

use anyhow::Result;

use super::{Checked, assert_balance, assert_healthy, assert_leak, check, line_of, suites};
use crate::support::{process::output, temp::TempDir};

fn go(options: &str, tests: &str) -> Result<Checked> {
    let cache = TempDir::new()?;
    let command = [
        "go",
        "test",
        "-count=1",
        "-vet=off",
        "-run",
        tests,
        "client_test.go",
    ];
    check(options, &command, |command| {
        command
            .env("GOCACHE", cache.path())
            .env("GO111MODULE", "off");
    })
}

fn rust(options: &str, test: &str) -> Result<Checked> {
    let folder = TempDir::new()?;
    let program = folder.path().join("suite");
    let mut rustc = Command::new("rustc");
    rustc
        .args([
            "--test",
            "--edition=2021",
            "-g",
            "-Cforce-frame-pointers=yes",
            "-o",
        ])
        .arg(&program)
        .arg(suites().join("client.rs"));
    output(&mut rustc)?;
    let program = program.to_string_lossy().into_owned();
    check(options, &[&program, test], |_| ())
}

#[test]
fn go_that_leaks_is_named_by_line() -> Result<()> {
    let checked = go("--format json", "TestLeakSocket|TestCloses")?;
    assert_leak(
        &checked,
        "missing-close",
        &line_of("client_test.go", "// LEAK")?,
    )
}

#[test]
fn go_that_does_not_close_a_body_leaks() -> Result<()> {
    let checked = go("--format json", "TestLeakBody")?;
    assert_eq!(
        checked.code,
        Some(3),
        "{} {}",
        checked.stderr,
        checked.report
    );
    let failing = checked.failing()?;
    assert_eq!(failing.len(), 1, "{failing:?}");
    assert_eq!(failing[0]["code"], "missing-close", "{failing:?}");
    // Its transport dials in a goroutine of its own: no test is on the stack.
    let site = failing[0]["site"]["call_site"].to_string();
    assert!(site.contains("net/http.(*Transport)"), "{site}");
    assert_balance(&checked)
}

#[test]
fn go_that_keeps_a_connection_alive_does_not_leak() -> Result<()> {
    // Both ends of it.
    assert_healthy(&go("--format json", "TestCloses|TestKeepsAlive")?, 2)
}

#[test]
fn rust_that_leaks_is_named_by_line() -> Result<()> {
    let checked = rust("--format json", "leaks")?;
    assert_leak(&checked, "missing-close", &line_of("client.rs", "// LEAK")?)
}

#[test]
fn rust_that_closes_does_not_leak() -> Result<()> {
    assert_healthy(&rust("--format json", "closes")?, 0)
}
