//! What is said of a group, and of a report, in a few words.

use jiff::Timestamp;

use crate::{
    diagnosis::{Class, forecast::Supply},
    model::{
        report::{Group, GroupOwner, Leaks},
        untrusted::Untrusted,
    },
    tcp::Role,
    view::{
        table::COMM_WIDTH,
        text::{between, clip, count, duration},
    },
};

pub(in crate::view) fn is_finding(group: &Group) -> bool {
    !matches!(group.verdict.class, Class::Healthy | Class::Unknown)
}

/// How much is left, and for how long.
pub(in crate::view) fn running_out(what: &str, supply: Supply) -> String {
    let percent = supply.used.saturating_mul(100) / supply.limit.max(1);
    let used = format!(
        "{} of {} {what} used ({percent} %)",
        supply.used, supply.limit
    );
    match supply.hours_left {
        Some(hours) => format!(
            "{used}, {:.0} more an hour: full in {hours:.1} hours",
            supply.growth_per_hour
        ),
        None => used,
    }
}

/// `comm[pid]`.
pub(in crate::view) fn owner(owner: &GroupOwner) -> String {
    process(owner.comm.as_ref(), owner.pid, owner.processes)
}

/// `comm[pid]` of one process, or the name that so many exited ones had.
pub(in crate::view) fn process(
    comm: Option<&Untrusted>,
    pid: Option<u32>,
    processes: u64,
) -> String {
    let comm = comm.map_or_else(
        || "unknown process".to_owned(),
        |comm| clip(&comm.to_string(), COMM_WIDTH),
    );
    match (pid, processes) {
        (Some(pid), _) => format!("{comm}[{pid}]"),
        (None, 2..) => format!("{comm} ({processes} processes, exited)"),
        (None, _) => comm,
    }
}

/// Programs at the other end that are named: enough to see whether it is one or many.
pub(in crate::view) const OTHER_ENDS_SHOWN: usize = 3;

/// Where the peer must act: the programs of this host that are it, but for those past
/// `shown`, which are counted.
pub(in crate::view) fn other_ends(group: &Group, shown: usize) -> Vec<String> {
    let all = group.other_ends.iter();
    let mut lines: Vec<_> = all
        .take(shown)
        .map(|end| {
            let name = process(Some(&end.comm), Some(end.pid), 1);
            let (of, live) = (end.connections, group.live);
            format!("{name}, on this host: the other end of {of} of {live}")
        })
        .collect();
    let more = group.other_ends.len() - lines.len();
    if more > 0 {
        lines.push(format!(
            "… and {} on this host",
            count(more as u64, "more program")
        ));
    }
    lines
}

/// What the owner is to whom.
pub(in crate::view) fn end(group: &Group) -> String {
    side(group.role, &group.remote, group.local_port)
}

/// What one in this role is to `remote`, or by which port.
pub(in crate::view) fn side(role: Role, remote: &str, local_port: u16) -> String {
    match role {
        Role::Client => format!("client of {remote}"),
        Role::Server | Role::Listener => format!("{role} on port {local_port}"),
    }
}

pub(in crate::view) fn counts(group: &Group) -> String {
    let (more, why) = if group.incomplete {
        ("+", " (records were lost)")
    } else {
        ("", "")
    };
    let mut text = format!(
        "{} live, {}{more} opened, {}{more} closed{why}",
        group.live, group.opened, group.closed
    );
    if group.inherited > 0 {
        text += &format!(", {} from before the watch", group.inherited);
    }
    let states: Vec<_> = group
        .states
        .iter()
        .map(|(state, n)| format!("{n} {state}"))
        .collect();
    if !states.is_empty() {
        text += &format!("; {}", states.join(", "));
    }
    match group.oldest_age_ms {
        Some(age) => text += &format!("; oldest {}", duration(age)),
        None if group.live > 0 => text += "; oldest from before the watch",
        None => {}
    }
    text
}

/// What ended ones have left in the kernel, and for how long.
pub(in crate::view) fn left(group: &Group, now: Timestamp) -> Option<String> {
    let left = group.lingering;
    let until = left.until?;
    let lots = [(left.time_wait, "TIME_WAIT"), (left.fin_wait2, "FIN_WAIT2")];
    let lots = lots.into_iter().filter(|(n, _)| *n > 0);
    let lots: Vec<_> = lots.map(|(n, state)| format!("{n} in {state}")).collect();
    Some(format!(
        "{}, the last for another {}",
        lots.join(", "),
        between(now, until)
    ))
}

pub(in crate::view) fn number_of(groups: &[Group], class: Class) -> u64 {
    groups
        .iter()
        .filter(|group| group.verdict.class == class)
        .map(|_| 1)
        .sum()
}

/// What was seen, and what to do next.
pub(in crate::view) fn closing(report: &Leaks) -> String {
    let summary = &report.summary;
    let watched = between(report.window.0, report.window.1);
    if summary.connections_seen == 0 {
        return format!(
            "No connection was seen in {watched}: watch while the service is under load, and \
             check the filters (--pid, --port, --cgroup)."
        );
    }
    let seen = format!(
        "{} watched for {watched}",
        count(summary.connections_seen, "connection")
    );
    let Some(worst) = report.groups.iter().find(|group| is_finding(group)) else {
        return match number_of(&report.groups, Class::Unknown) {
            0 => format!(
                "No leak found: {seen}. A slow leak shows in a longer watch (--for 10m), or under \
                 load."
            ),
            early => format!(
                "No leak found yet: {seen}, but {} had too little traffic to tell. Watch longer \
                 (--for 10m), or under load.",
                count(early, "site")
            ),
        };
    };
    let found = match (summary.leaked, summary.stuck) {
        (0, 0) => "No leak".to_owned(),
        (0, stuck) => format!("No leak, but {} stuck", count(stuck, "connection")),
        (leaked, 0) => format!("{} leaked", count(leaked, "connection")),
        (leaked, stuck) => format!("{} leaked and {stuck} stuck", count(leaked, "connection")),
    };
    let verb = match worst.verdict.class {
        Class::Leak | Class::Stuck => "Fix",
        _ => "Look at",
    };
    format!(
        "{found}; {seen}. {verb} first: {} in {}, {}.",
        worst.verdict.code,
        owner(&worst.owner),
        end(worst)
    )
}
