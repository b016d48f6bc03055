//! `check` for people: a block per finding, worst first, then the outcome.

use std::io;

use super::end;
use crate::{
    check::{
        report::{Ended, Finding, Run},
        rule::Verdict,
    },
    view::{
        table::{self, COMM_WIDTH, Columns},
        text::{Colour, Page, between, clip, count, loss_sentence},
    },
};

/// Enough to see the pattern.
const CONNECTIONS_SHOWN: usize = 3;

/// Enough to tell by which way the code is reached.
const CALLERS_SHOWN: usize = 2;

const INDENT: usize = 3;

const COLUMNS: Columns = &[
    ("fd", 0),
    ("local", 2),
    ("remote", 0),
    ("state", 0),
    ("age_ms", 0),
    ("idle_ms", 1),
];

pub(super) fn write(page: &mut Page<'_>, run: &Run, verbose: bool) -> io::Result<()> {
    for (number, finding) in (1..).zip(&run.findings) {
        block(page, number, finding, verbose)?;
        page.blank()?;
    }
    for blind in run.blind.iter().filter(|_| verbose) {
        page.labelled("Not seen: ", blind)?;
    }
    page.text(loss_sentence(&run.loss))?;
    let colour = if run.fails() {
        Colour::Red
    } else {
        Colour::Green
    };
    page.hanging("", 0, Some(colour), closing(run))
}

fn block(page: &mut Page<'_>, number: usize, finding: &Finding, verbose: bool) -> io::Result<()> {
    let colour = match (finding.fails, finding.verdict) {
        (false, _) => Colour::Grey,
        (true, Verdict::Stuck) => Colour::Yellow,
        (true, _) => Colour::Red,
    };
    let outcome = match &finding.allowed_by {
        Some(pattern) => format!("allowed by {pattern}"),
        None if finding.fails => "fails the run".to_owned(),
        None => "does not fail the run".to_owned(),
    };
    let verdict = finding.verdict.name().to_uppercase();
    page.coloured(
        colour,
        format_args!("{number}. {verdict}: {} ({outcome})", finding.code),
    )?;
    let comm = finding.comm.as_ref().map_or_else(
        || "unknown process".to_owned(),
        |comm| clip(&comm.to_string(), COMM_WIDTH),
    );
    let pid = finding.pid.map(|pid| format!("[{pid}]"));
    let owner = format!("{comm}{}, {}", pid.unwrap_or_default(), end(finding));
    page.labelled("   owner  ", owner)?;
    site(page, finding, verbose)?;
    page.labelled("   why    ", &finding.why)?;
    page.labelled("   fix    ", &finding.fix)?;
    let first = &finding.connections[..finding.connections.len().min(CONNECTIONS_SHOWN)];
    table::connections(page, INDENT, COLUMNS, first)?;
    match finding.connections.len() - first.len() {
        0 => Ok(()),
        more => page.labelled(
            "   ",
            format_args!("… and {more} more (--format json lists all)"),
        ),
    }
}

/// The test, and the code that it opened the connections by.
fn site(page: &mut Page<'_>, finding: &Finding, verbose: bool) -> io::Result<()> {
    let site = &finding.site;
    if let Some(test) = site.test_frame() {
        page.labelled("   test   ", test)?;
    }
    if let Some(best) = site.call_site().filter(|_| site.best != site.test) {
        page.labelled("   site   ", best)?;
    }
    let shown = match (verbose, site.best, site.test) {
        (true, ..) => &site.frames[..],
        // The test is among them.
        (false, Some(best), Some(test)) => &site.frames[best + 1..test.max(best + 1)],
        (false, Some(best), None) => &site.frames[best + 1..],
        (false, None, _) => &[],
    };
    let most = if verbose { shown.len() } else { CALLERS_SHOWN };
    for frame in &shown[..shown.len().min(most)] {
        page.labelled("            ", frame)?;
    }
    Ok(())
}

/// What was found, and how the command ended.
fn closing(run: &Run) -> String {
    let counts = &run.counts;
    let span = between(run.window.0, run.window.1);
    let ended = match run.ended {
        Ended::Exited(0) => "The command succeeded".to_owned(),
        Ended::Exited(code) => format!("The command failed with exit code {code}"),
        Ended::Killed(signal) => format!("Signal {signal} ended the command"),
    };
    let parts = [
        (counts.leaked, "leaked"),
        (counts.stuck, "stuck"),
        (counts.held, "closed by nothing but an exit"),
        (counts.allowed, "allowed"),
        (counts.forgotten, "not judged for want of room"),
    ];
    let parts = parts.into_iter().filter(|(n, _)| *n > 0);
    let parts: Vec<_> = parts.map(|(n, what)| format!("{n} {what}")).collect();
    let seen = count(counts.seen, "connection");
    let found = match parts.is_empty() {
        true => format!("no connection was left open: {seen} in {span}"),
        false => format!("{} of {seen} in {span}", parts.join(", ")),
    };
    format!("{ended}; {found}.")
}
