//! `tcpleak trace`

use std::{cell::Cell, collections::HashMap, io::Write};

use anyhow::Result;
use rustc_hash::FxHashMap;
use tokio::time::sleep;

use super::{
    Outcome, args::TraceArgs, interrupted, is_in_cgroup, load_options, outlet::Outlet,
    output::Sink, runtime, say, say_ready, selection,
};
use crate::{
    clock::{BootTime, WallClock},
    collector::{Attached, Collector},
    course::Observer,
    decode::Owner,
    model::{
        connection::Connection,
        event::{Event, EventName},
        report::Loss,
    },
    selection::Selection,
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
/// Events are held back this long at most, in milliseconds.
const MAX_HOLD_MS: u64 = 1_000;

/// Streams until the time is up, Ctrl-C, or the reader leaves.
pub(super) fn run(args: &TraceArgs) -> Result<Outcome> {
    let mut sink = Sink::open(&args.output)?;
    let selection = selection(&args.selection)?;
    let attached = Attached::new(&load_options(&args.probe, &selection))?;
    let view = Trace::new(args.output.format, sink.style());
    let mut out = sink.writer()?;
    view.header(&mut *out)?;
    out.flush()?;
    runtime()?.block_on(async {
        let interrupted = interrupted()?;
        let mut collector = Collector::new(attached, selection.clone())?;
        let mut streamer = Streamer {
            outlet: Outlet::new(out),
            page: Vec::new(),
            page_events: 0,
            unwritten: 0,
            view,
            clock: collector.course.setup.clock,
            selection,
            cgroup: args.selection.cgroup.clone(),
            in_cgroup: HashMap::new(),
            held: FxHashMap::default(),
            told: 0,
            loss: Loss::default(),
        };
        let is_stopped = Cell::new(false);
        let end = async {
            say_ready();
            match args.watch {
                Some(watch) => tokio::select! {
                    () = sleep(watch) => {}
                    () = interrupted => is_stopped.set(true),
                },
                None => {
                    interrupted.await;
                    is_stopped.set(true);
                }
            }
        };
        let checkpoint = std::time::Duration::from_secs(60);
        collector.watch(end, checkpoint, &mut streamer).await?;
        collector.snapshot(&mut streamer).await?;
        collector.finish(&mut streamer).await?;
        streamer.finish(&collector, is_stopped.get()).await
    })
}

/// Writes events as they come.
struct Streamer {
    outlet: Outlet,
    /// What is written next, and how many events that is.
    page: Vec<u8>,
    page_events: u64,
    /// Events dropped because the reader stalled.
    unwritten: u64,
    view: Trace,
    clock: WallClock,
    selection: Selection,
    cgroup: Option<String>,
    /// Whether a process is in the control group asked for, by pid.
    in_cgroup: HashMap<u32, bool>,
    /// Events of connections that nobody has accepted yet. The kernel makes a
    /// server-side connection before it has an owner; its first events are told
    /// with the owner that accept then gives it.
    held: FxHashMap<ConnId, Vec<(EventName, BootTime, Tracked)>>,
    told: u64,
    loss: Loss,
}

impl Streamer {
    fn tell(&mut self, name: EventName, at: BootTime, connection: &Tracked) -> Result<()> {
        let wanted =
            self.selection
                .matches_ends(connection.local, connection.remote, connection.netns)
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
        }
        Ok(())
    }

    fn is_in_cgroup(&mut self, connection: &Tracked) -> bool {
        let Some(wanted) = self.cgroup.as_deref() else {
            return true;
        };
        let Some(pid) = connection.owner.map(|owner| owner.pid) else {
            return false;
        };
        *self
            .in_cgroup
            .entry(pid)
            .or_insert_with(|| is_in_cgroup(Some(wanted), Some(pid)))
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

    async fn finish(mut self, collector: &Collector, is_stopped: bool) -> Result<Outcome> {
        let now = crate::snapshot::clocks::boot_time();
        let held: Vec<ConnId> = self.held.keys().copied().collect();
        held.into_iter().try_for_each(|id| self.release(id, None))?;
        self.tell_loss(now, collector.course.loss())?;
        self.settle()?;
        let again = super::interrupted()?;
        self.outlet.close(is_stopped, again).await?;
        let loss = collector.course.loss();
        say(&format!(
            "{} events of {} connections, plan {}; {} records made, {} delivered, \
             {} records lost, {} connections repaired{}",
            self.told,
            collector.course.table.counters().seen,
            collector.course.setup.plan,
            loss.events_generated,
            loss.events_delivered,
            loss.events_lost,
            loss.repaired,
            match self.unwritten {
                0 => String::new(),
                unwritten => format!("; {unwritten} events dropped while the reader stalled"),
            }
        ));
        Ok(Outcome::Fine)
    }
}

impl Observer for Streamer {
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

    fn settle(&mut self) -> Result<()> {
        let events = std::mem::take(&mut self.page_events);
        let page = std::mem::take(&mut self.page);
        if page.is_empty() || self.outlet.push(page)? {
            self.told += events;
        } else {
            self.unwritten += events;
        }
        Ok(())
    }
}
