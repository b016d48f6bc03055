//! What each event does to the table.

use super::{
    Change, Entry, Hears, Origin, Table,
    connection::{ConnId, ConnectReturn, Connection},
    end, ending,
};
use crate::{
    clock::BootTime,
    decode::{Circumstance, Ends, Event, Owner, event::has_connect_failed},
    tcp::{Known, OwnerKnown, Role, State},
};

/// How long after a transition the same one is not another: as much as softirqs may
/// bring in between two programs on one tracepoint.
const REPEATED_MS: u64 = 100;

impl Table {
    /// Applies one event; `tell` hears of each change, in order.
    pub fn apply(&mut self, event: &Event, mut tell: impl FnMut(Change, BootTime, &Connection)) {
        if let Event::State { sock, .. } | Event::Accept { sock, .. } = *event
            && let Some(at) = self
                .entries
                .get(&sock)
                .and_then(|entry| entry.connection.end.freed_at)
        {
            // Named by address: another socket by now.
            self.gone(at, sock, &mut tell);
        }
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
                    if how.freed {
                        self.freed(at, sock, &mut tell);
                    }
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
                    self.heard_of(sock, ends, Role::Server, state);
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
                    if entry.lingers_perhaps && by_us {
                        entry.lingers_perhaps = false;
                        let linger = entry.connection.forget_linger();
                        if entry.ended
                            && let Some(linger) = linger
                        {
                            self.sites.lingers_not(entry.site, linger);
                        }
                    }
                    if let Some(at) = entry.connection.end.freed_at {
                        self.gone(at, sock, &mut tell);
                    }
                }
            }
            Event::Gone { at, sock } => self.freed(at, sock, &mut tell),
            Event::Join { at, sock } => self.joined(at, sock, &mut tell),
            // Its connections are its own as before.
            Event::Exec { .. } => {}
            Event::Exit { pid, .. } => self.sites.process_exited(pid),
        }
    }

    /// Whether a transition has been told already: where two programs of the kernel
    /// side take turns, both may do the work.
    fn is_repeated(&self, at: BootTime, sock: u64, new: State) -> bool {
        let Some(entry) = self.entries.get(&sock) else {
            // An address is soon another socket's.
            return new == State::Close && !self.by_address && self.last_freed.contains(&sock);
        };
        let connection = &entry.connection;
        let is_near = |told: BootTime| at.ms_since(told) < REPEATED_MS;
        connection.state == new && connection.state_at.is_some_and(is_near)
    }

    /// The kernel has freed a socket.
    fn freed(
        &mut self,
        at: BootTime,
        sock: u64,
        tell: &mut impl FnMut(Change, BootTime, &Connection),
    ) {
        self.note_freed(sock);
        let resets = self.hears.resets;
        match self.entries.get_mut(&sock) {
            Some(entry) if resets && entry.connection.is_reset_orphan() => {
                entry.connection.end.freed_at = Some(at);
                self.held_back.push((at, sock));
            }
            _ => self.gone(at, sock, tell),
        }
    }

    /// A record is the first that is known of a socket.
    fn heard_of(&mut self, sock: u64, ends: Ends, role: Role, state: State) {
        let generation = self.generation_after(None);
        let id = ConnId { sock, generation };
        self.adopt(id, ends, role, state, None, false);
    }

    /// The generation of a socket whose name another one had `before`. Where sockets are
    /// named by address it is one that no other has had.
    fn generation_after(&mut self, before: Option<u32>) -> u32 {
        if self.by_address {
            self.births = self.births.wrapping_add(1);
            return self.births;
        }
        before.map_or(0, |generation| generation.wrapping_add(1))
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
            self.note_left(sock);
            self.gone(at, sock, tell);
        }
        let generation = self.generation_after(before);
        let id = ConnId { sock, generation };
        let connection = Connection::born(at, id, ends, (role, state), owner);
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
            self.heard_of(sock, ends, role, old);
        }
        let may_skip = self.may_skip();
        let Some(entry) = self.entries.get_mut(&sock) else {
            return;
        };
        let may_skip = may_skip(&entry.connection);
        let moved = entry.moves(at, ends, (old, new), how, self.hears, may_skip);
        if moved.may_linger {
            self.held_back.push((at, sock));
        }
        if moved.lets_go {
            tell(Change::AppClosed, at, &entry.connection);
        }
        tell(moved.change, at, &entry.connection);
        if moved.change == Change::ConnectFailed {
            self.sites.failed(entry.site);
        }
        if new == State::Close && entry.connection.end.app_closed_at.is_some() {
            end(entry, &mut self.counters, &mut self.sites);
        }
    }

    /// Tells what has been held back long enough for anything that changes it to have
    /// come, or at the end of the trace (`BootTime::END`) all.
    pub fn settle(&mut self, now: BootTime, mut tell: impl FnMut(Change, BootTime, &Connection)) {
        let is_due = |&mut (at, _): &mut (BootTime, u64)| now.ms_since(at) >= ending::HELD_BACK_MS;
        let due: Vec<_> = self.held_back.extract_if(.., is_due).collect();
        for (at, sock) in due {
            let Some(entry) = self.entries.get_mut(&sock) else {
                continue;
            };
            if let Some(at) = entry.connection.end.freed_at {
                self.gone(at, sock, &mut tell);
            } else if std::mem::take(&mut entry.lingers_perhaps) {
                tell(Change::TimeWait, at, &entry.connection);
            }
        }
    }

    /// A socket is a further subflow of a connection that is known by its first.
    fn joined(
        &mut self,
        at: BootTime,
        sock: u64,
        tell: &mut impl FnMut(Change, BootTime, &Connection),
    ) {
        // Named by address: another socket's, whose end was lost.
        self.gone(at, sock, tell);
        if self.subflows.len() < self.room {
            self.subflows.insert(sock);
        }
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
        let was_let_go = entry.connection.end.app_closed_at.is_some();
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
        entry.connection.connect = Some(ConnectReturn::new(errno, latency_ns));
        if has_connect_failed(errno) && !entry.failure_told {
            entry.failure_told = true;
            entry.connection.end.error = errno;
            self.sites.failed(entry.site);
            tell(Change::ConnectFailed, at, &entry.connection);
        }
    }

    /// The socket is freed, or used for another connection.
    pub(super) fn gone(
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
        if std::mem::take(&mut entry.lingers_perhaps) {
            tell(Change::TimeWait, at, connection);
        }
        let was_held = connection.end.app_closed_at.is_none() && connection.owner.is_some();
        connection.free(at);
        if was_held {
            tell(Change::AppClosed, at, connection);
        }
        tell(Change::Gone, at, connection);
    }

    pub(super) fn guess_role(&self, ends: Ends, state: State) -> Role {
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

/// What a transition comes to.
pub(super) struct Moved {
    change: Change,
    /// The program let go with it.
    lets_go: bool,
    /// It may have left a mini-socket, which is concluded.
    may_linger: bool,
}

impl Entry {
    /// Takes in a transition. `may_skip`: one before it need not have been told.
    pub(super) fn moves(
        &mut self,
        at: BootTime,
        ends: Ends,
        (old, new): (State, State),
        how: Circumstance,
        hears: Hears,
        may_skip: bool,
    ) -> Moved {
        let connection = &mut self.connection;
        if connection.state != old && !may_skip {
            // A transition in between was lost.
            connection.known = Known::Repaired;
        }
        let was_let_go = connection.end.app_closed_at.is_some();
        // Where nothing hooks `tcp_time_wait`; a breakpoint there may be passed over, too.
        let lingers = ending::lingers(old, new, how).filter(|_| connection.end.linger.is_none());
        if let Some(state) = lingers {
            connection.note_linger(at, state, ending::TIME_WAIT);
            self.lingers_perhaps = true;
        }
        connection.enter(at, ends, new);
        let measured = (connection.tx_bytes, connection.rx_bytes);
        if let Some(figures) = how.figures {
            connection.set_figures(figures);
        }
        connection.note_end(at, (old, new), how, hears);
        if new == State::Close && how.figures.is_some() {
            connection.note_quiet(at, measured, how.error);
        }
        let change = match new {
            State::Established => Change::Established,
            State::Close if old == State::SynSent && how.error != 0 => {
                self.failure_told = true;
                Change::ConnectFailed
            }
            State::Close if connection.end.linger.is_some() && !self.lingers_perhaps => {
                Change::TimeWait
            }
            _ => Change::State,
        };
        Moved {
            change,
            lets_go: !was_let_go && connection.end.app_closed_at.is_some(),
            may_linger: lingers.is_some(),
        }
    }
}
