//! From the table to the report of `leaks`. Pure.

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
};

use rustc_hash::FxHasher;

use crate::{
    clock::{BootTime, WallClock},
    diagnosis::{
        Case, Class, Fault, Host, Verdict,
        forecast::{Forecast, Supply},
        judge, p_value, rank,
        runtime::Runtime,
        significance,
    },
    model::{
        connection::{Connection, endpoint},
        frame::{self, CallFrames, Frame, Reach},
        neighbours::Neighbours,
        report::{CodeSite, Count, Group, GroupOwner, Left, Summary},
        untrusted::Untrusted,
    },
    table::{
        Table,
        connection::Connection as Tracked,
        site::{CallStack, Point, SiteKey, Tally},
    },
    tcp::{Role, State},
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
    frames_of: impl Fn(CallStack) -> CallFrames,
) -> Vec<Group> {
    let mut sites: Vec<Site<'_>> = table
        .call_sites(|stack| frames_of(stack).code())
        .into_iter()
        .map(Site::new)
        .collect();
    sites.retain(|site| wants(&site.key));
    let mut owners: BTreeMap<u32, Owner> = BTreeMap::new();
    for site in &sites {
        owners.entry(site.key.pid).or_default().add(site);
    }
    let bench = Bench {
        host,
        moment,
        owners,
        significance: 0.0,
    };
    let tests = sites.iter();
    let tests = tests.filter_map(|site| p_value(&bench.case(site, Runtime::Unknown)));
    let bench = Bench {
        significance: significance(tests.collect()),
        ..bench
    };
    let mut findings: Vec<Finding<'_>> = sites
        .into_iter()
        .map(|site| bench.judge(site, &owner_of))
        .collect();
    for crowd in crowds(&findings) {
        let finding = bench.judge(crowd, &owner_of);
        if finding.verdict.class == Class::Leak {
            findings.retain(|part| !(part.is_thin() && part.site.is_part_of(&finding.site)));
            findings.push(finding);
        }
    }
    let blame_peers = findings.iter().filter(|finding| finding.blames_peer());
    let neighbours = Neighbours::of(
        table,
        blame_peers.flat_map(|finding| finding.site.live.iter().copied()),
    );
    let mut groups: Vec<Group> = findings
        .into_iter()
        .map(|finding| {
            let Site {
                key, tally, live, ..
            } = &finding.site;
            let code = code_site(key, tally, live, &frames_of);
            group(finding, code, &neighbours, moment)
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

/// A client's sites with fewer live connections than this are looked at together as
/// well: a rule has too few of each to speak of.
const THIN: usize = 3;

/// From so many on.
const CROWD: usize = 8;

/// A site with its account and its live connections; or several together.
struct Site<'a> {
    key: SiteKey,
    tally: Tally,
    live: Vec<&'a Tracked>,
    destinations: usize,
}

impl<'a> Site<'a> {
    fn new((key, tally, live): (SiteKey, Tally, Vec<&'a Tracked>)) -> Self {
        Self {
            key,
            tally,
            live,
            destinations: 1,
        }
    }

    /// Whether it is among those that `crowd` stands for.
    fn is_part_of(&self, crowd: &Site<'_>) -> bool {
        Self::everywhere(&self.key) == crowd.key
    }

    /// A key that is the same for all destinations of an owner, and all its code.
    fn everywhere(key: &SiteKey) -> SiteKey {
        SiteKey {
            end: ([0, 0, 0, 0], 0).into(),
            stack: None,
            ..*key
        }
    }
}

/// What all sites of a process have in common.
#[derive(Default)]
struct Owner {
    tally: Tally,
    inbound: Vec<BootTime>,
}

impl Owner {
    fn add(&mut self, site: &Site<'_>) {
        self.tally.absorb(&site.tally);
        if site.key.role == Role::Server {
            let open = site.live.iter().filter(|c| c.state == State::Established);
            self.inbound.extend(open.filter_map(|c| c.opened_at));
        }
    }
}

/// What all cases of a report are judged by.
struct Bench<'a> {
    host: &'a Host,
    moment: Moment<'a>,
    owners: BTreeMap<u32, Owner>,
    significance: f64,
}

impl Bench<'_> {
    fn case<'s>(&'s self, site: &'s Site<'_>, runtime: Runtime) -> Case<'s> {
        let owner = self.owners.get(&site.key.pid);
        Case {
            key: &site.key,
            live: &site.live,
            tally: &site.tally,
            host: self.host,
            from: self.moment.from,
            now: self.moment.now,
            runtime,
            destinations: site.destinations,
            inbound: owner.map_or(&[], |owner| &owner.inbound),
            significance: self.significance,
        }
    }

    fn judge<'s>(
        &self,
        site: Site<'s>,
        owner_of: &impl Fn(&SiteKey, &Tally) -> GroupOwner,
    ) -> Finding<'s> {
        let owner = owner_of(&site.key, &site.tally);
        let verdict = judge(&self.case(&site, owner.runtime));
        let forecast = self.forecast(&site, &owner);
        Finding {
            site,
            verdict,
            owner,
            forecast,
        }
    }

    fn forecast(&self, site: &Site<'_>, owner: &GroupOwner) -> Forecast {
        let all = self.owners.get(&site.key.pid).map(|owner| &owner.tally);
        let fds = all.and_then(|all| Some((all, owner.fds?)));
        let ports = self.host.used_ports.get(&(site.key.netns, site.key.end));
        let limit = u64::from(self.host.ephemeral_ports);
        // They grow as all connections do where most of them have one.
        let having = site.live.iter().filter(|c| c.state.has_port()).count();
        let grow = having * 2 >= site.live.len();
        Forecast {
            fds: fds.map(|(all, (used, limit))| Supply::new(used, limit, all)),
            ports: ports
                .filter(|_| site.key.role == Role::Client && limit > 0 && grow)
                .map(|&used| Supply::new(used.into(), limit, &site.tally)),
        }
    }
}

/// A site with what is said of it.
struct Finding<'a> {
    site: Site<'a>,
    verdict: Verdict,
    owner: GroupOwner,
    forecast: Forecast,
}

impl Finding<'_> {
    fn blames_peer(&self) -> bool {
        self.verdict.fault == Some(Fault::Peer)
    }

    /// Whether it is a client's, without a say of its own and with few connections.
    fn is_thin(&self) -> bool {
        let is_silent = matches!(self.verdict.class, Class::Healthy | Class::Unknown);
        let site = &self.site;
        let is_own = site.key.pid != 0 && site.key.role == Role::Client;
        is_own && is_silent && site.destinations == 1 && site.live.len() < THIN
    }
}

/// The thin sites of each client together, where there are many.
fn crowds<'a>(findings: &[Finding<'a>]) -> Vec<Site<'a>> {
    let mut crowds: BTreeMap<SiteKey, Site<'a>> = BTreeMap::new();
    for thin in findings.iter().filter(|finding| finding.is_thin()) {
        let key = Site::everywhere(&thin.site.key);
        let crowd = crowds.entry(key).or_insert_with(|| Site {
            key,
            tally: Tally::default(),
            live: Vec::new(),
            destinations: 0,
        });
        crowd.tally.absorb(&thin.site.tally);
        crowd.live.extend(&thin.site.live);
        crowd.destinations += usize::from(!thin.site.live.is_empty());
    }
    let mut crowds: Vec<_> = crowds.into_values().collect();
    crowds.retain(|crowd| crowd.destinations >= CROWD);
    for crowd in &mut crowds {
        crowd.tally.processes = 1;
        crowd.live.sort_by_key(|c| (c.opened_at, c.id));
    }
    crowds
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
    finding: Finding<'_>,
    code: CodeSite,
    neighbours: &Neighbours,
    moment: Moment<'_>,
) -> Group {
    let other_ends = match finding.blames_peer() {
        true => neighbours.at_other_end(&finding.site.live),
        false => Vec::new(),
    };
    let Finding {
        site,
        mut verdict,
        owner,
        forecast,
    } = finding;
    let Site {
        key, tally, live, ..
    } = &site;
    if let [other] = &other_ends[..]
        && other.pid == key.pid
        && other.connections == live.len() as u64
    {
        verdict.turn_on_owner();
    }
    let mut states = BTreeMap::new();
    for connection in live {
        *states.entry(connection.state).or_insert(0) += 1;
    }
    let (remote, local_port) = match key.role {
        Role::Client if site.destinations > 1 => ("*".to_owned(), 0),
        Role::Client => (endpoint(key.end), 0),
        Role::Server | Role::Listener => ("*".to_owned(), key.end.port()),
    };
    Group {
        verdict,
        owner,
        role: key.role,
        remote,
        local_port,
        site: code,
        other_ends,
        live: live.len() as u64,
        opened: tally.opened,
        closed: tally.closed,
        inherited: tally.inherited,
        incomplete: tally.incomplete,
        lingering: left(tally, moment),
        oldest_age_ms: live
            .iter()
            .filter_map(|connection| connection.age_ms(moment.now))
            .max(),
        states,
        connections: live
            .iter()
            .map(|connection| Connection::new(connection, moment.clock, moment.now))
            .collect(),
        forecast,
        curve: curve(tally, moment),
        lives: tally.lives.clone(),
    }
}

fn curve(tally: &Tally, moment: Moment<'_>) -> Vec<Count> {
    let now = Point {
        at: moment.now,
        opened: tally.inherited + tally.opened,
        live: tally.live(),
    };
    let points = tally.curve.iter().filter(|point| point.at < moment.now);
    points
        .chain([&now])
        .map(|&Point { at, opened, live }| Count {
            at: moment.clock.at(at),
            opened,
            live,
        })
        .collect()
}

fn left(tally: &Tally, moment: Moment<'_>) -> Left {
    let left = tally.lingers.at(moment.now);
    Left {
        time_wait: left.time_wait,
        fin_wait2: left.fin_wait2,
        until: left.until.map(|until| moment.clock.at(until)),
    }
}

fn code_site(
    key: &SiteKey,
    tally: &Tally,
    live: &[&Tracked],
    frames_of: &impl Fn(CallStack) -> CallFrames,
) -> CodeSite {
    let stack = tally.stack.get().map(frames_of);
    let frames = stack.as_ref().map(|stack| &stack.frames[..]);
    let is_old = |connection: &&Tracked| connection.opened_at.is_none();
    CodeSite {
        id: site_id(key, frames.map(frame::code)),
        cut_short: stack
            .as_ref()
            .is_some_and(|stack| stack.reach != Reach::Whole),
        opened_before_start: frames.is_none() && tally.opened == 0 && live.iter().all(is_old),
        frames: frames.map(<[Frame]>::to_vec).unwrap_or_default(),
    }
}

/// The same for the same name, role, end and `code` in every run.
#[must_use]
pub fn site_id(key: &SiteKey, code: Option<u64>) -> String {
    let mut hasher = FxHasher::default();
    (key.comm, key.role, key.end).hash(&mut hasher);
    if let Some(code) = code {
        code.hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

/// The owner's name from its site; `None` where it is not known.
#[must_use]
pub fn comm_of(key: &SiteKey) -> Option<Untrusted> {
    let bytes = key.comm.bytes();
    (!bytes.is_empty()).then(|| Untrusted::from_bytes(bytes))
}

#[cfg(test)]
mod tests;
