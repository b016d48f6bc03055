//! The connection table: events in, lifetimes out. Pure.
//!
//! An idle live connection is never dropped: those are what is looked for. What
//! ends is folded into its site's tally and forgotten.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    clock::BootTime,
    decode::{Circumstance, Ends, Event, Owner},
    tcp::{Known, OwnerKnown, Role, State},
};

pub mod connection;
mod ending;
pub mod site;
mod sites;

use connection::{ConnId, ConnectReturn, Connection};
pub use ending::Hears;
use repair::Freed;
use site::{SiteKey, Tally};
use sites::{SiteIndex, Sites};

/// Connections tracked at once: four times what the largest hosts hold, some
/// 2.5 GB. One more is counted as evicted at its opening.
pub const MAX_CONNECTIONS: usize = 4_000_000;

/// How long after a transition the same one is not another: as much as softirqs may
/// bring in between two programs on one tracepoint.
const REPEATED_MS: u64 = 100;

/// While the table is full of live ones, ended ones are looked for this often in
/// as many newcomers as it holds.
const LOOKS: usize = 64;

/// Errno values of connect(2) that do not mean failure: EINTR, EALREADY and
/// EINPROGRESS, and the kernel's own ERESTARTSYS, where the call goes on.
const CONNECT_GOES_ON: [i32; 4] = [4, 114, 115, 512];

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
    /// It left FIN_WAIT2 after a half close: an orphan, of which a mini-socket stays,
    /// if it is freed at once.
    orphaned_perhaps: bool,
}

/// All connections that are or have been.
#[derive(Debug)]
pub struct Table {
    entries: FxHashMap<u64, Entry>,
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
    /// Sockets that perhaps linger, since when: see [`Entry::lingers_perhaps`].
    perhaps: Vec<(BootTime, u64)>,
    /// Filters keep records back: what turns up unknown need not have been lost.
    is_partial: bool,
    /// Set until the first snapshot is in: what turns up unknown was there before.
    warming_up: bool,
    /// While a snapshot is being taken.
    freed: Option<Freed>,
    /// How many connections are followed at once: [`MAX_CONNECTIONS`].
    room: usize,
    /// Until so many were seen no more room is looked for.
    full_until: u64,
    /// Connections that the last snapshot should have shown and did not.
    missing: FxHashSet<u64>,
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
            perhaps: Vec::new(),
            is_partial,
            warming_up: true,
            freed: None,
            room: MAX_CONNECTIONS,
            full_until: 0,
            missing: FxHashSet::default(),
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

    /// Counts a record that could not be decoded.
    pub fn count_undecodable(&mut self) {
        self.counters.undecodable += 1;
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

    /// Each site with its tally and its live connections, oldest first.
    /// Connections that nobody has accepted go to the listener's owner.
    #[must_use]
    pub fn sites(&self) -> Vec<(SiteKey, Tally, Vec<&Connection>)> {
        self.sites.group(self.entries.values())
    }

    /// Applies one event; `tell` hears of each change, in order.
    pub fn apply(&mut self, event: &Event, mut tell: impl FnMut(Change, BootTime, &Connection)) {
        match *event {
            Event::State { at, sock, new, .. } if self.is_repeated(at, sock, new) => {}
            Event::State {
                at,
                sock,
                ends,
                old,
                new,
                how,
                task,
            } => match (old, new) {
                (State::Close, State::SynSent) => {
                    self.born(at, sock, ends, Role::Client, new, Some(task), &mut tell);
                }
                (State::Close, State::Listen) => {
                    self.born(at, sock, ends, Role::Listener, new, Some(task), &mut tell);
                }
                (State::Listen, State::SynRecv) => {
                    self.born(at, sock, ends, Role::Server, new, None, &mut tell);
                }
                _ => {
                    // Kernels before 6.14 do not name a child at its birth; this
                    // follows at once.
                    if old == State::SynRecv && !self.entries.contains_key(&sock) {
                        self.born(at, sock, ends, Role::Server, old, None, &mut tell);
                    }
                    self.moved(at, sock, ends, (old, new), how, &mut tell);
                }
            },
            Event::Connect {
                at,
                sock,
                errno,
                latency_ns,
            } => self.connect_returned(at, sock, errno, latency_ns, &mut tell),
            Event::Accept {
                at,
                sock,
                ends,
                owner,
                state,
            } => {
                if !self.entries.contains_key(&sock) {
                    self.adopt(sock, ends, Role::Server, state, None, false);
                }
                self.hand_over(sock, owner, OwnerKnown::Accept);
                if let Some(entry) = self.entries.get(&sock) {
                    tell(Change::Accepted, at, &entry.connection);
                }
            }
            Event::Close { at, sock, exiting } => self.let_go(at, sock, exiting, &mut tell),
            Event::TimeWait {
                at,
                sock,
                state,
                stays,
            } => {
                if let Some(entry) = self.entries.get_mut(&sock) {
                    entry.connection.note_linger(at, state, stays);
                }
            }
            Event::Reset { sock, by_us, .. } => {
                if let Some(entry) = self.entries.get_mut(&sock) {
                    entry.connection.note_reset(by_us);
                    entry.orphaned_perhaps &= !by_us;
                    if entry.lingers_perhaps && by_us {
                        entry.lingers_perhaps = false;
                        entry.connection.forget_linger();
                    }
                }
            }
            Event::Gone { at, sock } => {
                self.note_freed(sock);
                self.gone(at, sock, &mut tell);
            }
            Event::Exit { pid, .. } => self.sites.process_exited(pid),
        }
    }

    /// Whether a transition has been told already: where two programs of the kernel
    /// side take turns, both may do the work.
    fn is_repeated(&self, at: BootTime, sock: u64, new: State) -> bool {
        self.entries.get(&sock).is_some_and(|entry| {
            let connection = &entry.connection;
            let is_near = |told: BootTime| at.ms_since(told) < REPEATED_MS;
            connection.state == new && connection.state_at.is_some_and(is_near)
        })
    }

    #[allow(clippy::too_many_arguments, reason = "a birth has this many facts")]
    fn born(
        &mut self,
        at: BootTime,
        sock: u64,
        ends: Ends,
        role: Role,
        state: State,
        owner: Option<Owner>,
        tell: &mut impl FnMut(Change, BootTime, &Connection),
    ) {
        // The same socket again, after connect(AF_UNSPEC) or a failed connect;
        // or, named by address, another socket whose predecessor's end was lost.
        let before = self
            .entries
            .get(&sock)
            .map(|entry| entry.connection.id.generation);
        if before.is_some() {
            self.gone(at, sock, tell);
        }
        self.births = self.births.wrapping_add(1);
        let generation = if self.by_address {
            self.births
        } else {
            before.map_or(0, |generation| generation.wrapping_add(1))
        };
        let mut connection = Connection::new(ConnId { sock, generation }, ends, role, state);
        connection.opened_at = Some(at);
        connection.state_at = Some(at);
        connection.history.push((state, at));
        if let Some(owner) = owner {
            let known = match role {
                Role::Listener => OwnerKnown::Listen,
                _ => OwnerKnown::Connect,
            };
            connection.own(owner, known);
        }
        if self.insert(connection, Origin::Opened)
            && let Some(entry) = self.entries.get(&sock)
        {
            tell(Change::Opened, at, &entry.connection);
        }
    }

    fn moved(
        &mut self,
        at: BootTime,
        sock: u64,
        ends: Ends,
        (old, new): (State, State),
        how: Circumstance,
        tell: &mut impl FnMut(Change, BootTime, &Connection),
    ) {
        let is_known =
            self.entries.contains_key(&sock) || (self.by_address && self.rename(sock, ends));
        if !is_known {
            let role = self.guess_role(ends, old);
            self.adopt(sock, ends, role, old, None, false);
        }
        let Some(entry) = self.entries.get_mut(&sock) else {
            return;
        };
        let connection = &mut entry.connection;
        if connection.state != old && !self.warming_up {
            // A transition in between was lost.
            connection.known = Known::Repaired;
        }
        let was_let_go = connection.app_closed_at.is_some();
        if !self.hears.time_wait
            && let Some(state) = ending::lingers(old, new, how)
        {
            if state == State::FinWait2 && !was_let_go {
                entry.orphaned_perhaps = true;
            } else {
                connection.note_linger(at, state, ending::TIME_WAIT);
                entry.lingers_perhaps = true;
                self.perhaps.push((at, sock));
            }
        }
        connection.enter(at, ends, new);
        if let Some(figures) = how.figures {
            connection.set_figures(figures);
        }
        connection.note_end(at, (old, new), how, self.hears);
        let lets_go = !was_let_go && connection.app_closed_at.is_some();
        if lets_go {
            tell(Change::AppClosed, at, connection);
        }

        let change = match new {
            State::Established => Change::Established,
            State::Close if old == State::SynSent && how.error != 0 => {
                entry.failure_told = true;
                Change::ConnectFailed
            }
            State::Close if connection.linger.is_some() && !entry.lingers_perhaps => {
                Change::TimeWait
            }
            _ => Change::State,
        };
        tell(change, at, connection);
        if change == Change::ConnectFailed {
            self.sites.failed(entry.site);
        }
        if new == State::Close && connection.app_closed_at.is_some() {
            end(entry, &mut self.counters, &mut self.sites);
        }
    }

    /// Tells what has been held back long enough for anything that disproves it to
    /// have come.
    pub fn settle(&mut self, now: BootTime, mut tell: impl FnMut(Change, BootTime, &Connection)) {
        let entries = &mut self.entries;
        self.perhaps.retain(|&(at, sock)| {
            if now.ms_since(at) < ending::DISPROOF_MS {
                return true;
            }
            if let Some(entry) = entries.get_mut(&sock)
                && std::mem::take(&mut entry.lingers_perhaps)
            {
                tell(Change::TimeWait, now, &entry.connection);
            }
            false
        });
    }

    /// The last program that held a socket has let go.
    fn let_go(
        &mut self,
        at: BootTime,
        sock: u64,
        exiting: bool,
        tell: &mut impl FnMut(Change, BootTime, &Connection),
    ) {
        let Some(entry) = self.entries.get_mut(&sock) else {
            return;
        };
        let was_let_go = entry.connection.app_closed_at.is_some();
        entry.connection.let_go(at, exiting);
        if !was_let_go {
            tell(Change::AppClosed, at, &entry.connection);
        }
        if entry.connection.state == State::Close {
            end(entry, &mut self.counters, &mut self.sites);
        }
    }

    fn connect_returned(
        &mut self,
        at: BootTime,
        sock: u64,
        errno: i32,
        latency_ns: u64,
        tell: &mut impl FnMut(Change, BootTime, &Connection),
    ) {
        let Some(entry) = self.entries.get_mut(&sock) else {
            return;
        };
        entry.connection.connect = Some(ConnectReturn {
            errno,
            latency_us: latency_ns / 1_000,
        });
        if errno != 0 && !CONNECT_GOES_ON.contains(&errno) && !entry.failure_told {
            entry.failure_told = true;
            entry.connection.error = errno;
            self.sites.failed(entry.site);
            tell(Change::ConnectFailed, at, &entry.connection);
        }
    }

    /// Takes an entry out of the table.
    fn take(&mut self, sock: u64) -> Option<Entry> {
        let entry = self.entries.remove(&sock)?;
        let ends = repair::ends_of(&entry.connection);
        if self.unnamed.get(&ends) == Some(&sock) {
            self.unnamed.remove(&ends);
        }
        let end = (entry.connection.netns, entry.connection.local.port());
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

    /// The socket is freed, or used for another connection.
    fn gone(
        &mut self,
        at: BootTime,
        sock: u64,
        tell: &mut impl FnMut(Change, BootTime, &Connection),
    ) {
        let Some(mut entry) = self.take(sock) else {
            return;
        };
        end(&mut entry, &mut self.counters, &mut self.sites);
        let connection = &mut entry.connection;
        if entry.orphaned_perhaps
            && let Some(left) = connection.closed_at
            && at.ms_since(left) < ending::ORPHAN_MS
        {
            connection.note_linger(left, State::FinWait2, ending::TIME_WAIT);
            entry.lingers_perhaps = true;
        }
        if std::mem::take(&mut entry.lingers_perhaps) {
            tell(Change::TimeWait, at, connection);
        }
        let was_held = connection.app_closed_at.is_none() && connection.owner.is_some();
        connection.free(at);
        if was_held {
            tell(Change::AppClosed, at, connection);
        }
        tell(Change::Gone, at, connection);
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
        let entry = Entry {
            connection,
            site,
            origin,
            ended: false,
            failure_told: false,
            lingers_perhaps: false,
            orphaned_perhaps: false,
        };
        if !counts {
            let end = (entry.connection.netns, entry.connection.local.port());
            *self.listening.entry(end).or_insert(0) += 1;
        }
        self.entries.insert(sock, entry);
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
            self.sites.strike(site, entry.origin, entry.ended);
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

    fn guess_role(&self, ends: Ends, state: State) -> Role {
        if state == State::Listen {
            return Role::Listener;
        }
        if self
            .listening
            .contains_key(&(ends.netns, ends.local.port()))
        {
            Role::Server
        } else {
            Role::Client
        }
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

mod repair;

#[cfg(test)]
mod tests;
