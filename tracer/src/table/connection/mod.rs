//! One connection, as far as it is known. Pure.

use std::{fmt, net::SocketAddr, num::NonZeroU32};

use serde::{Deserialize, Serialize};

use crate::{
    clock::BootTime,
    decode::{Comm, Ends, Figures, Owner},
    tcp::{Known, OwnerKnown, Role, State},
};

mod end;
mod packed;
mod sample;

pub use end::{End, Ended};
use packed::Packed;
pub use sample::{GAP_MS, Sample, Since, Timer};

/// With which states a history begins. When they were entered other fields tell, so that
/// one that is followed for long takes no room of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Beginning {
    /// Before the trace.
    #[default]
    Unseen,
    /// With this one, when it was opened.
    Born(State),
    /// With this one, and then ESTABLISHED.
    Established(State),
}

/// What tells a connection from every other on this host since boot.
///
/// The cookie alone does not: `connect(AF_UNSPEC)` and another connect keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    /// The socket cookie; on kernels without a cookie helper the socket's address where a
    /// record told of it first, the cookie where a snapshot did.
    pub sock: u64,
    /// Counts the connections of one socket, from 0.
    pub generation: u32,
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{}", self.sock, self.generation)
    }
}

/// A process that has a socket open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// File descriptor.
    pub fd: i32,
    /// Name of the process.
    pub comm: Comm,
}

/// Who has a connection open, as the latest snapshot told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Held {
    /// No snapshot has told.
    #[default]
    Untold,
    /// By its owner alone: the most frequent case, at no cost in memory.
    ByOwner,
    /// By others, or by nobody any more.
    ByThese,
}

/// Who opened a connection and who holds it, where that is not just its owner.
#[derive(Clone, Debug, Default)]
struct PassedOn {
    /// Who opened it, as it was then, where that is no longer the owner as it is now.
    opener: Option<Owner>,
    /// Who holds it, where that is not its owner alone; the lowest pid first.
    holders: Vec<Holder>,
}

/// A mini-socket that outlives the connection in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linger {
    /// TIME_WAIT, or FIN_WAIT2 where the peer's FIN is still out.
    pub state: State,
    /// When the kernel will drop it at the latest.
    pub until: BootTime,
}

/// How connect(2) returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectReturn {
    /// 0 or a positive errno.
    pub errno: i32,
    /// One more than that: one that is not known takes no more room.
    latency_us: NonZeroU32,
}

impl ConnectReturn {
    pub(super) fn new(errno: i32, latency_ns: u64) -> Self {
        Self {
            errno,
            latency_us: u32::try_from(latency_ns / 1_000)
                .map_or(NonZeroU32::MAX, |us| NonZeroU32::MIN.saturating_add(us)),
        }
    }

    /// Time in the call, in microseconds: at most an hour and some minutes.
    #[must_use]
    pub fn latency_us(self) -> u32 {
        self.latency_us.get() - 1
    }
}

/// One connection (or listener) of this host.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Its name.
    pub id: ConnId,
    /// Inode of its network namespace.
    pub netns: u32,
    local: Packed,
    remote: Packed,
    /// Which side we are.
    pub role: Role,
    /// How we know it.
    pub known: Known,
    /// Who holds it; `None` for one not accepted yet or whose opening was not seen.
    pub owner: Option<Owner>,
    /// How the owner is known.
    pub owner_known: Option<OwnerKnown>,
    held: Held,
    passed_on: Option<Box<PassedOn>>,
    /// Now.
    pub state: State,
    /// Since when in `state`; `None` if since before the trace.
    pub state_at: Option<BootTime>,
    beginning: Beginning,
    /// CLOSE -> SYN_SENT, LISTEN -> SYN_RECV or CLOSE -> LISTEN.
    pub opened_at: Option<BootTime>,
    /// When it first was ESTABLISHED.
    pub established_at: Option<BootTime>,
    /// How it ended.
    pub end: End,
    /// Half closed by shutdown(2), not by close(2).
    pub half_closed: bool,
    /// How connect(2) returned, once it has.
    pub connect: Option<ConnectReturn>,
    /// Payload bytes sent, without retransmissions.
    pub tx_bytes: u64,
    /// Payload bytes received (one more once the peer's FIN is in).
    pub rx_bytes: u64,
    /// Segments retransmitted over its life.
    pub retransmits: u32,
    /// Smoothed round-trip time in microseconds.
    pub srtt_us: u32,
    /// The latest snapshot's figures.
    pub sample: Option<Sample>,
    /// How often two snapshots showed it used again after [`GAP_MS`] or longer; 255
    /// stands for more.
    pub revivals: u8,
    /// The longest such pause that a snapshot showed, in milliseconds.
    pub longest_gap_ms: u32,
    /// How long the peer had sent nothing when its FIN came, or when something was
    /// sent to it in vain; `None` where that is not known.
    pub quiet_ms: Option<NonZeroU32>,
    /// The peer's FIN met a request of ours, which a RST answered.
    pub raced: bool,
}

impl Connection {
    /// A connection of which no more is known than this.
    #[must_use]
    pub fn new(id: ConnId, ends: Ends, role: Role, state: State) -> Self {
        Self {
            id,
            netns: ends.netns,
            local: ends.local.into(),
            remote: ends.remote.into(),
            role,
            known: Known::Observed,
            owner: None,
            owner_known: None,
            held: Held::Untold,
            passed_on: None,
            state,
            state_at: None,
            beginning: Beginning::Unseen,
            opened_at: None,
            established_at: None,
            end: End::default(),
            half_closed: false,
            connect: None,
            tx_bytes: 0,
            rx_bytes: 0,
            retransmits: 0,
            srtt_us: 0,
            sample: None,
            revivals: 0,
            longest_gap_ms: 0,
            quiet_ms: None,
            raced: false,
        }
    }

    /// One that comes to be, and who opens it, where that is known.
    pub(super) fn born(
        at: BootTime,
        id: ConnId,
        ends: Ends,
        (role, state): (Role, State),
        owner: Option<Owner>,
    ) -> Self {
        let mut connection = Self::new(id, ends, role, state);
        connection.opened_at = Some(at);
        connection.state_at = Some(at);
        connection.beginning = Beginning::Born(state);
        if let Some(owner) = owner {
            let known = match role {
                Role::Listener => OwnerKnown::Listen,
                _ => OwnerKnown::Connect,
            };
            connection.own(owner, known);
        }
        connection
    }

    /// This host's end; port 0 while unbound.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local.into()
    }

    /// The other end; unspecified for a listener.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        self.remote.into()
    }

    /// Both ends, and where they live.
    #[must_use]
    pub fn ends(&self) -> Ends {
        Ends {
            local: self.local(),
            remote: self.remote(),
            netns: self.netns,
        }
    }

    /// The states entered since the trace saw it, in order, with times.
    pub fn history(&self) -> impl DoubleEndedIterator<Item = (State, BootTime)> + '_ {
        let (born, established) = match self.beginning {
            Beginning::Unseen => (None, None),
            Beginning::Born(state) => (Some(state), None),
            Beginning::Established(state) => (Some(state), Some(State::Established)),
        };
        let born = born.zip(self.opened_at);
        let established = established.zip(self.established_at);
        let further = self.end.further.iter().copied();
        born.into_iter().chain(established).chain(further)
    }

    /// Notes a state in the history. One longer than any that the protocol allows keeps its
    /// start.
    pub(crate) fn pass_through(&mut self, at: BootTime, state: State) {
        match self.beginning {
            Beginning::Born(first)
                if state == State::Established
                    && self.established_at == Some(at)
                    && self.end.further.is_empty() =>
            {
                self.beginning = Beginning::Established(first);
            }
            _ => drop(self.end.further.try_push((state, at))),
        }
    }

    /// As if none had been seen.
    #[cfg(test)]
    pub(crate) fn forget_history(&mut self) {
        self.beginning = Beginning::Unseen;
        self.end.further.clear();
    }

    /// Leaves TIME_WAIT out of the history.
    pub(super) fn never_lingered(&mut self) {
        if !self.end.further.is_empty() {
            let further = &mut self.end.further;
            further.retain(|(state, _)| *state != State::TimeWait);
        }
    }

    /// Takes over what is known of `ends`: a port is chosen after the first transition, and
    /// taken away before the last.
    pub fn set_ends(&mut self, ends: Ends) {
        if ends.local.port() != 0 {
            self.local = ends.local.into();
        }
        if ends.remote.port() != 0 {
            self.remote = ends.remote.into();
        }
    }

    /// Takes over a snapshot's figures, and notes whether they show it revived, or
    /// sent to after a pause and in vain so far.
    pub fn set_sample(&mut self, sample: Sample) {
        if let Some(gap) = self.sample.and_then(|before| sample.gap_ms_since(&before)) {
            let gap = u32::try_from(gap).unwrap_or(u32::MAX);
            if sample.backoff > 0 {
                self.quiet_ms = self.quiet_ms.or(NonZeroU32::new(gap));
            } else {
                self.revivals = self.revivals.saturating_add(1);
                self.longest_gap_ms = self.longest_gap_ms.max(gap);
            }
        }
        self.sample = Some(sample);
    }

    /// Takes over the kernel's latest figures.
    pub fn set_figures(&mut self, figures: Figures) {
        self.tx_bytes = figures.tx_bytes;
        self.rx_bytes = figures.rx_bytes;
        self.retransmits = figures.retransmits;
        self.srtt_us = figures.srtt_us;
    }

    /// Gives it an owner. Who opened it stays on record where fds tell of another.
    pub fn own(&mut self, owner: Owner, known: OwnerKnown) {
        if known != OwnerKnown::Fds {
            if let Some(passed_on) = &mut self.passed_on {
                passed_on.opener = None;
            }
            self.owner_known = Some(known);
        } else {
            if let Some(opener) = self.opener().copied() {
                self.passed_on.get_or_insert_default().opener = Some(opener);
            }
            if self.owner.is_none_or(|before| before.pid != owner.pid) {
                self.owner_known = Some(known);
            }
        }
        self.owner = Some(owner);
    }

    /// Who called connect, accept or listen, as it was then; `None` where that
    /// was not seen.
    #[must_use]
    pub fn opener(&self) -> Option<&Owner> {
        let is_opener = |known: &OwnerKnown| *known != OwnerKnown::Fds;
        let passed_on = self.passed_on.as_deref();
        passed_on.and_then(|it| it.opener.as_ref()).or_else(|| {
            self.owner
                .as_ref()
                .filter(|_| self.owner_known.as_ref().is_some_and(is_opener))
        })
    }

    /// Notes who has it open.
    pub fn note_holders(&mut self, holders: &[Holder]) {
        let owner = self.owner.map(|owner| (owner.pid, owner.fd, owner.comm));
        let is_owner = |one: &Holder| owner == Some((one.pid, Some(one.fd), one.comm));
        let (held, these) = match holders {
            [one] if is_owner(one) => (Held::ByOwner, [].as_slice()),
            these => (Held::ByThese, these),
        };
        self.held = held;
        if !these.is_empty() || self.passed_on.is_some() {
            self.passed_on.get_or_insert_default().holders = these.to_vec();
        }
    }

    /// Who has it open, the lowest pid first; `None` where no snapshot has told.
    #[must_use]
    pub fn holders(&self) -> Option<Vec<Holder>> {
        match self.held {
            Held::Untold => None,
            Held::ByThese => {
                let these = self.passed_on.as_ref().map(|it| it.holders.clone());
                Some(these.unwrap_or_default())
            }
            Held::ByOwner => self.owner.and_then(|owner| {
                let (pid, comm) = (owner.pid, owner.comm);
                Some(vec![Holder {
                    pid,
                    fd: owner.fd?,
                    comm,
                }])
            }),
        }
    }

    /// Milliseconds since it was opened, or, once it has ended, from then to its end: for a
    /// dead one that a program still holds that is to come. `None` if it was opened before
    /// the trace.
    #[must_use]
    pub fn age_ms(&self, now: BootTime) -> Option<u64> {
        let until = match self.is_live() {
            true => now,
            false => self.end.at.unwrap_or(now),
        };
        self.opened_at.map(|at| until.ms_since(at))
    }

    /// Milliseconds in the present state: exact where the transition was seen,
    /// else at least this. No segment moves a connection without carrying an
    /// acknowledgement, so the last one that came in bounds the time since.
    #[must_use]
    pub fn state_ms(&self, now: BootTime) -> Option<u64> {
        if let Some(at) = self.state_at {
            return Some(now.ms_since(at));
        }
        match (self.state, &self.sample) {
            (State::Listen | State::Close, _) | (_, None) => None,
            (_, Some(sample)) => {
                let quiet = sample.ack_received_ms.ms()?;
                Some(quiet.saturating_add(now.ms_since(sample.at)))
            }
        }
    }

    /// Milliseconds since payload last moved in either direction; `None` where
    /// no snapshot has told.
    #[must_use]
    pub fn idle_ms(&self, now: BootTime) -> Option<u64> {
        let sample = self.sample.as_ref().filter(|sample| !sample.is_bare)?;
        sample
            .idle_ms()
            .map(|ms| ms.saturating_add(now.ms_since(sample.at)))
            .or_else(|| {
                self.established_at
                    .or(self.opened_at)
                    .map(|at| now.ms_since(at))
            })
    }

    /// Whether a program still holds it by some fd, as far as can be told.
    #[must_use]
    pub fn is_held(&self) -> bool {
        match &self.sample {
            Some(sample) if self.state != State::Close => {
                sample.inode != 0 && self.end.app_closed_at.is_none()
            }
            _ => self.end.app_closed_at.is_none() && self.owner.is_some(),
        }
    }

    /// Whether it is live: neither ended nor left to the kernel.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.end.at.is_none() || (self.end.app_closed_at.is_none() && self.state == State::Close)
    }
}
