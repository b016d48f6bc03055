//! The books of a run: what hooks generated is what was delivered and what was
//! lost, reason by reason, to the last record.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Why a record may be lost, as reports name it.
const REASONS: [&str; 4] = ["ring_full", "hook_missed", "undecodable", "unrecorded"];

/// Checks a run that came to its end: the report that `leaks` printed as JSON,
/// or the last line that `trace` wrote to standard error. Other output says
/// nothing of it.
pub(crate) fn check(stdout: &str, stderr: &str) -> Result<()> {
    if stderr.contains(" records made, ") {
        return of_trace(stderr);
    }
    match serde_json::from_str::<Value>(stdout) {
        Ok(report) if report["schema"] == "tcpleak.leaks/1" => of_leaks(&report["loss"]),
        _ => Ok(()),
    }
}

fn of_leaks(loss: &Value) -> Result<()> {
    let number = |name: &str| {
        let number = loss[name].as_u64();
        number.with_context(|| format!("no number `{name}` in {loss}"))
    };
    let mut lost = 0;
    for reason in REASONS {
        lost += number(reason)?;
    }
    ensure!(
        number("events_lost")? == lost,
        "a reason is missing: {loss}"
    );
    ensure!(
        number("events_generated")? == number("events_delivered")? + lost,
        "records are unaccounted for: {loss}"
    );
    Ok(())
}

/// `...; 90 records made, 80 delivered, 10 records lost, ...`
fn of_trace(stderr: &str) -> Result<()> {
    let generated = number_before(&["records", "made"], stderr)?;
    let delivered = number_before(&["delivered"], stderr)?;
    ensure!(
        generated == delivered + lost(stderr)?,
        "records are unaccounted for: {stderr}"
    );
    Ok(())
}

/// Records that `trace` says it lost, by what it wrote to standard error.
pub(crate) fn lost(stderr: &str) -> Result<usize> {
    number_before(&["records", "lost"], stderr)
}

fn number_before(name: &[&str], text: &str) -> Result<usize> {
    let words: Vec<&str> = text
        .split([' ', ',', ';'])
        .filter(|w| !w.is_empty())
        .collect();
    let at = words.windows(name.len()).position(|words| words == name);
    let number = at.and_then(|at| words.get(at.checked_sub(1)?)?.parse().ok());
    number.with_context(|| format!("no number of {name:?} in {text}"))
}
