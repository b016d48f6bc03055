//! A report as one HTML file, which asks nothing of a network: what was found, what
//! each connection did, and how the trace was taken.
//!
//! All of it stands in the file and can be read without a script; the script adds the
//! filter, the zoom and the keyboard.

mod chart;

use std::io::{self, Write};

use askama::Template;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest as _, Sha256};

use self::chart::{AgesChart, Curve};
use super::{
    drawn::Drawn,
    leaks::words::{
        OTHER_ENDS_SHOWN, closing, counts, end, is_finding, left, other_ends, owner, running_out,
    },
    table::{clock, shown},
    text::{between, count, loss_reasons},
    timeline::mark_letter,
};
use crate::{
    diagnosis::{explain, forecast::Supply},
    model::{
        fields::{Field, field},
        frame,
        report::{Group, Leaks},
        timeline::{MarkKind, Phase, Timeline},
        untrusted::spelled_out,
    },
    tcp::Role,
};

const STYLE: &str = include_str!("../../../templates/page.css");
const SCRIPT: &str = include_str!("../../../templates/page.js");

/// Rows of a timeline; a browser draws so many in about a second.
const ROWS: usize = 10_000;

/// Connections listed with a finding; the timeline has the others.
const CONNECTIONS: usize = 50;

const COLUMNS: [&str; 9] = [
    "fd", "local", "remote", "state", "age_ms", "idle_ms", "recv_q", "send_q", "holders",
];

/// What stands first on a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leads {
    /// What was found.
    Findings,
    /// What each connection did.
    Timeline,
}

/// Writes a page of both.
///
/// # Errors
/// As `out` fails.
pub fn page(
    out: &mut dyn Write,
    report: &Leaks,
    timeline: &Timeline,
    leads: Leads,
) -> io::Result<()> {
    let findings = report.groups.iter().filter(|group| is_finding(group));
    let quiet = report.groups.iter().filter(|group| !is_finding(group));
    let drawn = Drawn::new(timeline, ROWS);
    let (from, to) = timeline.window;
    let page = Page {
        leads,
        report,
        closing: spelled_out(&closing(report)).into_owned(),
        findings: (1..)
            .zip(findings)
            .map(|(number, group)| Finding::new(number, group, report, &drawn))
            .collect(),
        quiet: quiet.map(Quiet::new).collect(),
        drawn,
        watched: between(from, to),
        begins: format!("{from:.0}"),
        ends: format!("{to:.0}"),
        first_tick: clock(from),
        last_tick: clock(to),
        script_hash: BASE64_STANDARD.encode(Sha256::digest(SCRIPT)),
        from_us: from.as_microsecond(),
        to_us: to.as_microsecond(),
        columns: COLUMNS.iter().filter_map(|name| field(name)).collect(),
    };
    page.write_into(out)
}

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    leads: Leads,
    report: &'a Leaks,
    closing: String,
    findings: Vec<Finding<'a>>,
    quiet: Vec<Quiet>,
    drawn: Drawn<'a>,
    watched: String,
    begins: String,
    ends: String,
    first_tick: String,
    last_tick: String,
    script_hash: String,
    /// Microseconds of Unix time.
    from_us: i64,
    to_us: i64,
    columns: Vec<&'static Field>,
}

impl Page<'_> {
    /// Figures at its head, each with what it counts.
    fn tiles(&self) -> [(u64, &'static str, &'static str); 5] {
        let summary = &self.report.summary;
        [
            (summary.leaked, "leaked", "leak"),
            (summary.stuck, "stuck", "stuck"),
            (summary.live, "open", ""),
            (summary.connections_seen, "seen", ""),
            (self.report.loss.events_lost, "records lost", ""),
        ]
    }

    /// How it was taken.
    fn facts(&self) -> Vec<(&'static str, String)> {
        let Leaks {
            host,
            kernel,
            plan,
            window: (from, to),
            loss,
            summary,
            ..
        } = self.report;
        let mut facts = vec![
            ("Host", host.to_string()),
            ("Kernel", kernel.to_string()),
            ("Plan", (*plan).to_owned()),
            ("Watched", format!("{from:.0} to {to:.0}, {}", self.watched)),
            (
                "Records",
                format!(
                    "{} made, {} delivered, {} lost{}",
                    loss.events_generated,
                    loss.events_delivered,
                    loss.events_lost,
                    match loss.events_lost {
                        0 => String::new(),
                        _ => format!(" ({})", loss_reasons(loss)),
                    }
                ),
            ),
            (
                "Repaired",
                format!("{} by snapshots", count(loss.repaired, "connection")),
            ),
        ];
        if summary.evicted > 0 {
            let evicted = count(summary.evicted, "connection");
            facts.push(("Not followed", format!("{evicted}, for want of room")));
        }
        let blind = self.report.blind.iter();
        facts.extend(blind.map(|blind| ("Not seen", spelled_out(blind).into_owned())));
        facts
    }
}

/// A finding in words.
struct Finding<'a> {
    number: usize,
    group: &'a Group,
    class: &'static str,
    owner: String,
    /// Number of its site in the timeline.
    place: Option<usize>,
    /// Label and text, in the order of the report on a terminal.
    lines: Vec<(&'static str, String)>,
    cause: Option<String>,
    frames: Vec<(String, bool)>,
    curve: Option<Curve>,
    ages: Option<AgesChart>,
    more: usize,
}

impl<'a> Finding<'a> {
    fn new(number: usize, group: &'a Group, report: &Leaks, drawn: &Drawn<'_>) -> Self {
        let (site, verdict) = (&group.site, &group.verdict);
        let best = frame::call_site(&site.frames);
        let frames = site.frames.iter().enumerate();
        Self {
            number,
            group,
            class: verdict.class.name(),
            owner: format!("{}, {}", owner(&group.owner), end(group)),
            place: drawn.place_of(&site.id, group.owner.pid),
            lines: lines(group, report),
            cause: explain::of(verdict.code).map(|text| text.cause()),
            frames: frames
                .map(|(index, frame)| (frame.to_string(), Some(index) == best))
                .collect(),
            curve: Curve::new(&group.curve),
            ages: AgesChart::new(group),
            more: group.connections.len().saturating_sub(CONNECTIONS),
        }
    }

    /// The cells of the connections that are listed.
    fn rows(&self, columns: &[&Field]) -> Vec<Vec<String>> {
        let listed = self.group.connections.iter().take(CONNECTIONS);
        listed
            .map(|row| columns.iter().map(|field| shown(field, row)).collect())
            .collect()
    }
}

fn lines(group: &Group, report: &Leaks) -> Vec<(&'static str, String)> {
    let (site, verdict, owner) = (&group.site, &group.verdict, &group.owner);
    let safe = |text: &str| spelled_out(text).into_owned();
    let opened = match group.role {
        Role::Client => "opened at",
        Role::Server | Role::Listener => "accepted at",
    };
    let place = if site.opened_before_start {
        Some("opened before tcpleak started".to_owned())
    } else {
        site.call_site().map(|frame| format!("{opened} {frame}"))
    };
    let supplies = [
        ("fds", &group.forecast.fds),
        ("ports", &group.forecast.ports),
    ];
    let limits = supplies.into_iter().filter_map(|(what, supply)| {
        let supply = supply.filter(Supply::matters)?;
        Some(("Limit", Some(running_out(what, supply))))
    });
    let text = |text: &Option<_>| text.as_ref().map(ToString::to_string);
    let mut lines = vec![
        ("Count", Some(counts(group))),
        ("Left", left(group, report.window.1)),
        ("Site", place),
    ];
    let others = other_ends(group, OTHER_ENDS_SHOWN);
    lines.extend(others.into_iter().map(|other| ("Peer", Some(other))));
    lines.extend([
        ("Why", Some(safe(&verdict.why))),
        ("Fix", Some(safe(&verdict.fix))),
    ]);
    lines.extend(limits);
    lines.extend([
        ("Program", text(&owner.exe)),
        ("Cgroup", text(&owner.cgroup)),
        ("Container", text(&owner.container)),
    ]);
    lines
        .into_iter()
        .filter_map(|(label, text)| Some((label, text?)))
        .collect()
}

/// A site of which there is nothing to say, or too little to say it.
struct Quiet {
    code: &'static str,
    owner: String,
    counts: String,
}

impl Quiet {
    fn new(group: &Group) -> Self {
        Self {
            code: group.verdict.code,
            owner: format!("{}, {}", owner(&group.owner), end(group)),
            counts: counts(group),
        }
    }
}

#[cfg(test)]
mod tests;
