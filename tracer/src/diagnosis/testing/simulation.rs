//! A client program under traffic, simulated: requests come in, take connections from
//! a pool or open their own, and are answered. Yields the site that the collector
//! would have after the watch.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::Duration,
};

use fastrand::Rng;

use super::{NOW, Site, conn, site};
use crate::{
    clock::BootTime,
    table::{
        connection::{Connection, Sample},
        site::{Point, Tally},
    },
    tcp::{ClosedBy, Known, State},
};

/// Snapshots are this far apart, in milliseconds.
const SNAPSHOT_MS: u64 = 5_000;

/// Checkpoints in a watch.
const CHECKPOINTS: u64 = 32;

/// Requests per second over time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Traffic {
    /// The same all the time.
    Steady(f64),
    /// From the first to the second rate, evenly, over the whole watch.
    Ramp(f64, f64),
    /// The second rate in between two instants of the watch, else the first.
    Burst(f64, f64, [u64; 2]),
    /// Between none and twice the rate, once in so many milliseconds.
    Waves(f64, u64),
    /// This rate for half a second, once in so many milliseconds.
    Pulses(f64, u64),
    /// None after so many milliseconds of the watch.
    Ends(f64, u64),
}

/// A pool of connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pool {
    /// Connections at most; requests wait for one.
    pub(crate) cap: usize,
    /// More idle ones are closed.
    pub(crate) max_idle: usize,
    /// The member used last is used next; else the one that waits longest.
    pub(crate) last_first: bool,
    /// Idle ones are closed after so many milliseconds.
    pub(crate) idle_ms: Option<u64>,
    /// It notices at once that the peer hung up; else when it next takes one.
    pub(crate) reads: bool,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leak {
    /// Of so many percent of the requests the connection is forgotten.
    pub(crate) percent: u64,
    /// The answer is left unread.
    pub(crate) unread: bool,
    /// Forgotten ones count for the pool's cap.
    pub(crate) borrowed: bool,
    /// Whose end of the connection notices that the peer hung up: a pool that was
    /// dropped has a reader still.
    pub(crate) reads: bool,
    /// A garbage collector closes them, once in so many milliseconds.
    pub(crate) collected_ms: Option<u64>,
}

/// A program, its peer and its traffic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) watch_ms: u64,
    /// How long it ran before the watch, in milliseconds.
    pub(crate) before_ms: u64,
    pub(crate) traffic: Traffic,
    /// Milliseconds that the peer takes to answer, at least and at most.
    pub(crate) answer_ms: [u64; 2],
    /// `None`: each request opens a connection and closes it.
    pub(crate) pool: Option<Pool>,
    pub(crate) leak: Option<Leak>,
    /// The peer hangs up on those that are idle for so many milliseconds.
    pub(crate) peer_idle_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happens {
    Checkpoint,
    Snapshot,
    Answered(usize),
    /// Idle since that many uses.
    TimesOut(usize, u32),
    PeerHangsUp(usize, u32),
    Collected(usize),
    Request,
    /// Nobody comes: look again.
    Lull,
}

/// A connection with what the kernel knows of it.
struct Live {
    connection: Connection,
    uses: u32,
    sent: u64,
    received: Option<u64>,
    unread: u32,
    forgotten: bool,
    gone: bool,
}

struct Run {
    world: World,
    rng: Rng,
    now: u64,
    queue: BinaryHeap<Reverse<(u64, Happens)>>,
    all: Vec<Live>,
    idle: VecDeque<usize>,
    waiting: usize,
    taken: usize,
    requests: u64,
    forgotten: u64,
    tally: Tally,
}

/// Milliseconds since boot, in the middle of the simulation's own time.
fn at(ms: u64) -> BootTime {
    BootTime::from_ns(ms * 1_000_000)
}

impl World {
    /// The site after the watch.
    pub(crate) fn site(&self) -> Site {
        let end = NOW.ns() / 1_000_000;
        let from = end - self.watch_ms;
        let mut run = Run {
            world: *self,
            rng: Rng::with_seed(self.seed),
            now: from - self.before_ms,
            queue: BinaryHeap::new(),
            all: Vec::new(),
            idle: VecDeque::new(),
            waiting: 0,
            taken: 0,
            requests: 0,
            forgotten: 0,
            tally: Tally::default(),
        };
        run.plan_request();
        for i in 0..CHECKPOINTS {
            let due = from + i * self.watch_ms / CHECKPOINTS;
            run.queue.push(Reverse((due, Happens::Checkpoint)));
        }
        for i in 0..self.watch_ms.div_ceil(SNAPSHOT_MS) {
            let due = from + i * SNAPSHOT_MS;
            run.queue.push(Reverse((due, Happens::Snapshot)));
        }
        let mut has_begun = false;
        while let Some(&Reverse((due, what))) = run.queue.peek() {
            if due > end {
                break;
            }
            if !has_begun && due >= from {
                has_begun = true;
                run.now = from;
                run.begin();
            }
            run.queue.pop();
            run.now = due;
            run.happens(what);
        }
        run.now = end;
        run.happens(Happens::Snapshot);
        run.happens(Happens::Checkpoint);
        let live = run.all.into_iter().filter(|live| !live.gone);
        let mut site = site().watched(self.watch_ms);
        site.live = live.map(|live| live.connection).collect();
        site.live.sort_by_key(|c| c.opened_at);
        run.tally.processes = 1;
        site.counted = Some(run.tally);
        site
    }
}

impl Run {
    /// The watch begins: what is there was there before.
    fn begin(&mut self) {
        self.tally = Tally::default();
        for live in self.all.iter_mut().filter(|live| !live.gone) {
            let c = &mut live.connection;
            (c.opened_at, c.established_at, c.state_at) = (None, None, None);
            c.forget_history();
            c.known = Known::Inherited;
            self.tally.inherited += 1;
            self.tally.note_live();
        }
    }

    fn happens(&mut self, what: Happens) {
        match what {
            Happens::Request => {
                self.requests += 1;
                self.plan_request();
                self.serve();
            }
            Happens::Lull => self.plan_request(),
            Happens::Answered(index) => self.answered(index),
            Happens::TimesOut(index, uses) if self.is_idle(index, uses) => {
                self.idle.retain(|&i| i != index);
                self.close(index, ClosedBy::Local);
            }
            Happens::PeerHangsUp(index, uses) if self.is_idle(index, uses) => {
                self.peer_hangs_up(index);
            }
            Happens::Collected(index) if !self.all[index].gone => {
                self.close(index, ClosedBy::Local);
            }
            Happens::TimesOut(..) | Happens::PeerHangsUp(..) | Happens::Collected(_) => {}
            Happens::Snapshot => self.snapshot(),
            Happens::Checkpoint => self.tally.curve.push(Point {
                at: at(self.now),
                opened: self.tally.inherited + self.tally.opened,
                live: self.tally.live(),
            }),
        }
    }

    fn rate(&self) -> f64 {
        let from = NOW.ns() / 1_000_000 - self.world.watch_ms;
        let ms = self.now.saturating_sub(from);
        let real = |n: u64| u32::try_from(n).map_or(0.0, f64::from);
        match self.world.traffic {
            Traffic::Steady(rate) => rate,
            Traffic::Ramp(first, last) => {
                first + (last - first) * real(ms) / real(self.world.watch_ms)
            }
            Traffic::Burst(usual, high, [start, end]) => {
                if self.now >= from && (start..end).contains(&ms) {
                    high
                } else {
                    usual
                }
            }
            Traffic::Waves(mean, period) => {
                let turn = real(self.now % period) / real(period) * std::f64::consts::TAU;
                mean * (1.0 + turn.sin())
            }
            Traffic::Pulses(rate, period) => {
                if self.now % period < 500 {
                    rate
                } else {
                    0.0
                }
            }
            Traffic::Ends(rate, end) => {
                if ms < end {
                    rate
                } else {
                    0.0
                }
            }
        }
    }

    /// The next request: as customers come, each by itself.
    fn plan_request(&mut self) {
        let rate = self.rate();
        if rate < 0.01 {
            let due = self.now + 100;
            self.queue.push(Reverse((due, Happens::Lull)));
            return;
        }
        let seconds = -(1.0 - self.rng.f64()).ln() / rate;
        let wait = Duration::from_secs_f64(seconds.min(60.0));
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.queue
            .push(Reverse((self.now + wait, Happens::Request)));
    }

    /// Serves a request, now or when a connection is free.
    fn serve(&mut self) {
        let Some(pool) = self.world.pool else {
            let index = self.open();
            self.ask(index);
            return;
        };
        while let Some(index) = if pool.last_first {
            self.idle.pop_back()
        } else {
            self.idle.pop_front()
        } {
            if self.all[index].connection.state == State::Established {
                self.ask(index);
                return;
            }
            self.close(index, ClosedBy::Peer);
        }
        if self.taken < pool.cap {
            let index = self.open();
            self.taken += 1;
            self.ask(index);
        } else {
            self.waiting += 1;
        }
    }

    fn open(&mut self) -> usize {
        let mut connection = conn(State::Established, 0).0;
        connection.id.sock = self.all.len() as u64;
        connection.opened_at = Some(at(self.now));
        connection.established_at = Some(at(self.now));
        connection.state_at = Some(at(self.now));
        connection.sample = None;
        self.all.push(Live {
            connection,
            uses: 0,
            sent: self.now,
            received: None,
            unread: 0,
            forgotten: false,
            gone: false,
        });
        self.tally.opened += 1;
        self.tally.note_live();
        self.all.len() - 1
    }

    fn ask(&mut self, index: usize) {
        let [least, most] = self.world.answer_ms;
        let due = self.now + self.rng.u64(least..=most);
        let live = &mut self.all[index];
        live.uses += 1;
        live.sent = self.now;
        self.queue.push(Reverse((due, Happens::Answered(index))));
    }

    fn answered(&mut self, index: usize) {
        let now = self.now;
        let uses = {
            let live = &mut self.all[index];
            live.received = Some(now);
            live.uses
        };
        if let Some(peer) = self.world.peer_idle_ms {
            let due = now + peer;
            self.queue
                .push(Reverse((due, Happens::PeerHangsUp(index, uses))));
        }
        if let Some(leak) = self.world.leak {
            // Evenly spread, so that a test does not hang on luck.
            let wanted = self.requests * leak.percent / 100;
            if self.forgotten < wanted {
                self.forgotten += 1;
                let live = &mut self.all[index];
                live.forgotten = true;
                live.unread = if leak.unread { 700 } else { 0 };
                if let Some(every) = leak.collected_ms {
                    let due = now.next_multiple_of(every);
                    self.queue.push(Reverse((due, Happens::Collected(index))));
                }
                if self.world.pool.is_some() && !leak.borrowed {
                    self.taken -= 1;
                    self.serve_waiting();
                }
                return;
            }
        }
        let Some(pool) = self.world.pool else {
            self.close(index, ClosedBy::Local);
            return;
        };
        if self.waiting > 0 {
            self.waiting -= 1;
            self.ask(index);
        } else if self.idle.len() < pool.max_idle {
            self.idle.push_back(index);
            if let Some(idle) = pool.idle_ms {
                let due = now + idle;
                self.queue
                    .push(Reverse((due, Happens::TimesOut(index, uses))));
            }
        } else {
            self.close(index, ClosedBy::Local);
        }
    }

    fn serve_waiting(&mut self) {
        if self.waiting > 0 {
            self.waiting -= 1;
            self.serve();
        }
    }

    /// Whether it was neither used nor ended since that use.
    fn is_idle(&self, index: usize, uses: u32) -> bool {
        let live = &self.all[index];
        let is_free = live.forgotten || self.idle.contains(&index);
        !live.gone && live.uses == uses && is_free && live.connection.state == State::Established
    }

    fn peer_hangs_up(&mut self, index: usize) {
        let forgotten = self.all[index].forgotten;
        let reads = match (forgotten, self.world.leak, self.world.pool) {
            (true, Some(leak), _) => leak.reads,
            (false, _, Some(pool)) => pool.reads,
            _ => false,
        };
        let connection = &mut self.all[index].connection;
        connection.end.by = Some(ClosedBy::Peer);
        if reads {
            self.idle.retain(|&i| i != index);
            self.close(index, ClosedBy::Peer);
        } else {
            connection.state = State::CloseWait;
            connection.state_at = Some(at(self.now));
            connection.pass_through(at(self.now), State::CloseWait);
        }
    }

    fn close(&mut self, index: usize, by: ClosedBy) {
        let live = &mut self.all[index];
        live.gone = true;
        live.connection.end.by.get_or_insert(by);
        live.connection.end.at = Some(at(self.now));
        self.tally.note_end(&live.connection);
        if !live.forgotten && self.world.pool.is_some() {
            self.taken -= 1;
        }
    }

    fn snapshot(&mut self) {
        let now = self.now;
        for live in self.all.iter_mut().filter(|live| !live.gone) {
            let c = &mut live.connection;
            let fin = u32::from(c.state == State::CloseWait);
            let segments = live.uses;
            let since = |ms: u64| now.saturating_sub(ms);
            c.set_sample(Sample {
                at: at(now),
                inode: 4_242,
                recv_q: live.unread + fin,
                data_sent_ms: Some(since(live.sent)).into(),
                data_received_ms: live.received.map(since).into(),
                ack_received_ms: Some(since(live.received.unwrap_or(live.sent))).into(),
                data_segments_out: segments,
                data_segments_in: segments - u32::from(live.received < Some(live.sent)),
                ..Sample::default()
            });
        }
    }
}
