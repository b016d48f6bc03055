//! From the table to the report of `leaks`. Pure.

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
    sync::Arc,
};

use rustc_hash::FxHasher;

use crate::{
    clock::{BootTime, WallClock},
    diagnosis::{Case, Class, Host, judge, rank},
    model::{
        connection::{Connection, endpoint},
        frame::{self, Frame},
        report::{CodeSite, Group, GroupOwner, Summary},
        untrusted::Untrusted,
    },
    table::{
        Table,
        connection::Connection as Tracked,
        site::{CallStack, SiteKey, Tally},
    },
    tcp::Role,
};

/// The instant that a report speaks of.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// When the watch began.
    pub from: BootTime,
    /// When the last snapshot was taken.
    pub now: BootTime,
    /// Boot time to wall time.
    pub clock: &'a WallClock,
}

/// Judges every site that `wants` lets through, worst first. `owner_of` looks a
/// process up, `frames_of` a call stack.
pub fn groups(
    table: &Table,
    host: &Host,
    moment: Moment<'_>,
    wants: impl Fn(&SiteKey) -> bool,
    owner_of: impl Fn(&SiteKey, &Tally) -> GroupOwner,
    frames_of: impl Fn(CallStack) -> Arc<[Frame]>,
) -> Vec<Group> {
    let mut groups: Vec<Group> = table
        .call_sites(|stack| frame::code(&frames_of(stack)))
        .into_iter()
        .filter(|(key, ..)| wants(key))
        .map(|(key, tally, live)| {
            let verdict = judge(&Case {
                key: &key,
                live: &live,
                tally: &tally,
                host,
                from: moment.from,
                now: moment.now,
            });
            let owner = owner_of(&key, &tally);
            let site = code_site(&key, &tally, &live, &frames_of);
            group(&key, &tally, &live, verdict, owner, site, moment)
        })
        .collect();
    groups.sort_by_cached_key(|group| {
        let live = usize::try_from(group.live).unwrap_or(usize::MAX);
        (
            rank(&group.verdict, live),
            group.owner.pid,
            group.remote.clone(),
            group.local_port,
        )
    });
    groups
}

/// Counts over the groups that a report shows; over the whole table where it
/// shows `all`, which then includes what ended without an owner.
#[must_use]
pub fn summary(table: &Table, groups: &[Group], all: bool) -> Summary {
    let affected = |class| {
        groups
            .iter()
            .filter(|group| group.verdict.class == class)
            .map(|group| group.verdict.affected as u64)
            .sum()
    };
    let sum = |of: fn(&Group) -> u64| groups.iter().map(of).sum();
    let counters = table.counters();
    let (connections_seen, live, closed) = if all {
        (counters.seen, table.live(), counters.closed)
    } else {
        (
            sum(|group| group.inherited + group.opened),
            sum(|group| group.live),
            sum(|group| group.closed),
        )
    };
    Summary {
        connections_seen,
        live,
        closed,
        evicted: counters.evicted,
        leaked: affected(Class::Leak),
        stuck: affected(Class::Stuck),
    }
}

fn group(
    key: &SiteKey,
    tally: &Tally,
    live: &[&Tracked],
    verdict: crate::diagnosis::Verdict,
    owner: GroupOwner,
    site: CodeSite,
    moment: Moment<'_>,
) -> Group {
    let mut states = BTreeMap::new();
    for connection in live {
        *states.entry(connection.state).or_insert(0) += 1;
    }
    let (remote, local_port) = match key.role {
        Role::Client => (endpoint(key.end), 0),
        Role::Server | Role::Listener => ("*".to_owned(), key.end.port()),
    };
    Group {
        verdict,
        owner,
        role: key.role,
        remote,
        local_port,
        site,
        live: live.len() as u64,
        opened: tally.opened,
        closed: tally.closed,
        inherited: tally.inherited,
        oldest_age_ms: live
            .iter()
            .filter_map(|connection| connection.age_ms(moment.now))
            .max(),
        states,
        connections: live
            .iter()
            .map(|connection| Connection::new(connection, moment.clock, moment.now))
            .collect(),
    }
}

fn code_site(
    key: &SiteKey,
    tally: &Tally,
    live: &[&Tracked],
    frames_of: &impl Fn(CallStack) -> Arc<[Frame]>,
) -> CodeSite {
    let frames = tally.stack.get().map(frames_of);
    let is_old = |connection: &&Tracked| connection.opened_at.is_none();
    CodeSite {
        id: site_id(key, frames.as_deref()),
        opened_before_start: frames.is_none() && tally.opened == 0 && live.iter().all(is_old),
        frames: frames.map(|frames| frames.to_vec()).unwrap_or_default(),
    }
}

/// The same for the same name, role, end and code in every run.
fn site_id(key: &SiteKey, frames: Option<&[Frame]>) -> String {
    let mut hasher = FxHasher::default();
    (key.comm, key.role, key.end).hash(&mut hasher);
    if let Some(frames) = frames {
        frame::code(frames).hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

/// The owner's name from its site; `None` where it is not known.
#[must_use]
pub fn comm_of(key: &SiteKey) -> Option<Untrusted> {
    let bytes = key.comm.bytes();
    (!bytes.is_empty()).then(|| Untrusted::from_bytes(bytes))
}
