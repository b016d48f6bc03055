//! `tcpleak trace`

use std::{collections::HashMap, future::pending, io::Write};

use anyhow::Result;
use rustc_hash::FxHashMap;
use tracer_common::config::FOLD_NEVER;

use super::{
    Outcome,
    args::TraceArgs,
    load_options,
    outlet::Outlet,
    output::Sink,
    replay::Listener,
    runtime, say, selection,
    watch::{self, NAMED_WITHIN},
};
use crate::{
    clock::{BootTime, WallClock},
    collector::Attached,
    course::{Course, Observer, shed::Shed},
    decode::Owner,
    enrich,
    model::{
        connection::Connection,
        event::{Event, EventName},
        report::Loss,
        untrusted::Untrusted,
    },
    selection::Selection,
    snapshot::clocks,
    store::replay::Replay,
    table::{
        Change, Table,
        connection::{ConnId, Connection as Tracked},
    },
    tcp::{OwnerKnown, Role},
    view::Trace,
};

/// Server-side connections whose events are held back until somebody accepts
/// them; past this they are told without an owner.
const MAX_HELD: usize = 65_536;
/// Bytes that are written in one piece: what has just been made of them is still in the
/// processor's cache.
const PAGE: usize = 64 << 10;
/// Events are held back this long at most, in milliseconds.
const MAX_HOLD_MS: u64 = 1_000;

/// Streams until the time is up, Ctrl-C, or the reader leaves; or what was recorded.
pub(super) fn run(args: &TraceArgs) -> Result<Outcome> {
    let sink = Sink::open(&args.output)?;
    let from = args.recording.from.as_deref();
    let selection = selection(&args.selection, from.is_none())?;
    match from {
        Some(path) => replay(
            args,
            sink,
            Replay::open(path, args.recording.follow, selection)?,
        ),
        None => live(args, sink, selection),
    }
}

fn live(args: &TraceArgs, sink: Sink, selection: Selection) -> Result<Outcome> {
    let disk = watch::beside(args.recording.record.as_deref())?;
    let mut options = load_options(&args.probe, &selection, FOLD_NEVER);
    if disk.is_none() {
        // No line shows one.
        options.stacks = false;
    }
    let attached = Attached::new(&options)?;
    let out = Out::open(args, sink)?;
    runtime()?.block_on(async {
        let mut collector = watch::begin(attached, selection, disk, &args.probe)?;
        let cgroup_of = |pid| enrich::process(pid).cgroup;
        let mut streamer = Streamer::new(out, &collector.course, cgroup_of);
        let is_stopped = watch::until(&mut collector, args.watch, pending(), &mut streamer).await?;
        if args.recording.record.is_some() {
            collector.conclude(NAMED_WITHIN, &mut streamer)?;
        }
        let now = clocks::boot_time();
        streamer.finish(&collector.course, now, is_stopped).await?;
        collector.close_recording()?;
        Ok(Outcome::Fine)
    })
}

fn replay(args: &TraceArgs, sink: Sink, mut replay: Replay) -> Result<Outcome> {
    let out = Out::open(args, sink)?;
    runtime()?.block_on(async {
        let owners = replay.course.owners();
        let cgroups: HashMap<u32, Untrusted> = owners
            .filter_map(|(pid, owner)| Some((pid, owner.cgroup.clone()?)))
            .collect();
        let cgroup_of = move |pid| cgroups.get(&pid).cloned();
        let mut streamer = Streamer::new(out, &replay.course, cgroup_of);
        super::replay::tell(&mut replay, &args.recording, &mut streamer).await?;
        let now = replay.course.now();
        streamer.finish(&replay.course, now, false).await?;
        Ok(Outcome::Fine)
    })
}

/// Where events are written, and how.
struct Out {
    view: Trace,
    outlet: Outlet,
}

impl Out {
    fn open(args: &TraceArgs, mut sink: Sink) -> Result<Self> {
        let view = Trace::new(args.output.format, sink.style_of_lines());
        let mut out = sink.writer()?;
        view.header(&mut *out)?;
        out.flush()?;
        Ok(Self {
            view,
            outlet: Outlet::new(out),
        })
    }
}

/// Writes events as they come.
struct Streamer<C> {
    outlet: Outlet,
    /// What is written next, and how many events that is.
    page: Vec<u8>,
    page_events: u64,
    /// Events dropped because the reader stalled.
    unwritten: u64,
    view: Trace,
    clock: WallClock,
    selection: Selection,
    cgroup_of: C,
    /// Whether a process is in the control group asked for, by pid.
    in_cgroup: HashMap<u32, bool>,
    /// Events of connections that nobody has accepted yet. The kernel makes a
    /// server-side connection before it has an owner; its first events are told
    /// with the owner that accept then gives it.
    held: FxHashMap<ConnId, Vec<(EventName, BootTime, Tracked)>>,
    told: u64,
    loss: Loss,
}

impl<C: Fn(u32) -> Option<Untrusted>> Streamer<C> {
    fn new(out: Out, course: &Course, cgroup_of: C) -> Self {
        Self {
            outlet: out.outlet,
            page: Vec::new(),
            page_events: 0,
            unwritten: 0,
            view: out.view,
            clock: course.setup.clock,
            selection: course.selection.clone(),
            cgroup_of,
            in_cgroup: HashMap::new(),
            held: FxHashMap::default(),
            told: 0,
            loss: Loss::default(),
        }
    }

    fn tell(&mut self, name: EventName, at: BootTime, connection: &Tracked) -> Result<()> {
        let wanted = self.selection.matches_ends(connection.ends())
            && self.selection.matches_owner(connection.owner.as_ref())
            && self.is_in_cgroup(connection);
        if wanted {
            let event = Event {
                name,
                at: self.clock.at(at),
                connection: Connection::new(connection, &self.clock, at),
            };
            self.view.event(&mut self.page, &event)?;
            self.page_events += 1;
            if self.page.len() >= PAGE {
                self.settle()?;
            }
        }
        Ok(())
    }

    fn is_in_cgroup(&mut self, connection: &Tracked) -> bool {
        if self.selection.cgroup.is_none() {
            return true;
        }
        let Some(pid) = connection.owner.map(|owner| owner.pid) else {
            return false;
        };
        let (selection, cgroup_of) = (&self.selection, &self.cgroup_of);
        let is_in = || selection.matches_cgroup(cgroup_of(pid).as_ref());
        *self.in_cgroup.entry(pid).or_insert_with(is_in)
    }

    /// Tells what was held back of a connection, now that its owner is known or
    /// will not be.
    fn release(&mut self, id: ConnId, owner: Option<(Owner, OwnerKnown)>) -> Result<()> {
        for (name, at, mut connection) in self.held.remove(&id).unwrap_or_default() {
            if let Some((owner, known)) = owner {
                connection.own(owner, known);
            }
            self.tell(name, at, &connection)?;
        }
        Ok(())
    }

    fn release_old(&mut self, now: BootTime) -> Result<()> {
        let is_old = |events: &Vec<(EventName, BootTime, Tracked)>| {
            events
                .first()
                .is_none_or(|&(_, at, _)| now.ms_since(at) >= MAX_HOLD_MS)
        };
        let mut old: Vec<ConnId> = self
            .held
            .iter()
            .filter(|(_, events)| is_old(events))
            .map(|(&id, _)| id)
            .collect();
        old.sort_unstable();
        old.into_iter().try_for_each(|id| self.release(id, None))
    }

    fn tell_loss(&mut self, at: BootTime, loss: Loss) -> Result<()> {
        let loss = Loss {
            events_lost: loss.events_lost + self.unwritten,
            unwritten: self.unwritten,
            ..loss
        };
        if loss.events_lost > self.loss.events_lost {
            self.view.loss(&mut self.page, self.clock.at(at), &loss)?;
        }
        self.loss = loss;
        Ok(())
    }

    async fn finish(mut self, course: &Course, now: BootTime, is_stopped: bool) -> Result<()> {
        let mut held: Vec<ConnId> = self.held.keys().copied().collect();
        held.sort_unstable();
        held.into_iter().try_for_each(|id| self.release(id, None))?;
        self.tell_loss(now, course.loss())?;
        self.settle()?;
        let again = super::interrupted()?;
        self.outlet.close(is_stopped, again).await?;
        let loss = course.loss();
        say(&format!(
            "{} events of {} connections, plan {}; {} records made, {} delivered, \
             {} records lost, {} connections repaired{}",
            self.told,
            course.table.counters().seen,
            course.setup.plan,
            loss.events_generated,
            loss.events_delivered,
            loss.events_lost,
            loss.repaired,
            match self.unwritten {
                0 => String::new(),
                unwritten => format!("; {unwritten} events dropped while the reader stalled"),
            }
        ));
        Ok(())
    }
}

impl<C: Fn(u32) -> Option<Untrusted>> Listener for Streamer<C> {
    async fn room(&self) {
        self.outlet.room().await;
    }
}

impl<C: Fn(u32) -> Option<Untrusted>> Observer for Streamer<C> {
    fn change(&mut self, change: Change, at: BootTime, connection: &Tracked) -> Result<()> {
        let name = match change {
            Change::Opened => EventName::Open,
            Change::ConnectFailed => EventName::ConnectFailed,
            Change::Established => EventName::Established,
            Change::State => EventName::State,
            Change::AppClosed => EventName::AppClose,
            Change::TimeWait => EventName::TimeWait,
            Change::Gone => EventName::Gone,
            Change::Accepted if self.held.contains_key(&connection.id) => {
                let owner = connection.owner.zip(connection.owner_known);
                return self.release(connection.id, owner);
            }
            // Its events were told without an owner: whose it is now is news.
            Change::Accepted => EventName::State,
        };
        let is_awaited = connection.role == Role::Server && connection.owner.is_none();
        if is_awaited && change != Change::Gone && self.held.len() < MAX_HELD {
            let held = self.held.entry(connection.id).or_default();
            held.push((name, at, connection.clone()));
            return Ok(());
        }
        self.release(connection.id, None)?;
        self.tell(name, at, connection)
    }

    fn tick(&mut self, at: BootTime, _: &Table, loss: Loss) -> Result<()> {
        self.release_old(at)?;
        self.tell_loss(at, loss)
    }

    fn shed(&mut self, at: BootTime, shed: Shed) -> Result<()> {
        Ok(self.view.shed(&mut self.page, self.clock.at(at), shed)?)
    }

    fn settle(&mut self) -> Result<()> {
        if self.page.is_empty() {
            return Ok(());
        }
        let events = std::mem::take(&mut self.page_events);
        let next = Vec::with_capacity(self.page.len());
        let page = std::mem::replace(&mut self.page, next);
        if self.outlet.push(page)? {
            self.told += events;
        } else {
            self.unwritten += events;
        }
        Ok(())
    }
}
