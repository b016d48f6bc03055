//! Connections of one owner to one end: what a verdict is about. Pure.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::{
    clock::BootTime,
    decode::{Comm, StackId},
    table::{
        ages::Ages,
        connection::{Connection, Linger},
        lingers::Lingers,
    },
    tcp::{ClosedBy, Role, State},
};

/// The code that opens or accepts connections: a call stack of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CallStack {
    /// The process, in whose memory the stack's addresses mean something.
    pub pid: u32,
    /// The stack.
    pub stack: StackId,
}

/// What groups connections.
///
/// A client's connections are grouped by the remote address and port and by the
/// call stack that opened them, a server's by the local port, a listener's by its
/// local address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteKey {
    /// The owner's process id; 0 for processes that have exited and left no
    /// connection, which are grouped by name, and for owners unknown.
    pub pid: u32,
    /// The owner's name.
    pub comm: Comm,
    /// Which side the owner is on.
    pub role: Role,
    /// Inode of the network namespace.
    pub netns: u32,
    /// Client: the remote end. Server and listener: the local port, with an
    /// unspecified address.
    pub end: SocketAddr,
    /// Client: the call stack that opened it; `None` where that was not taken, and
    /// for processes that have exited.
    pub stack: Option<StackId>,
}

impl SiteKey {
    /// The site of `connection` if `pid` and `comm` own it.
    #[must_use]
    pub fn of(connection: &Connection, pid: u32, comm: Comm) -> Self {
        let end = match connection.role {
            Role::Client => connection.remote(),
            Role::Server | Role::Listener => {
                SocketAddr::new(IpAddr::from([0, 0, 0, 0]), connection.local().port())
            }
        };
        Self {
            pid,
            comm,
            role: connection.role,
            netns: connection.netns,
            end,
            stack: connection
                .opener()
                .filter(|_| connection.role == Role::Client)
                .and_then(|opener| opener.stack),
        }
    }
}

/// The most frequent call stack, if one is more frequent than all others together,
/// else one of them: a majority vote after Boyer and Moore, in constant memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commonest {
    leads: Option<CallStack>,
    by: u64,
}

impl Commonest {
    /// The leading one; `None` where none was noted.
    #[must_use]
    pub const fn get(&self) -> Option<CallStack> {
        self.leads
    }

    /// Notes one more.
    pub fn note(&mut self, stack: CallStack) {
        self.add(Self {
            leads: Some(stack),
            by: 1,
        });
    }

    /// Notes what another vote came to.
    pub fn add(&mut self, other: Self) {
        if other.leads == self.leads {
            self.by += other.by;
        } else if other.by > self.by {
            *self = Self {
                leads: other.leads,
                by: other.by - self.by,
            };
        } else {
            self.by -= other.by;
        }
    }
}

/// A point of a site's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// When.
    pub at: BootTime,
    /// Connections opened from the trace's start (or inherited) until then.
    pub opened: u64,
    /// Of those, not ended by then.
    pub live: u64,
}

/// What is kept of a site's connections, ended ones included.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// There when the trace started.
    pub inherited: u64,
    /// Opened during the trace.
    pub opened: u64,
    /// Ended, of both.
    pub closed: u64,
    /// Ended with our FIN first, and left in TIME_WAIT or FIN_WAIT2.
    pub time_waits: u64,
    /// Of those, what the kernel still has.
    pub lingers: Lingers,
    /// Of those, the ones left in FIN_WAIT2: the peer's FIN was still out.
    pub fin_waits: u64,
    /// Ended, by whose hand: one count for each of [`ClosedBy::ALL`].
    pub ended_by: [u64; ClosedBy::ALL.len()],
    /// Ended by the peer's FIN while a request of ours was on its way, which a RST
    /// answered.
    pub raced: u64,
    /// Ended ones that had been used again after lying idle.
    pub revived: u64,
    /// The longest that an ended one had lain idle and was used again, in ms.
    pub longest_gap_ms: u64,
    /// Most live at once, at any instant.
    pub peak: u64,
    /// Lifetimes of those ended whose opening was seen.
    pub lives: Ages,
    /// How long the peer had sent nothing when its FIN came.
    pub hang_ups: Ages,
    /// How long the peer had sent nothing when it was sent to and a reset or a timeout
    /// ended it.
    pub failures: Ages,
    /// Sum of the lifetimes of those ended whose opening was seen, in ms.
    pub lifetime_ms: u64,
    /// How many `lifetime_ms` sums up.
    pub lifetimes: u64,
    /// Connect calls that failed.
    pub connect_failures: u64,
    /// Processes that this site stands for; 1 but for exited ones.
    pub processes: u64,
    /// Records were lost while it was there: `opened` and `closed` may be more.
    pub incomplete: bool,
    /// The code that opened or accepted most of them.
    pub stack: Commonest,
    /// Opened and live at the watch's checkpoints, oldest first.
    pub curve: Vec<Point>,
}

impl Tally {
    /// Inherited and opened, less ended.
    #[must_use]
    pub const fn live(&self) -> u64 {
        (self.inherited + self.opened).saturating_sub(self.closed)
    }

    /// How many `by` ended.
    #[must_use]
    pub fn ended_by(&self, by: ClosedBy) -> u64 {
        self.ended_by[by as usize]
    }

    /// Counts one more, and what it makes the peak.
    pub(crate) fn note_live(&mut self) {
        self.peak = self.peak.max(self.live());
    }

    /// Counts an ended connection.
    pub(crate) fn note_end(&mut self, connection: &Connection) {
        self.closed += 1;
        if let Some(linger) = connection.end.linger {
            self.time_waits += 1;
            self.fin_waits += u64::from(linger.state == State::FinWait2);
            let began = connection.end.at.unwrap_or_default();
            self.lingers.add(began, linger);
        }
        if let (Some(opened), Some(closed)) = (connection.opened_at, connection.end.at) {
            let ms = closed.ms_since(opened);
            self.lifetimes += 1;
            self.lifetime_ms += ms;
            self.lives.record(ms);
        }
        self.revived += u64::from(connection.revivals > 0);
        self.longest_gap_ms = self.longest_gap_ms.max(connection.longest_gap_ms.into());
        self.raced += u64::from(connection.raced);
        let Some(by) = connection.end.by else {
            return;
        };
        self.ended_by[by as usize] += 1;
        if let Some(quiet) = connection.quiet_ms {
            match by {
                ClosedBy::Peer => self.hang_ups.record(quiet.get().into()),
                ClosedBy::Reset | ClosedBy::Timeout => self.failures.record(quiet.get().into()),
                ClosedBy::Local | ClosedBy::Exit => {}
            }
        }
    }

    /// Takes back that an ended connection left something in the kernel.
    pub(crate) fn lingers_not(&mut self, linger: Linger) {
        self.time_waits = self.time_waits.saturating_sub(1);
        let is_fin_wait = u64::from(linger.state == State::FinWait2);
        self.fin_waits = self.fin_waits.saturating_sub(is_fin_wait);
        self.lingers.remove(linger);
    }

    /// Adds what is kept of other connections; not the processes, which may be the
    /// same.
    pub fn absorb(&mut self, other: &Self) {
        self.curve = sum(&self.curve, &other.curve);
        self.inherited += other.inherited;
        self.opened += other.opened;
        self.closed += other.closed;
        self.time_waits += other.time_waits;
        self.fin_waits += other.fin_waits;
        self.lingers.add_all(&other.lingers);
        self.incomplete |= other.incomplete;
        for (ours, theirs) in self.ended_by.iter_mut().zip(other.ended_by) {
            *ours += theirs;
        }
        self.raced += other.raced;
        self.revived += other.revived;
        self.longest_gap_ms = self.longest_gap_ms.max(other.longest_gap_ms);
        // They need not have been at once: at most.
        self.peak += other.peak;
        self.lifetime_ms += other.lifetime_ms;
        self.lifetimes += other.lifetimes;
        self.lives.absorb(&other.lives);
        self.hang_ups.absorb(&other.hang_ups);
        self.failures.absorb(&other.failures);
        self.connect_failures += other.connect_failures;
        self.stack.add(other.stack);
    }
}

/// The sum of two curves. Checkpoints are taken of all sites at once, but one curve
/// may have begun later or be thinned out: between its points it stays as it was.
fn sum(one: &[Point], other: &[Point]) -> Vec<Point> {
    let mut times: Vec<BootTime> = one.iter().chain(other).map(|point| point.at).collect();
    times.sort_unstable();
    times.dedup();
    let at = |curve: &[Point], at: BootTime| {
        let next = curve.partition_point(|point| point.at <= at);
        next.checked_sub(1)
            .map_or((0, 0), |last| (curve[last].opened, curve[last].live))
    };
    let add = |time| {
        let ((opened, live), (more_opened, more_live)) = (at(one, time), at(other, time));
        Point {
            at: time,
            opened: opened + more_opened,
            live: live + more_live,
        }
    };
    times.into_iter().map(add).collect()
}
