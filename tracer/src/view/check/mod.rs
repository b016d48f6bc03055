//! `tcpleak check`: what a command left open, and whether that fails the run.

mod document;
mod junit;
mod people;
mod sarif;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

use super::{Style, json, text::Page};
use crate::{
    check::report::{Finding, Run},
    model::{frame::Frame, untrusted::Untrusted},
    tcp::Role,
};

/// How to write the report of `check`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum CheckFormat {
    /// For people: tables and sentences.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// JUnit's XML, for CI servers: a test case for each finding.
    Junit,
    /// SARIF 2.1.0, for code review.
    Sarif,
}

/// Writes the report; for people `verbose`, with whole call stacks and what the plan
/// cannot see.
///
/// # Errors
/// As `out` fails.
pub fn check(
    out: &mut dyn Write,
    run: &Run,
    format: CheckFormat,
    style: Style,
    verbose: bool,
) -> io::Result<()> {
    match format {
        CheckFormat::Table => people::write(&mut Page::new(out, style), run, verbose),
        CheckFormat::Json => json::document(out, &document::Document::new(run)),
        CheckFormat::Junit => junit::write(out, run),
        CheckFormat::Sarif => json::document(out, &sarif::log(run)),
    }
}

/// `leak_test.go:21`; the function where no line is known.
fn place(frame: &Frame) -> Untrusted {
    match (&frame.file, frame.line) {
        (Some(file), Some(line)) => Untrusted::from(format!("{}:{line}", file.raw()).as_str()),
        _ => frame.text(),
    }
}

/// What its process was to whom.
fn end(finding: &Finding) -> String {
    match (finding.role, finding.local_port) {
        (Role::Client, _) if finding.remote == "*" => "client of several ends".to_owned(),
        (Role::Client, _) => format!("client of {}", finding.remote),
        (role, 0) => format!("{role} on several ports"),
        (role, port) => format!("{role} on port {port}"),
    }
}
