//! `leaks` for people: a block per finding, worst first, then what to do next.

use std::io;

use jiff::Timestamp;

use super::{
    LeaksOptions,
    words::{
        OTHER_ENDS_SHOWN, closing, counts, end, is_finding, left, number_of, other_ends, owner,
        running_out,
    },
};
use crate::{
    diagnosis::{Class, Evidence, explain, forecast::Supply},
    model::{
        frame,
        report::{Group, GroupOwner, Leaks},
    },
    tcp::Role,
    view::{
        table::{self, Columns},
        text::{Colour, Page, clip, count, loss_sentence},
    },
};

/// Enough to see the pattern.
const CONNECTIONS_SHOWN: usize = 5;

/// Enough to tell by which way the code is reached.
const CALLERS_SHOWN: usize = 2;

/// Short container ids are what `docker ps` and `crictl ps` print.
const CONTAINER_WIDTH: usize = 13;

const INDENT: usize = 3;

const COLUMNS: Columns = &[
    ("fd", 0),
    ("local", 3),
    ("remote", 0),
    ("state", 0),
    ("age_ms", 0),
    ("idle_ms", 1),
    ("recv_q", 0),
    ("send_q", 2),
];

pub(super) fn write(page: &mut Page<'_>, report: &Leaks, options: LeaksOptions) -> io::Result<()> {
    let shown: Vec<_> = report
        .groups
        .iter()
        .filter(|group| options.all || is_finding(group))
        .collect();
    for (number, group) in (1..).zip(&shown) {
        block(page, number, group, options, report.window.1)?;
        page.blank()?;
    }
    if !options.all {
        hidden(page, &report.groups)?;
    }
    if options.verbose {
        page.text(format_args!(
            "Host {}, kernel {}, plan {}, from {:.0} to {:.0}.",
            report.host, report.kernel, report.plan, report.window.0, report.window.1
        ))?;
        if !report.blind.is_empty() {
            page.text(format_args!("The {} plan cannot see:", report.plan))?;
        }
        for blind in &report.blind {
            page.labelled("- ", blind)?;
        }
    }
    page.text(loss_sentence(&report.loss))?;
    let colour = match shown.first().map(|group| group.verdict.class) {
        Some(class) => colour_of(class),
        None => Colour::Green,
    };
    page.hanging("", 0, Some(colour), closing(report))
}

const fn colour_of(class: Class) -> Colour {
    match class {
        Class::Leak => Colour::Red,
        Class::Stuck => Colour::Yellow,
        Class::Peer | Class::Churn => Colour::Blue,
        Class::Unknown => Colour::Grey,
        Class::Healthy => Colour::Green,
    }
}

fn block(
    page: &mut Page<'_>,
    number: usize,
    group: &Group,
    options: LeaksOptions,
    now: Timestamp,
) -> io::Result<()> {
    let verdict = &group.verdict;
    let fault = verdict
        .fault
        .map(|fault| format!(", fault: {fault}"))
        .unwrap_or_default();
    page.coloured(
        colour_of(verdict.class),
        format_args!(
            "{number}. {}: {} ({} confidence{fault})",
            verdict.class.name().to_uppercase(),
            verdict.code,
            verdict.confidence,
        ),
    )?;
    page.labelled(
        "   owner  ",
        format_args!("{}, {}", owner(&group.owner), end(group)),
    )?;
    if options.verbose {
        whereabouts(page, &group.owner)?;
    }
    page.labelled("   count  ", counts(group))?;
    if let Some(left) = left(group, now) {
        page.labelled("   left   ", left)?;
    }
    site(page, group, options)?;
    let shown = if options.verbose {
        usize::MAX
    } else {
        OTHER_ENDS_SHOWN
    };
    for other in other_ends(group, shown) {
        page.labelled("   peer   ", other)?;
    }
    page.labelled("   why    ", &verdict.why)?;
    page.labelled("   fix    ", &verdict.fix)?;
    for (what, supply) in [
        ("fds", &group.forecast.fds),
        ("ports", &group.forecast.ports),
    ] {
        if let Some(supply) = supply.filter(Supply::matters) {
            page.labelled("   limit  ", running_out(what, supply))?;
        }
    }
    if options.verbose {
        if let Some(text) = explain::of(verdict.code) {
            page.labelled("   cause  ", text.cause())?;
            page.labelled("   more   ", format_args!("tcpleak explain {}", text.code))?;
        }
        for Evidence { fact, value } in &verdict.evidence {
            page.labelled("   fact   ", format_args!("{fact}: {value}"))?;
        }
    }
    let first = &group.connections[..group.connections.len().min(CONNECTIONS_SHOWN)];
    if !first.is_empty() {
        table::connections(page, INDENT, COLUMNS, first)?;
    }
    match group.connections.len() - first.len() {
        0 => Ok(()),
        more => page.labelled(
            "   ",
            format_args!("… and {more} more (--format json lists all)"),
        ),
    }
}

/// Which code opened or accepted them: the frame that names it best and those that
/// called it; with `--verbose` all.
fn site(page: &mut Page<'_>, group: &Group, options: LeaksOptions) -> io::Result<()> {
    let site = &group.site;
    if site.opened_before_start {
        return page.labelled("   site   ", "opened before tcpleak started");
    }
    let Some(best) = frame::call_site(&site.frames) else {
        return Ok(());
    };
    let verb = match group.role {
        Role::Client => "opened at",
        Role::Server | Role::Listener => "accepted at",
    };
    page.labelled("   site   ", format_args!("{verb} {}", site.frames[best]))?;
    let more = if options.verbose {
        &site.frames[..]
    } else {
        let callers = &site.frames[best + 1..];
        &callers[..callers.len().min(CALLERS_SHOWN)]
    };
    for frame in more {
        page.labelled("            ", frame)?;
    }
    if options.verbose && site.cut_short {
        page.labelled("            ", "(cut short: what called this is not known)")?;
    }
    Ok(())
}

fn whereabouts(page: &mut Page<'_>, owner: &GroupOwner) -> io::Result<()> {
    let container = owner
        .container
        .as_ref()
        .map(|id| clip(&id.to_string(), CONTAINER_WIDTH));
    let places = [
        ("   exe    ", owner.exe.as_ref().map(ToString::to_string)),
        ("   cgroup ", owner.cgroup.as_ref().map(ToString::to_string)),
        ("   in     ", container.map(|id| format!("container {id}"))),
    ];
    for (label, place) in places {
        if let Some(place) = place {
            page.labelled(label, place)?;
        }
    }
    Ok(())
}

/// What the default leaves out, in one line.
fn hidden(page: &mut Page<'_>, groups: &[Group]) -> io::Result<()> {
    let healthy = number_of(groups, Class::Healthy);
    let early = number_of(groups, Class::Unknown);
    let parts: Vec<_> = [
        (healthy, count(healthy, "healthy site")),
        (early, format!("{} too early to tell", count(early, "site"))),
    ]
    .into_iter()
    .filter_map(|(n, text)| (n > 0).then_some(text))
    .collect();
    if parts.is_empty() {
        return Ok(());
    }
    page.text(format_args!("{}: --all shows them.", parts.join(", ")))
}
