//! The course of a trace: what it learns, in the order in which it learns it, and
//! what becomes of that. Pure.
//!
//! A live trace (`collector`) and a recording (`store`) tell it the same things in
//! the same order, so both come to the same table and the same report.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeSet;

use anyhow::Result;
use rustc_hash::{FxHashMap, FxHashSet};
use tracer_common::config::Filter;

use crate::{
    clock::BootTime,
    decode::{
        Comm, Event,
        fold::{Story, Whence},
    },
    diagnosis::Host,
    model::{
        frame::CallFrames,
        report::{GroupOwner, Loss},
    },
    reconcile::{Holder, Snapshot, Socket, Terms, reconcile},
    selection::Selection,
    table::{Change, Table, connection::Connection, site::CallStack},
    tcp::State,
};

mod blind;
pub mod entry;
mod host;
mod observer;
pub mod shed;

use entry::{Entry, Seen, Setup, Standing};
pub use observer::Observer;
use shed::{Shed, Sheds};

/// Processes that are known, before those without a connection are forgotten.
const OWNERS_KEPT: usize = 4_096;

/// What a trace has learned so far.
pub struct Course {
    /// What holds for all of it.
    pub setup: Setup,
    /// Which connections are asked for.
    pub selection: Selection,
    /// The connections.
    pub table: Table,
    /// What rules compare with, as of the last snapshot.
    pub host: Host,
    /// Facts of the last snapshot; `None` before the first.
    last: Option<Seen>,
    names: FxHashMap<CallStack, CallFrames>,
    owners: FxHashMap<u32, GroupOwner>,
    /// Once there are more, some are forgotten.
    owners_room: usize,
    /// How the trace stood at the start, and stands now.
    began: Standing,
    standing: Standing,
    /// Records that came here.
    told: u64,
    /// Records that should have come here before `standing` was taken, and did not.
    unrecorded: u64,
    /// The recording lacks something that cannot be counted.
    is_damaged: bool,
    /// Losses up to here are mended by a snapshot that began later; and those up to the
    /// one before.
    mended: (u64, u64),
    /// When the youngest event so far happened.
    heard: BootTime,
    /// A snapshot is begun, and nothing that it may show was missed since.
    is_begun: bool,
    is_over: bool,
    sheds: Sheds,
}

impl Course {
    /// Nothing is learned yet. `began`: how the trace stood.
    #[must_use]
    pub fn new(setup: Setup, selection: Selection, began: Standing) -> Self {
        let table = Table::new(
            setup.by_address,
            selection.for_kernel() != Filter::default(),
        );
        Self {
            table: table.hearing(setup.hears),
            setup,
            selection,
            host: Host::default(),
            last: None,
            names: FxHashMap::default(),
            owners: FxHashMap::default(),
            owners_room: OWNERS_KEPT,
            began,
            standing: began,
            told: began.told,
            unrecorded: 0,
            is_damaged: false,
            mended: (0, 0),
            heard: BootTime::default(),
            is_begun: false,
            is_over: false,
            sheds: Sheds::default(),
        }
    }

    /// Hears of a record: its event, or nothing where it could not be decoded.
    ///
    /// # Errors
    /// Where the observer fails.
    pub fn hear(&mut self, event: Option<&Event>, observer: &mut impl Observer) -> Result<()> {
        self.note_record();
        if let Some(event) = event {
            self.happens(event, observer)
        } else {
            self.table.count_undecodable();
            Ok(())
        }
    }

    /// Hears what is new of a connection that is folded. Where it came and went, and
    /// nothing was told of it before, and no observer wants to hear all of it, the table
    /// takes it as a whole.
    ///
    /// # Errors
    /// Where the observer fails.
    pub fn hear_story(
        &mut self,
        story: Story,
        whence: Whence,
        observer: &mut impl Observer,
    ) -> Result<()> {
        if whence == Whence::Ring {
            self.note_record();
            if story.is_whole() && !observer.wants_all() && self.lets_pass(story.sock) {
                let heard = &mut self.heard;
                let events = story.events();
                let events = events.inspect(|event| *heard = event.at().max(*heard));
                self.table.apply_whole(events);
                return Ok(());
            }
        }
        let mut events = story.events();
        events.try_for_each(|event| self.happens(&event, observer))
    }

    /// Counts a record that came here.
    pub fn note_record(&mut self) {
        self.told += 1;
    }

    /// Learns of an event, whatever told of it.
    ///
    /// # Errors
    /// Where the observer fails.
    pub fn happens(&mut self, event: &Event, observer: &mut impl Observer) -> Result<()> {
        self.heard = event.at().max(self.heard);
        let table = &mut self.table;
        let mut outcome = Ok(());
        // First: it is not wanted because that connection was.
        table.give_way(event, telling(&mut outcome, observer));
        outcome?;
        let mut outcome = Ok(());
        if let Event::Exec { at, pid } = *event {
            observer.exec(at, pid);
        } else if let Event::Exit { at, pid } = *event {
            observer.exit(at, pid);
            table.apply(event, |_, _, _| ());
        } else if self
            .selection
            .admits(event, |sock| table.get(sock).is_some())
        {
            table.apply(event, telling(&mut outcome, observer));
        }
        outcome
    }

    fn lets_pass(&self, sock: u64) -> bool {
        self.selection.admits_all() && self.table.takes_whole(sock)
    }

    /// Learns what is no record.
    ///
    /// # Errors
    /// Where the observer fails.
    pub fn learn(&mut self, entry: &Entry, observer: &mut impl Observer) -> Result<()> {
        let mut outcome = Ok(());
        match entry {
            Entry::Begin => {
                self.mended = (self.lost(), self.mended.0);
                self.table.begin_snapshot();
                self.is_begun = true;
            }
            Entry::Snapshot(snapshot, tree) => {
                // What was freed since it began must be known.
                if std::mem::take(&mut self.is_begun) {
                    self.work_in(snapshot, |pid| tree.contains(&pid), observer)?;
                }
            }
            Entry::Standing(standing) => {
                let lost = self.lost();
                self.standing = *standing;
                self.unrecorded = standing.told.saturating_sub(self.told);
                if self.lost() > lost {
                    self.table.note_loss();
                }
            }
            Entry::Checkpoint(at) => self.table.checkpoint(*at),
            Entry::Tick(at) => {
                self.table.settle(*at, telling(&mut outcome, observer));
                outcome?;
                let loss = self.loss();
                observer.tick(*at, &self.table, loss)?;
            }
            Entry::Settle => {
                self.table
                    .settle(BootTime::END, telling(&mut outcome, observer));
                outcome?;
            }
            Entry::Name(stack, frames) => {
                self.names.insert(*stack, frames.clone());
            }
            // One that has exited since has no more to say of itself.
            Entry::Owner(pid, owner) => match self.owners.get_mut(pid) {
                Some(known) if owner.exe.is_none() => known.fds = None,
                _ => {
                    self.owners.insert(*pid, owner.clone());
                    self.forget_owners();
                }
            },
            Entry::End => self.is_over = true,
            // Each file of a recording tells it anew.
            Entry::Shed(_, shed) if *shed == self.sheds.now().1 => {}
            Entry::Shed(at, shed) => {
                self.sheds.note(*at, *shed);
                self.table.note_shed(*at, *shed == Shed::Transitions);
                observer.shed(*at, *shed)?;
            }
        }
        Ok(())
    }

    fn work_in(
        &mut self,
        snapshot: &Snapshot,
        is_in_tree: impl Fn(u32) -> bool,
        observer: &mut impl Observer,
    ) -> Result<()> {
        self.host = host::of(snapshot, self.setup.ephemeral_ports);
        self.last = Some(Seen::of(snapshot));
        let selection = &self.selection;
        let prefers = |holder: &Holder| {
            is_in_tree(holder.pid) || selection.prefers(holder.pid, holder.comm.bytes())
        };
        let chooses_processes = selection.pid.is_some() || selection.tree;
        let wants = |socket: &Socket| {
            selection.wants_socket(socket.ends, socket.state == State::Listen)
                && (!chooses_processes || snapshot.holders_of(socket).iter().any(prefers))
        };
        let lost = self.lost();
        let (mended, before) = self.mended;
        let terms = Terms {
            wants: &wants,
            prefers: &prefers,
            has_lost: lost > before,
        };
        let mut outcome = Ok(());
        reconcile(
            &mut self.table,
            snapshot,
            terms,
            telling(&mut outcome, observer),
        );
        if lost == mended {
            self.table.note_mended();
        }
        outcome?;
        observer.settle()
    }

    /// Processes come and go for as long as a trace lasts.
    fn forget_owners(&mut self) {
        if self.owners.len() > self.owners_room {
            let known: FxHashSet<u32> = self.table.owners().map(|(pid, _)| pid).collect();
            self.owners.retain(|pid, _| known.contains(pid));
            self.owners_room = OWNERS_KEPT.max(2 * self.owners.len());
        }
    }

    /// Whether the recording that is told lacks something which cannot be counted.
    pub const fn note_damage(&mut self, is_damaged: bool) {
        self.is_damaged = is_damaged;
    }

    /// Something is missing here in the recording that is told: the next standing says
    /// how many records.
    pub fn note_hole(&mut self) {
        self.is_begun = false;
        self.table.note_loss();
    }

    /// What is left out now, where something is.
    #[must_use]
    pub fn shed(&self) -> Option<Entry> {
        let (since, shed) = self.sheds.now();
        (shed != Shed::Nothing).then_some(Entry::Shed(since, shed))
    }

    /// What is known of names and processes.
    pub fn facts(&self) -> impl Iterator<Item = Entry> {
        let names = self.names.iter();
        let names = names.map(|(&stack, frames)| Entry::Name(stack, frames.clone()));
        let owners = self.owners.iter();
        names.chain(owners.map(|(&pid, owner)| Entry::Owner(pid, owner.clone())))
    }

    /// Whether the trace came to its end.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Records lost so far, for whatever reason.
    fn lost(&self) -> u64 {
        self.standing.counts.lost() + self.unrecorded
    }

    /// Whether a snapshot is to mend what was lost since the last.
    #[must_use]
    pub fn is_to_be_mended(&self) -> bool {
        self.lost() > self.mended.0
    }

    /// What was lost so far.
    #[must_use]
    pub fn loss(&self) -> Loss {
        let undecodable = self.table.counters().undecodable;
        let counts = self.standing.counts.since(&self.began.counts);
        let taken = self.standing.taken.saturating_sub(self.began.taken);
        Loss {
            events_generated: counts.generated(),
            events_delivered: taken.saturating_sub(undecodable + self.unrecorded),
            events_lost: counts.lost() + undecodable + self.unrecorded,
            ring_full: counts.ring_full,
            hook_missed: counts.missed,
            undecodable,
            unrecorded: self.unrecorded,
            unwritten: 0,
            repaired: self.table.counters().repaired,
            is_damaged: self.is_damaged,
        }
    }

    /// When the youngest event so far happened.
    #[must_use]
    pub const fn heard(&self) -> BootTime {
        self.heard
    }

    /// Records that came here so far.
    #[must_use]
    pub const fn told(&self) -> u64 {
        self.told
    }

    /// The instant that a report speaks of: the last snapshot, or where the course was
    /// cut off what was heard last.
    #[must_use]
    pub fn now(&self) -> BootTime {
        let snapshot = self
            .last
            .as_ref()
            .map_or(self.setup.from, |seen| seen.ended);
        match self.is_over {
            true => snapshot,
            false => snapshot.max(self.heard),
        }
    }

    /// The frames of a call stack; none where it has not been named.
    #[must_use]
    pub fn frames(&self, stack: CallStack) -> CallFrames {
        self.names.get(&stack).cloned().unwrap_or_default()
    }

    /// The processes that own connections and have not been looked up.
    #[must_use]
    pub fn owners_unknown(&self) -> BTreeSet<u32> {
        let is_unknown = |pid: &u32| !self.owners.contains_key(pid);
        self.owners_to_look_up()
            .into_iter()
            .filter(is_unknown)
            .collect()
    }

    /// The processes that own connections asked for, whoever has been looked up before.
    #[must_use]
    pub fn owners_to_look_up(&self) -> BTreeSet<u32> {
        let selection = &self.selection;
        let is_wanted = |&(pid, comm): &(u32, Comm)| {
            pid != 0
                && (!selection.wants_owner()
                    || selection.matches_process(Some((pid, comm.bytes()))))
        };
        let owners = self.table.owners().filter(is_wanted);
        owners.map(|(pid, _)| pid).collect()
    }

    /// Whether no snapshot has been taken yet.
    #[must_use]
    pub const fn is_fresh(&self) -> bool {
        self.last.is_none()
    }

    /// How the trace stands.
    #[must_use]
    pub const fn standing(&self) -> &Standing {
        &self.standing
    }

    /// What is known of processes.
    pub fn owners(&self) -> impl Iterator<Item = (u32, &GroupOwner)> {
        self.owners.iter().map(|(&pid, owner)| (pid, owner))
    }

    /// What is known of a process.
    #[must_use]
    pub fn owner(&self, pid: u32) -> Option<&GroupOwner> {
        self.owners.get(&pid)
    }
}

/// Tells an observer of changes until it fails.
fn telling<'a>(
    outcome: &'a mut Result<()>,
    observer: &'a mut impl Observer,
) -> impl FnMut(Change, BootTime, &Connection) + 'a {
    |change, at, connection| {
        if outcome.is_ok() {
            *outcome = observer.change(change, at, connection);
        }
    }
}

#[cfg(test)]
mod tests;
