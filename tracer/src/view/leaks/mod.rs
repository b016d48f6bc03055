//! `tcpleak leaks`: who leaks, who is stuck, and who must act.

mod document;
mod people;
pub(super) mod words;

use std::io::{self, Write};

use super::{Format, Style, csv, json, text::Page};
use crate::model::report::{Group, Leaks};

/// What the reader asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaksOptions {
    /// Show healthy sites and those too early to tell.
    pub all: bool,
    /// Show the evidence, the owner's whereabouts and what the plan cannot see.
    pub verbose: bool,
}

/// Writes the report; groups in the order given.
///
/// # Errors
/// As `out` fails.
pub fn leaks(
    out: &mut dyn Write,
    report: &Leaks,
    format: Format,
    style: Style,
    options: LeaksOptions,
) -> io::Result<()> {
    match format {
        Format::Table => people::write(&mut Page::new(out, style), report, options),
        Format::Json => json::document(out, &document::Document::new(report)),
        Format::Jsonl => report
            .groups
            .iter()
            .try_for_each(|group| json::line(out, &document::Finding::new(group))),
        Format::Csv => {
            csv::record(
                out,
                GROUP_COLUMNS
                    .map(str::to_owned)
                    .into_iter()
                    .chain(csv::header()),
            )?;
            report.groups.iter().try_for_each(|group| rows(out, group))
        }
    }
}

const GROUP_COLUMNS: [&str; 10] = [
    "code",
    "class",
    "confidence",
    "fault",
    "owner_pid",
    "owner_comm",
    "owner_exe",
    "owner_cgroup",
    "owner_container",
    "site",
];

/// A row for each connection; one without a connection for a group that has
/// none left, lest the finding be missed.
fn rows(out: &mut dyn Write, group: &Group) -> io::Result<()> {
    let (verdict, owner) = (&group.verdict, &group.owner);
    let before = [
        verdict.code.to_owned(),
        verdict.class.to_string(),
        verdict.confidence.to_string(),
        csv::maybe(verdict.fault),
        csv::maybe(owner.pid),
        csv::maybe(owner.comm.as_ref()),
        csv::maybe(owner.exe.as_ref()),
        csv::maybe(owner.cgroup.as_ref()),
        csv::maybe(owner.container.as_ref()),
        csv::text(&group.site.id),
    ];
    if group.connections.is_empty() {
        let nothing = csv::header().map(|_| String::new());
        return csv::record(out, before.into_iter().chain(nothing));
    }
    group.connections.iter().try_for_each(|connection| {
        csv::record(out, before.iter().cloned().chain(csv::row(connection)))
    })
}
