//! From the ledger of a run to its findings. Pure.

use std::{cmp::Reverse, collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use rustc_hash::FxHashMap;

use super::{
    allow::Allow,
    ledger::{Ledger, Left, Opening},
    python,
    report::{Counts, Finding},
    rule::{self, Around, Judgement, SEVERAL, Verdict},
    site::Site,
};
use crate::{
    clock::{BootTime, WallClock},
    diagnosis::{explain, runtime::Runtime, text::span},
    model::{
        connection::{Connection, endpoint},
        frame::{self, Frame},
        untrusted::Untrusted,
    },
    table::site::CallStack,
    tcp::Role,
};

/// What the user asked for.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// How long a connection may be left before it counts.
    pub grace: Duration,
    /// Fail for whatever only an exit closed.
    pub strict: bool,
    /// What to let pass.
    pub allow: &'a [Allow],
}

impl<'a> Terms<'a> {
    /// The first pattern that lets a connection pass.
    fn allowed_by(&self, left: &Left, code: &str, site: &Site) -> Option<&'a str> {
        let connection = &left.connection;
        let comm = connection.owner.map(|owner| owner.comm).unwrap_or_default();
        let comm = Untrusted::from_bytes(comm.bytes());
        let remote = endpoint(connection.remote());
        let allow = self.allow.iter();
        let mut allow = allow.filter(|allow| allow.matches(code, comm.raw(), &remote, site));
        allow.next().map(Allow::text)
    }
}

/// Names code: call stacks of programs, and what Python tells of its own.
pub struct Names<'a> {
    /// The frames of a call stack.
    pub frames_of: &'a dyn Fn(CallStack) -> Arc<[Frame]>,
    /// What Python programs wrote.
    pub python: &'a python::Recorded,
}

impl Names<'_> {
    fn of_opening(&self, opening: &Opening) -> Arc<Site> {
        let recorded = self.python.find(&opening.owner, opening.at);
        recorded.unwrap_or_else(|| self.native(opening.stack()))
    }

    fn of(&self, left: &Left) -> Arc<Site> {
        let Some(opener) = left.connection.opener() else {
            return Arc::default();
        };
        let opened = left.connection.opened_at;
        let opened = opened.filter(|_| left.connection.role == Role::Client);
        let recorded = opened.and_then(|at| self.python.find(opener, at));
        let pid = opener.pid;
        let stack = opener.stack.map(|stack| CallStack { pid, stack });
        recorded.unwrap_or_else(|| self.native(stack))
    }

    fn native(&self, stack: Option<CallStack>) -> Arc<Site> {
        let frames = stack.map(self.frames_of).unwrap_or_default();
        Arc::new(Site::native(frames))
    }
}

/// One process's connections to one place from one piece of code.
type Origin = (u32, u32, SocketAddr, u64);

/// When each origin last opened a connection; none of code that cannot be told from
/// other code.
fn last_openings(ledger: &Ledger, names: &Names<'_>) -> FxHashMap<Origin, BootTime> {
    let mut last = FxHashMap::default();
    for opening in ledger.openings() {
        let site = names.of_opening(opening);
        if frame::tells_code(&site.frames) {
            let pid = opening.owner.pid;
            let origin = (pid, opening.netns, opening.remote, site.code());
            last.insert(origin, opening.at);
        }
    }
    last
}

/// Judges all that no program closed; worst first.
#[must_use]
pub fn findings(
    ledger: &Ledger,
    names: &Names<'_>,
    terms: Terms<'_>,
    clock: &WallClock,
) -> Vec<Finding> {
    let openings = last_openings(ledger, names);
    let left = ledger.left();
    let sites: Vec<Arc<Site>> = left.iter().map(|left| names.of(left)).collect();
    let origin = |left: &Left, site: &Site| {
        let opener = left.connection.opener()?;
        let connection = &left.connection;
        Some((
            opener.pid,
            connection.netns,
            connection.remote(),
            site.code(),
        ))
    };
    let mut passed_over: FxHashMap<Origin, usize> = FxHashMap::default();
    let unused: Vec<Option<u64>> = left
        .iter()
        .zip(&sites)
        .map(|(left, site)| {
            let origin = origin(left, site)?;
            let last = openings.get(&origin).copied();
            let unused = rule::passed_over(left, last, terms.grace)?;
            *passed_over.entry(origin).or_default() += 1;
            Some(unused)
        })
        .collect();

    let mut groups: BTreeMap<_, Group<'_>> = BTreeMap::new();
    for ((left, site), unused) in left.iter().zip(sites).zip(unused) {
        let several = |of| passed_over.get(&of).is_some_and(|&count| count >= SEVERAL);
        let around = Around {
            passed_over_ms: unused.filter(|_| origin(left, &site).is_some_and(several)),
            is_of_deaf_pool: python::is_of_deaf_pool(&site),
        };
        let judgement = rule::judge(left, terms.grace, around);
        let comm = left.connection.owner.map(|owner| owner.comm);
        let key = (
            judgement.verdict,
            judgement.code,
            comm,
            left.connection.role,
            site.code(),
            left.by_exit,
            terms.allowed_by(left, judgement.code, &site),
        );
        let group = groups.entry(key).or_insert_with(|| Group {
            allowed_by: key.6,
            site: Arc::clone(&site),
            members: Vec::new(),
        });
        group.members.push((left, judgement));
    }
    let mut findings: Vec<Finding> = groups
        .into_values()
        .map(|group| group.finding(terms, clock))
        .collect();
    findings.sort_by_key(|finding| {
        (
            !finding.fails,
            finding.allowed_by.is_some(),
            finding.verdict,
            Reverse(finding.connections.len()),
        )
    });
    findings
}

/// Connections that are told of together.
struct Group<'a> {
    allowed_by: Option<&'a str>,
    site: Arc<Site>,
    members: Vec<(&'a Left, Judgement)>,
}

impl Group<'_> {
    fn finding(self, terms: Terms<'_>, clock: &WallClock) -> Finding {
        let (first, judgement) = self.members[0];
        let connection = &first.connection;
        let owner = connection.owner;
        let comm = owner.map(|owner| Untrusted::from_bytes(owner.comm.bytes()));
        let one = |of: fn(&Left) -> u64| self.members.iter().all(|(m, _)| of(m) == of(first));
        let is_client = connection.role == Role::Client;
        let remotes = self.members.iter().map(|(m, _)| m.connection.remote());
        let remote = match is_client && remotes.into_iter().all(|r| r == connection.remote()) {
            true => endpoint(connection.remote()),
            false => "*".to_owned(),
        };
        let same_port = one(|left| left.connection.local().port().into());
        let same_pid = one(|left| left.connection.owner.map_or(0, |o| o.pid.into()));
        let longest = self.members.iter().map(|(_, j)| j.for_ms).max();
        let counts = judgement.verdict != Verdict::Held || terms.strict;
        Finding {
            verdict: judgement.verdict,
            code: judgement.code,
            why: why(judgement, self.members.len(), longest.unwrap_or(0), first),
            fix: fix(judgement.code, &self.site),
            fails: counts && self.allowed_by.is_none(),
            allowed_by: self.allowed_by.map(str::to_owned),
            pid: owner.map(|owner| owner.pid).filter(|_| same_pid),
            comm,
            role: connection.role,
            remote,
            local_port: match !is_client && same_port {
                true => connection.local().port(),
                false => 0,
            },
            connections: self
                .members
                .iter()
                .map(|(left, _)| row(left, clock))
                .collect(),
            site: self.site,
        }
    }
}

/// A connection as it was when its program left it.
fn row(left: &Left, clock: &WallClock) -> Connection {
    let mut then = left.connection.clone();
    let (state, since) = rule::before(left);
    then.state = state;
    then.state_at = since;
    let mut row = Connection::new(&then, clock, left.until);
    row.idle_ms = match left.by_exit {
        true => left.connection.end.idle_ms.map(u64::from),
        false => row.idle_ms,
    };
    row
}

fn why(judgement: Judgement, count: usize, longest_ms: u64, first: &Left) -> String {
    let (plural, was) = if count == 1 {
        ("", "was")
    } else {
        ("s", "were")
    };
    let end = if first.by_exit {
        "its process ended"
    } else {
        "the command ended"
    };
    let span = span(longest_ms);
    let what = format!("{count} connection{plural} {was}");
    match judgement.code {
        "missing-close" => {
            format!("{what} never closed: the peer had hung up, up to {span} before {end}")
        }
        "dead-fd" => format!(
            "{what} never closed: a reset or a timeout had ended {it}, up to {span} before {end}",
            it = if count == 1 { "it" } else { "them" }
        ),
        "half-closed-held" => {
            format!("{what} shut down and never closed, up to {span} before {end}")
        }
        "connect-stuck" => {
            format!("{what} still being opened after {span}, when {end}: the peer had not answered")
        }
        "unbounded-growth" => format!(
            "{what} never closed nor used again: the same code opened others to the same place, \
             up to {span} after the last use"
        ),
        _ if first.by_exit => format!(
            "{what} closed by nothing but the end of the process, up to {span} old; nothing shows \
             that it had been forgotten"
        ),
        _ => format!("{what} open still when the command ended, in a process that lives on"),
    }
}

fn fix(code: &str, site: &Site) -> String {
    explain::of(code).map_or_else(
        || "Close it where its use ends, or leave it to the exit.".to_owned(),
        |text| text.fix(runtime_of(site)),
    )
}

/// What the code is written in, by the frames that every stack of it has.
fn runtime_of(site: &Site) -> Runtime {
    let functions = site.frames.iter().filter_map(|f| f.function.as_ref());
    let mut functions = functions.map(Untrusted::raw);
    let is_python = site.path.is_some();
    match functions.find_map(|name| match name {
        "runtime.goexit" | "runtime.goexit.abi0" | "runtime.main" => Some(Runtime::Go),
        _ if name.starts_with("std::") => Some(Runtime::Rust),
        _ => None,
    }) {
        _ if is_python => Runtime::Python,
        found => found.unwrap_or_default(),
    }
}

/// Sums findings up.
#[must_use]
pub fn counts(ledger: &Ledger, findings: &[Finding]) -> Counts {
    let (seen, closed, forgotten) = ledger.counts();
    let mut counts = Counts {
        seen,
        closed,
        forgotten,
        ..Counts::default()
    };
    for finding in findings {
        let sum = match finding.verdict {
            _ if finding.allowed_by.is_some() => &mut counts.allowed,
            Verdict::Leak => &mut counts.leaked,
            Verdict::Stuck => &mut counts.stuck,
            Verdict::Held => &mut counts.held,
        };
        *sum += finding.connections.len() as u64;
    }
    counts
}
