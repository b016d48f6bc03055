//! The connection table: events in, lifetimes out. Pure.
//!
//! An idle live connection is never dropped: those are what is looked for. What
//! ends is folded into its site's tally and forgotten.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    clock::BootTime,
    decode::{Comm, Ends, Owner},
    tcp::{OwnerKnown, Role},
};

pub mod ages;
mod apply;
mod by_ends;
pub mod connection;
mod ending;
pub mod lingers;
mod repair;
pub mod site;
mod sites;
pub mod socket;
mod whole;

pub use by_ends::ByEnds;
use connection::Connection;
pub use ending::Hears;
use repair::Freed;
use site::{CallStack, SiteKey, Tally};
use sites::{SiteIndex, Sites};

/// Connections tracked at once: four times what the largest hosts hold, some
/// 2.5 GB. One more is counted as evicted at its opening.
pub const MAX_CONNECTIONS: usize = 4_000_000;

/// While the table is full of live ones, ended ones are looked for this often in
/// as many newcomers as it holds.
const LOOKS: usize = 64;

/// What an event did to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It came to be.
    Opened,
    /// connect(2), or the handshake, failed.
    ConnectFailed,
    /// It became ESTABLISHED.
    Established,
    /// A program took it over by accept.
    Accepted,
    /// Any other transition.
    State,
    /// The program let go.
    AppClosed,
    /// A mini-socket takes its place in the kernel.
    TimeWait,
    /// The socket is freed; this is the last that is heard of it.
    Gone,
}

/// Counts over the table's life. Connections only: listeners are apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Came in: opened, inherited or repaired.
    pub seen: u64,
    /// Ended.
    pub closed: u64,
    /// Not followed for want of room.
    pub evicted: u64,
    /// Entries that a snapshot had to mend.
    pub repaired: u64,
    /// Records that could not be decoded; a defect of ours where not 0.
    pub undecodable: u64,
}

/// A connection with its place in the books.
#[derive(Debug)]
struct Entry {
    connection: Connection,
    site: Option<SiteIndex>,
    origin: Origin,
    /// Counted as closed.
    ended: bool,
    /// A failure to connect has been told.
    failure_told: bool,
    /// That a mini-socket stays is concluded and not told yet: a RST of ours, which
    /// follows its transition, would prove it wrong.
    lingers_perhaps: bool,
}

impl Entry {
    fn new(connection: Connection, site: Option<SiteIndex>, origin: Origin) -> Self {
        Self {
            connection,
            site,
            origin,
            ended: false,
            failure_told: false,
            lingers_perhaps: false,
        }
    }
}

// A million live connections are followed at once: with what the allocator keeps of each, 256.
const _: () = assert!(size_of::<Entry>() <= 248);

/// All connections that are or have been.
#[derive(Debug)]
pub struct Table {
    /// Boxed, so that room for twice as many costs little, and moving there less.
    entries: FxHashMap<u64, Box<Entry>>,
    sites: Sites,
    counters: Counters,
    /// Sockets are named by address, which the kernel uses again: generations
    /// then count births over the whole table.
    by_address: bool,
    births: u32,
    /// Then, too: what snapshots brought in under its cookie, by its ends.
    unnamed: FxHashMap<Ends, u64>,
    /// Listeners by namespace and port: more than one share it under SO_REUSEPORT.
    listening: FxHashMap<(u32, u16), u32>,
    /// What is heard and what has to be concluded.
    hears: Hears,
    /// Sockets of which something is not told yet, since when.
    held_back: Vec<(BootTime, u64)>,
    /// Filters keep records back: what turns up unknown need not have been lost.
    is_partial: bool,
    /// Set until the first snapshot is in: what turns up unknown was there before.
    warming_up: bool,
    /// Until then transitions between opening and close are not told: `BootTime::END`
    /// while they are not.
    shed_until: Option<BootTime>,
    /// While a snapshot is being taken.
    freed: Option<Freed>,
    /// How many connections are followed at once: [`MAX_CONNECTIONS`].
    room: usize,
    /// Until so many were seen no more room is looked for.
    full_until: u64,
    /// Connections that the last snapshot should have shown and did not.
    missing: FxHashSet<u64>,
    /// Sockets that are further subflows of an MPTCP connection.
    subflows: FxHashSet<u64>,
    /// Sockets that were freed last: a transition of theirs may come once more.
    last_freed: [u64; 8],
}

impl Table {
    /// An empty table. `by_address`: sockets are named by address, for want of
    /// a cookie. `is_partial`: a filter keeps records back.
    #[must_use]
    pub fn new(by_address: bool, is_partial: bool) -> Self {
        Self {
            entries: FxHashMap::default(),
            sites: Sites::default(),
            counters: Counters::default(),
            by_address,
            births: 0,
            unnamed: FxHashMap::default(),
            listening: FxHashMap::default(),
            hears: Hears::default(),
            held_back: Vec::new(),
            is_partial,
            warming_up: true,
            shed_until: None,
            freed: None,
            room: MAX_CONNECTIONS,
            full_until: 0,
            missing: FxHashSet::default(),
            subflows: FxHashSet::default(),
            last_freed: [0; 8],
        }
    }

    /// The same, of a trace that hears of these by itself.
    #[must_use]
    pub fn hearing(self, hears: Hears) -> Self {
        Self { hears, ..self }
    }

    /// Counts so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Connections not ended, listeners left out.
    #[must_use]
    pub fn live(&self) -> u64 {
        let Counters {
            seen,
            closed,
            evicted,
            ..
        } = self.counters;
        seen.saturating_sub(closed + evicted)
    }

    /// Every connection and listener still in the table.
    pub fn connections(&self) -> impl Iterator<Item = &Connection> {
        self.entries.values().map(|entry| &entry.connection)
    }

    /// The same, each with the name that records have for it now: not always the one
    /// in its id, which never changes.
    pub fn named(&self) -> impl Iterator<Item = (u64, &Connection)> {
        let entries = self.entries.iter();
        entries.map(|(&name, entry)| (name, &entry.connection))
    }

    /// Every connection that has not ended, and every listener.
    pub fn open(&self) -> impl Iterator<Item = &Connection> {
        let open = self.entries.values().filter(|entry| !entry.ended);
        open.map(|entry| &entry.connection)
    }

    /// Every connection that has ended and whose socket is not freed yet.
    pub fn ended(&self) -> impl Iterator<Item = &Connection> {
        let ended = self.entries.values().filter(|entry| entry.ended);
        ended.map(|entry| &entry.connection)
    }

    /// Counts a record that could not be decoded.
    pub fn count_undecodable(&mut self) {
        self.counters.undecodable += 1;
    }

    /// Transitions are left out from then on, or no longer.
    pub fn note_shed(&mut self, at: BootTime, sheds: bool) {
        match sheds {
            true => self.shed_until = Some(BootTime::END),
            false => self.shed_until = self.shed_until.map(|until| until.min(at)),
        }
    }

    /// Tells whether a transition of a connection may be left out on purpose, or have come
    /// before the trace.
    fn may_skip(&self) -> impl Fn(&Connection) -> bool + use<> {
        let (warming_up, shed_until) = (self.warming_up, self.shed_until);
        move |connection| {
            let is_left_out = |until| connection.state_at.is_none_or(|since| since < until);
            warming_up || shed_until.is_some_and(is_left_out)
        }
    }

    /// Records were lost: what sites have opened and ended is now only what was seen
    /// of it.
    pub fn note_loss(&mut self) {
        self.sites.open_gap();
    }

    /// A snapshot taken since then is worked in, and nothing more was lost.
    pub fn note_mended(&mut self) {
        self.sites.close_gap();
    }

    /// Sites that lost their own account for want of room.
    #[must_use]
    pub fn sites_summed_up(&self) -> u64 {
        self.sites.summed_up()
    }

    /// Marks a point of every site's history.
    pub fn checkpoint(&mut self, now: BootTime) {
        self.sites.checkpoint(now);
    }

    /// The processes that own connections or listen, some several times.
    pub fn owners(&self) -> impl Iterator<Item = (u32, Comm)> {
        let listeners = self.connections().filter(|c| c.role == Role::Listener);
        let listeners = listeners.filter_map(|listener| listener.owner);
        let owners = self.sites.owners();
        owners.chain(listeners.map(|owner| (owner.pid, owner.comm)))
    }

    /// Each site with its tally and its live connections, oldest first.
    /// Connections that nobody has accepted go to the listener's owner.
    #[must_use]
    pub fn sites(&self) -> Vec<(SiteKey, Tally, Vec<&Connection>)> {
        self.sites
            .group(self.entries.values().map(|entry| &**entry))
    }

    /// As [`Table::sites`], with those of one process and end joined whose call
    /// stacks are the same code: `code_of` numbers it. What was there before the
    /// start has no stack, and of some the code is not known; it goes to the only code that opens connections to that
    /// end, if there is only one.
    #[must_use]
    pub fn call_sites(
        &self,
        code_of: impl Fn(CallStack) -> Option<u64>,
    ) -> Vec<(SiteKey, Tally, Vec<&Connection>)> {
        sites::join(self.sites(), code_of)
    }

    /// Takes an entry out of the table.
    fn take(&mut self, sock: u64) -> Option<Box<Entry>> {
        let entry = self.entries.remove(&sock)?;
        if self.by_address {
            let ends = entry.connection.ends();
            if self.unnamed.get(&ends) == Some(&sock) {
                self.unnamed.remove(&ends);
            }
        }
        let end = (entry.connection.netns, entry.connection.local().port());
        if entry.connection.role == Role::Listener
            && let Some(count) = self.listening.get_mut(&end)
        {
            *count -= 1;
            if *count == 0 {
                self.listening.remove(&end);
            }
        }
        Some(entry)
    }

    /// Enters a connection in the books; false where there is no room.
    fn insert(&mut self, connection: Connection, origin: Origin) -> bool {
        let counts = connection.role != Role::Listener;
        if counts {
            // One that is not followed turns up as unknown again and again.
            let is_new = connection.opened_at.is_some() || self.warming_up;
            let is_full = self.entries.len() >= self.room && !self.make_room();
            if is_new || !is_full {
                self.counters.seen += 1;
            }
            if is_full {
                self.counters.evicted += u64::from(is_new);
                return false;
            }
        }
        let sock = connection.id.sock;
        let site = connection
            .owner
            .filter(|_| counts)
            .map(|owner| self.sites.enter(&connection, &owner, origin));
        let entry = Entry::new(connection, site, origin);
        if !counts {
            let end = (entry.connection.netns, entry.connection.local().port());
            *self.listening.entry(end).or_insert(0) += 1;
        }
        self.entries.insert(sock, Box::new(entry));
        true
    }

    /// Gives a connection an owner, and its account with it: who holds it now is
    /// who must act.
    pub fn hand_over(&mut self, sock: u64, owner: Owner, known: OwnerKnown) {
        let Some(entry) = self.entries.get_mut(&sock) else {
            return;
        };
        entry.connection.own(owner, known);
        if entry.connection.role == Role::Listener {
            return;
        }
        if entry
            .site
            .is_some_and(|site| self.sites.is_of(site, &owner))
        {
            return;
        }
        if let Some(site) = entry.site.take() {
            self.sites.strike(site, entry);
        }
        let site = self.sites.enter(&entry.connection, &owner, entry.origin);
        entry.site = Some(site);
        if entry.ended {
            self.sites.leave(entry.site, &entry.connection);
        }
    }

    /// Drops what has ended and is not freed yet: it is in its site's tally. Looks
    /// again only after as many newcomers as a look is worth. False where all live.
    fn make_room(&mut self) -> bool {
        if self.counters.seen < self.full_until {
            return false;
        }
        self.entries.retain(|_, entry| !entry.ended);
        let is_full = self.entries.len() >= self.room;
        if is_full {
            self.full_until = self.counters.seen + (self.room / LOOKS) as u64;
        }
        !is_full
    }
}

/// Why a connection enters the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Opened,
    Inherited,
}

/// Closes a connection's account, once.
fn end(entry: &mut Entry, counters: &mut Counters, sites: &mut Sites) {
    if entry.ended || entry.connection.role == Role::Listener {
        return;
    }
    entry.ended = true;
    counters.closed += 1;
    sites.leave(entry.site, &entry.connection);
}

#[cfg(test)]
mod tests;
