//! The books: what each site opened and ended. Pure.

use std::{mem, num::NonZeroU32};

use rustc_hash::FxHashMap;

use super::{Entry, MAX_CONNECTIONS, Origin};
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

/// Sites of living processes without a live connection that are kept apart. Crawlers and
/// proxies meet more ends than that; those they have no connection to any more are then
/// summed up.
const MAX_SITES: usize = 65_536;

/// A site's place in the books, from 1: one that is not known takes no more room. Above
/// it, how many sites had the place before: who ended keeps the index of a site that may
/// be gone, and whose place another has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SiteIndex(NonZeroU32);

/// Bits of an index that are the place.
const PLACE_BITS: u32 = 22;

// Each connection may have a site of its own, beside those that have none any more.
const _: () = assert!(MAX_CONNECTIONS + 2 * MAX_SITES < 1 << PLACE_BITS);

impl SiteIndex {
    fn new(place: usize, before: u32) -> Self {
        let place = u32::try_from(place)
            .unwrap_or(u32::MAX)
            .min((1 << PLACE_BITS) - 2);
        Self(NonZeroU32::MIN.saturating_add(before << PLACE_BITS | place))
    }

    const fn place(self) -> usize {
        (self.0.get() & ((1 << PLACE_BITS) - 1)) as usize - 1
    }

    const fn before(self) -> u32 {
        self.0.get() >> PLACE_BITS
    }
}

/// A place in the books.
#[derive(Debug, Default)]
struct Slot {
    account: Option<(SiteKey, Tally)>,
    /// How many sites had it before; begins anew once an index cannot tell.
    before: u32,
}

#[derive(Debug, Default)]
pub(super) struct Sites {
    keys: FxHashMap<SiteKey, SiteIndex>,
    books: Vec<Slot>,
    /// Places that nobody has.
    free: Vec<usize>,
    /// Those of each process, and some that are no more.
    by_pid: FxHashMap<u32, Vec<SiteIndex>>,
    /// Processes that have ended while the kernel was still closing theirs, and how many
    /// sites they have left.
    ending: FxHashMap<u32, usize>,
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

    /// Sums up the sites of living processes that have no live connection.
    fn make_room(&mut self) {
        let mut by_pid = mem::take(&mut self.by_pid);
        for indices in by_pid.values_mut() {
            indices.retain(|&index| match self.tally(index) {
                None => false,
                Some(tally) if tally.live() > 0 => true,
                Some(_) => {
                    if let Some((key, tally)) = self.take(index) {
                        self.summed_up += 1;
                        let end = ([0, 0, 0, 0], 0).into();
                        let stack = None;
                        self.fold(SiteKey { end, stack, ..key }, &tally);
                    }
                    false
                }
            });
        }
        self.by_pid = by_pid;
    }

    fn add(&mut self, key: SiteKey) -> SiteIndex {
        if self.keys.len() >= MAX_SITES + self.kept {
            self.make_room();
            self.kept = self.keys.len();
        }
        let tally = Tally {
            processes: 1,
            incomplete: self.has_gap,
            ..Tally::default()
        };
        let place = self.free.pop().unwrap_or(self.books.len());
        if place == self.books.len() {
            self.books.push(Slot::default());
        }
        let slot = &mut self.books[place];
        slot.account = Some((key, tally));
        let index = SiteIndex::new(place, slot.before);
        self.keys.insert(key, index);
        // The pid is in use again.
        self.ending.remove(&key.pid);
        self.by_pid.entry(key.pid).or_default().push(index);
        index
    }

    /// Live connections by the sites' own counts.
    #[cfg(test)]
    pub(super) fn live(&mut self) -> u64 {
        self.tallies().map(|tally| tally.live()).sum()
    }

    /// A site with its account, while it has this index.
    fn account(&self, index: SiteIndex) -> Option<&(SiteKey, Tally)> {
        let slot = self.books.get(index.place())?;
        let account = slot.account.as_ref();
        account.filter(|_| slot.before == index.before())
    }

    fn tally(&mut self, index: SiteIndex) -> Option<&mut Tally> {
        let slot = self.books.get_mut(index.place())?;
        let is_its = slot.before == index.before();
        let account = slot.account.as_mut().filter(|_| is_its);
        account.map(|(_, tally)| tally)
    }

    /// Takes a site out of the books.
    fn take(&mut self, index: SiteIndex) -> Option<(SiteKey, Tally)> {
        self.account(index)?;
        let slot = self.books.get_mut(index.place())?;
        slot.before = (slot.before + 1) % (1 << (u32::BITS - PLACE_BITS));
        let account = slot.account.take()?;
        self.keys.remove(&account.0);
        self.free.push(index.place());
        Some(account)
    }

    /// Whether a site is this owner's.
    pub(super) fn is_of(&self, site: SiteIndex, owner: &Owner) -> bool {
        let account = self.account(site);
        account.is_some_and(|(key, _)| key.pid == owner.pid)
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
        self.release(site);
    }

    pub(super) fn failed(&mut self, site: Option<SiteIndex>) {
        if let Some(tally) = site.and_then(|index| self.tally(index)) {
            tally.connect_failures += 1;
        }
    }

    pub(super) fn leave(&mut self, site: Option<SiteIndex>, connection: &Connection) {
        let Some(site) = site else {
            return;
        };
        let Some(tally) = self.tally(site) else {
            return;
        };
        tally.note_end(connection);
        self.release(site);
    }

    /// Folds a site without a live connection, where its process has ended.
    fn release(&mut self, site: SiteIndex) {
        let idle = self.account(site).filter(|(_, tally)| tally.live() == 0);
        let Some((key, _)) = idle else {
            return;
        };
        let pid = key.pid;
        if let Some(left) = self.ending.get_mut(&pid) {
            *left -= 1;
            if *left == 0 {
                self.ending.remove(&pid);
                self.by_pid.remove(&pid);
            }
            self.exits(site);
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
        for tally in self.tallies() {
            tally.incomplete = true;
        }
    }

    pub(super) fn close_gap(&mut self) {
        self.has_gap = false;
    }

    fn tallies(&mut self) -> impl Iterator<Item = &mut Tally> {
        let accounts = self
            .books
            .iter_mut()
            .filter_map(|slot| slot.account.as_mut());
        let current = accounts.map(|(_, tally)| tally);
        current.chain(self.exited.values_mut())
    }

    /// Folds the sites of a process that has ended and left no connection into
    /// one per name, so that a loop of short-lived processes is one site.
    pub(super) fn process_exited(&mut self, pid: u32) {
        let Some(indices) = self.by_pid.remove(&pid) else {
            return;
        };
        let mut kept = Vec::new();
        for index in indices {
            match self.tally(index) {
                None => {}
                Some(tally) if tally.live() == 0 => self.exits(index),
                Some(_) => kept.push(index),
            }
        }
        if kept.is_empty() {
            self.ending.remove(&pid);
        } else {
            self.ending.insert(pid, kept.len());
            self.by_pid.insert(pid, kept);
        }
    }

    /// Folds a site of a process that has ended.
    fn exits(&mut self, site: SiteIndex) {
        if let Some((key, tally)) = self.take(site) {
            let (pid, stack) = (0, None);
            self.fold(SiteKey { pid, stack, ..key }, &tally);
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
        for tally in self.tallies() {
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
            let own = entry.site.and_then(|index| self.account(index));
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
            .filter_map(|slot| slot.account.as_ref())
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
