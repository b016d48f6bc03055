//! The books: what each site opened and ended. Pure.

use std::num::NonZeroU32;

use rustc_hash::{FxHashMap, FxHashSet};

use super::{Entry, Origin};
use crate::{
    clock::BootTime,
    decode::{Comm, Owner},
    table::{
        connection::{Connection, Linger},
        site::{CallStack, Commonest, Point, SiteKey, Tally},
    },
    tcp::{Known, Role},
};

/// Points kept of each site's curve; when full, every other one is dropped.
const MAX_POINTS: usize = 64;

/// Sites of exited processes that keep a tally of their own name; past this they
/// share one.
const MAX_EXITED: usize = 4_096;

/// Sites of living processes that are kept apart. A crawler or proxy meets more
/// ends than that; those it has no connection to any more are then summed up.
const MAX_SITES: usize = 65_536;

/// A site's place in the books, from 1: one that is not known takes no more room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SiteIndex(NonZeroU32);

impl SiteIndex {
    fn of_place(place: usize) -> Self {
        // MAX_CONNECTIONS bounds this far below 2^32.
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        Self(NonZeroU32::MIN.saturating_add(place))
    }

    const fn place(self) -> usize {
        self.0.get() as usize - 1
    }
}

#[derive(Debug, Default)]
pub(super) struct Sites {
    keys: FxHashMap<SiteKey, SiteIndex>,
    books: Vec<Option<(SiteKey, Tally)>>,
    free: Vec<SiteIndex>,
    by_pid: FxHashMap<u32, Vec<SiteIndex>>,
    /// Processes that have ended while the kernel was still closing theirs.
    ending: FxHashSet<u32>,
    /// The sites of ended processes, by name, and what was summed up of others.
    exited: FxHashMap<SiteKey, Tally>,
    /// Sites of living processes that were summed up for want of room.
    summed_up: u64,
    /// Sites that were left the last time: room is made again once as many have
    /// come as may be kept, so that it costs little each.
    kept: usize,
    /// Records were lost, and no snapshot has shown yet what they told of.
    has_gap: bool,
    /// The checkpoints so far.
    marks: Vec<BootTime>,
}

impl Sites {
    pub(super) fn enter(
        &mut self,
        connection: &Connection,
        owner: &Owner,
        origin: Origin,
    ) -> SiteIndex {
        let key = SiteKey::of(connection, owner.pid, owner.comm);
        let index = match self.keys.get(&key) {
            Some(&index) => index,
            None => self.add(key),
        };
        if let Some(tally) = self.tally(index) {
            match origin {
                Origin::Opened => tally.opened += 1,
                Origin::Inherited => tally.inherited += 1,
            }
            // Found without its records: there may have been others.
            tally.incomplete |= connection.known == Known::Repaired;
            tally.note_live();
            if let Some(opener) = connection.opener()
                && let Some(stack) = opener.stack
            {
                let pid = opener.pid;
                tally.stack.note(CallStack { pid, stack });
            }
        }
        index
    }

    /// Sites of living processes that were summed up for want of room.
    pub(super) fn summed_up(&self) -> u64 {
        self.summed_up
    }

    /// Sums up the sites of a process that have no live connection.
    fn make_room(&mut self, pid: u32) {
        let indices = self.by_pid.remove(&pid).unwrap_or_default();
        let (idle, busy): (Vec<_>, Vec<_>) = indices
            .into_iter()
            .partition(|&index| self.tally(index).is_none_or(|tally| tally.live() == 0));
        for index in idle {
            let slot = self.books.get_mut(index.place());
            if let Some((key, tally)) = slot.and_then(Option::take) {
                self.keys.remove(&key);
                self.free.push(index);
                self.summed_up += 1;
                let end = ([0, 0, 0, 0], 0).into();
                let stack = None;
                self.fold(SiteKey { end, stack, ..key }, &tally);
            }
        }
        self.by_pid.insert(pid, busy);
    }

    fn add(&mut self, key: SiteKey) -> SiteIndex {
        if self.keys.len() >= MAX_SITES + self.kept {
            self.make_room(key.pid);
            self.kept = self.keys.len();
        }
        let tally = Tally {
            processes: 1,
            incomplete: self.has_gap,
            ..Tally::default()
        };
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.books.push(None);
                SiteIndex::of_place(self.books.len() - 1)
            }
        };
        if let Some(slot) = self.books.get_mut(index.place()) {
            *slot = Some((key, tally));
        }
        self.keys.insert(key, index);
        // The pid is in use again.
        self.ending.remove(&key.pid);
        self.by_pid.entry(key.pid).or_default().push(index);
        index
    }

    fn tally(&mut self, index: SiteIndex) -> Option<&mut Tally> {
        self.books
            .get_mut(index.place())?
            .as_mut()
            .map(|(_, tally)| tally)
    }

    /// Whether a site is this owner's.
    pub(super) fn is_of(&self, site: SiteIndex, owner: &Owner) -> bool {
        let entry = self.books.get(site.place()).and_then(Option::as_ref);
        entry.is_some_and(|(key, _)| key.pid == owner.pid)
    }

    /// Takes back an entry of a connection that turns out to be another owner's.
    pub(super) fn strike(&mut self, site: SiteIndex, entry: &Entry) {
        let Some(tally) = self.tally(site) else {
            return;
        };
        match entry.origin {
            Origin::Opened => tally.opened = tally.opened.saturating_sub(1),
            Origin::Inherited => tally.inherited = tally.inherited.saturating_sub(1),
        }
        if entry.ended {
            tally.closed = tally.closed.saturating_sub(1);
            if let Some(linger) = entry.connection.end.linger {
                tally.lingers_not(linger);
            }
        }
    }

    pub(super) fn failed(&mut self, site: Option<SiteIndex>) {
        if let Some(tally) = site.and_then(|index| self.tally(index)) {
            tally.connect_failures += 1;
        }
    }

    pub(super) fn leave(&mut self, site: Option<SiteIndex>, connection: &Connection) {
        let Some(tally) = site.and_then(|index| self.tally(index)) else {
            return;
        };
        tally.note_end(connection);
        let pid = site.and_then(|index| Some(self.books.get(index.place())?.as_ref()?.0.pid));
        if let Some(pid) = pid
            && self.ending.contains(&pid)
        {
            self.process_exited(pid);
        }
    }

    /// Takes back that an ended connection left something in the kernel.
    pub(super) fn lingers_not(&mut self, site: Option<SiteIndex>, linger: Linger) {
        if let Some(tally) = site.and_then(|index| self.tally(index)) {
            tally.lingers_not(linger);
        }
    }

    /// Records were lost: of the sites of now, and of those that turn up until the
    /// gap is closed, not all was heard.
    pub(super) fn open_gap(&mut self) {
        self.has_gap = true;
        let current = self.books.iter_mut().flatten().map(|(_, tally)| tally);
        for tally in current.chain(self.exited.values_mut()) {
            tally.incomplete = true;
        }
    }

    pub(super) fn close_gap(&mut self) {
        self.has_gap = false;
    }

    /// Folds the sites of a process that has ended and left no connection into
    /// one per name, so that a loop of short-lived processes is one site.
    pub(super) fn process_exited(&mut self, pid: u32) {
        let Some(indices) = self.by_pid.remove(&pid) else {
            return;
        };
        let mut kept = Vec::new();
        for index in indices {
            let Some(slot) = self.books.get_mut(index.place()) else {
                continue;
            };
            match slot.take() {
                Some((key, tally)) if tally.live() == 0 => {
                    self.keys.remove(&key);
                    self.free.push(index);
                    let (pid, stack) = (0, None);
                    self.fold(SiteKey { pid, stack, ..key }, &tally);
                }
                held => {
                    *slot = held;
                    kept.push(index);
                }
            }
        }
        if kept.is_empty() {
            self.ending.remove(&pid);
        } else {
            self.by_pid.insert(pid, kept);
            self.ending.insert(pid);
        }
    }

    fn fold(&mut self, mut key: SiteKey, tally: &Tally) {
        if self.exited.len() >= MAX_EXITED && !self.exited.contains_key(&key) {
            key.comm = Comm::from(b"(others)".as_slice());
            key.end = ([0, 0, 0, 0], 0).into();
        }
        let sum = self.exited.entry(key).or_insert_with(|| Tally {
            curve: self
                .marks
                .iter()
                .map(|&at| Point {
                    at,
                    opened: 0,
                    live: 0,
                })
                .collect(),
            ..Tally::default()
        });
        sum.absorb(tally);
        sum.processes += tally.processes;
    }

    pub(super) fn checkpoint(&mut self, at: BootTime) {
        thin_out(&mut self.marks);
        self.marks.push(at);
        let current = self.books.iter_mut().flatten().map(|(_, tally)| tally);
        for tally in current.chain(self.exited.values_mut()) {
            thin_out(&mut tally.curve);
            let point = Point {
                at,
                opened: tally.inherited + tally.opened,
                live: tally.live(),
            };
            tally.curve.push(point);
        }
    }

    /// Who has a site, several times where it has several.
    pub(super) fn owners(&self) -> impl Iterator<Item = (u32, Comm)> {
        self.keys.keys().map(|key| (key.pid, key.comm))
    }

    pub(super) fn group<'a>(
        &self,
        entries: impl Iterator<Item = &'a Entry> + Clone,
    ) -> Vec<(SiteKey, Tally, Vec<&'a Connection>)> {
        let listeners: FxHashMap<(u32, u16), Owner> = entries
            .clone()
            .map(|entry| &entry.connection)
            .filter(|connection| connection.role == Role::Listener)
            .filter_map(|listener| {
                Some(((listener.netns, listener.local().port()), listener.owner?))
            })
            .collect();

        let mut live: FxHashMap<SiteKey, Vec<&Connection>> = FxHashMap::default();
        for entry in entries {
            let connection = &entry.connection;
            let leaves_nothing = entry.ended || connection.state.is_mini_socket();
            if leaves_nothing || connection.role == Role::Listener {
                continue;
            }
            let own = entry
                .site
                .and_then(|index| self.books.get(index.place())?.as_ref());
            let key = match own {
                Some((key, _)) => *key,
                None => {
                    let end = (connection.netns, connection.local().port());
                    let holder = listeners
                        .get(&end)
                        .filter(|_| connection.role == Role::Server);
                    let (pid, comm) = holder.map_or((0, Comm::default()), |o| (o.pid, o.comm));
                    SiteKey::of(connection, pid, comm)
                }
            };
            live.entry(key).or_default().push(connection);
        }

        let known = self
            .books
            .iter()
            .flatten()
            .map(|(key, tally)| (*key, tally.clone()));
        let exited = self.exited.iter().map(|(key, tally)| (*key, tally.clone()));
        let mut all: Vec<_> = known
            .chain(exited)
            .map(|(key, tally)| (key, tally, live.remove(&key).unwrap_or_default()))
            .collect();
        // What is left was never accepted by anyone.
        all.extend(live.into_iter().map(|(key, waiting)| {
            let tally = Tally {
                opened: waiting.len() as u64,
                processes: 1,
                ..Tally::default()
            };
            (key, tally, waiting)
        }));
        for (.., connections) in &mut all {
            connections.sort_by_key(|connection| (connection.opened_at, connection.id));
        }
        all
    }
}

/// A site, its tally, and its live connections.
pub(super) type Account<'a> = (SiteKey, Tally, Vec<&'a Connection>);

/// Joins the sites of one process and end whose stacks are the same code by
/// `code_of`. What has no stack joins the only code there is; among several it
/// stands apart.
pub(super) fn join<'a>(
    accounts: Vec<Account<'a>>,
    code_of: impl Fn(CallStack) -> Option<u64>,
) -> Vec<Account<'a>> {
    let mut sites: FxHashMap<SiteKey, Vec<(Option<u64>, Account<'a>)>> = FxHashMap::default();
    for account in accounts {
        let (key, tally, _) = &account;
        let code = key.stack.and_then(|_| tally.stack.get()).and_then(&code_of);
        let whole = SiteKey {
            stack: None,
            ..*key
        };
        let codes = sites.entry(whole).or_default();
        match codes.iter_mut().find(|(known, _)| *known == code) {
            Some((_, same)) => absorb(same, account),
            None => codes.push((code, account)),
        }
    }
    let mut all = Vec::with_capacity(sites.len());
    for mut codes in sites.into_values() {
        let stackless = codes.iter().position(|(code, _)| code.is_none());
        if let Some(at) = stackless
            && codes.len() == 2
        {
            let (_, mut account) = codes.swap_remove(at);
            // What is known of the code is what the other's stack shows.
            account.1.stack = Commonest::default();
            absorb(&mut codes[0].1, account);
        }
        all.extend(codes.into_iter().map(|(_, account)| account));
    }
    all
}

fn absorb<'a>(into: &mut Account<'a>, (_, tally, live): Account<'a>) {
    into.1.absorb(&tally);
    into.2.extend(live);
    let age = |connection: &&Connection| (connection.opened_at, connection.id);
    into.2.sort_by_key(age);
}

/// Drops every other entry of a full list.
fn thin_out<T>(list: &mut Vec<T>) {
    if list.len() >= MAX_POINTS {
        let mut keep = false;
        list.retain(|_| {
            keep = !keep;
            keep
        });
    }
}
