//! Joins the stations: ring -> decode -> table, and snapshots beside it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use rustc_hash::FxHashSet;
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until},
};
use tracer_common::config::{Filter, ListenPort};

use crate::{
    clock::{BootTime, WallClock},
    decode::{Event, chain, decode},
    load::{self, Counts, Tracer, privileges, tracefs},
    model::report::Loss,
    plan::Hook,
    reconcile::{Holder, Snapshot, Socket, Terms, reconcile},
    selection::Selection,
    snapshot::{Gatherer, clocks},
    source::ring::RingSource,
    symbols::Symbols,
    table::{Change, Hears, Table, connection::Connection},
    tcp::State,
};

mod blind;

/// How often the kernel's loss counters are read.
const LOSS_CHECK: Duration = Duration::from_secs(1);

/// How long to rest between two snapshots.
struct Rest {
    /// At least this long,
    least: Duration,
    /// and this many times as long as the last one took: in processor time, since
    /// a host that is busy with other things makes it wait, not work.
    times: u32,
}

impl Rest {
    fn after(&self, work: Duration) -> Duration {
        self.least.max(work * self.times)
    }
}

/// While nothing is lost: often enough for idle times, queues and holders that
/// are seconds old, and never more than a twentieth of the time, so that a host
/// with a million sockets is not kept busy.
const STEADY: Rest = Rest {
    least: Duration::from_secs(5),
    times: 20,
};

/// After a loss: soon, but a host that loses records steadily is not to be kept
/// busy by the mending as well.
const MEND: Rest = Rest {
    least: Duration::from_secs(2),
    times: 10,
};

/// How long the end of a run may wait for hooks that were still running on other
/// CPUs when they were detached: many times what one takes.
const LAST_HOOKS: Duration = Duration::from_secs(5);

/// A record may come after one that is younger by less than this: its hook was
/// made to wait between reading the clock and writing.
const DISORDER: Duration = Duration::from_millis(20);

/// Who wants to hear of what happens.
pub trait Observer {
    /// A connection changed. An error ends the watch.
    ///
    /// # Errors
    /// Where it cannot be passed on.
    fn change(&mut self, change: Change, at: BootTime, connection: &Connection) -> Result<()>;

    /// A process is about to end, and to let go of all that it still holds.
    fn exit(&mut self, _at: BootTime, _pid: u32) {}

    /// No more changes wait at the moment.
    ///
    /// # Errors
    /// As [`Observer::change`].
    fn settle(&mut self) -> Result<()> {
        Ok(())
    }

    /// Once a second: how things stand.
    ///
    /// # Errors
    /// As [`Observer::change`].
    fn tick(&mut self, _at: BootTime, _table: &Table, _loss: Loss) -> Result<()> {
        Ok(())
    }
}

/// Hears nothing.
impl Observer for () {
    fn change(&mut self, _: Change, _: BootTime, _: &Connection) -> Result<()> {
        Ok(())
    }
}

/// A running trace.
pub struct Collector {
    tracer: Tracer,
    source: RingSource,
    gatherer: Arc<Mutex<Gatherer>>,
    selection: Selection,
    /// The connections.
    pub table: Table,
    /// Their call stacks; `None` where none are taken.
    pub symbols: Option<Symbols>,
    /// Boot time to wall time.
    pub clock: WallClock,
    /// When the trace began.
    pub from: BootTime,
    counts: Counts,
    /// Processes whose fds the last snapshot could not read.
    unreadable: usize,
    /// Namespaces that were there at the start and may not be entered.
    unreachable: u32,
    /// Namespaces of which the last snapshot had no times.
    timeless: usize,
    /// Sockets and ports that the process asked for had before, and that the kernel
    /// side has no room for.
    left_out: u64,
    /// Losses up to here are mended by a snapshot that began later.
    mended: u64,
    /// When the youngest event so far happened.
    heard: BootTime,
    /// When the last snapshot was in, and how much work it was.
    rested: (Instant, Duration),
}

/// Everything that needs privileges, done; nothing running yet.
pub struct Attached {
    tracer: Tracer,
    takes_stacks: bool,
    gatherer: Gatherer,
}

impl Attached {
    /// Loads, attaches, enters the network namespaces, and lets go of the
    /// privileges that this took. Must be called before other threads start.
    ///
    /// # Errors
    /// One line that names what is missing and what to do.
    pub fn new(options: &load::Options) -> Result<Self> {
        let _ = tracefs::ensure();
        let tracer = Tracer::attach(options)?;
        let gatherer = Gatherer::open()?;
        privileges::drop_unneeded(|| tracer.is_readable())?;
        Ok(Self {
            tracer,
            takes_stacks: options.stacks,
            gatherer,
        })
    }
}

impl Collector {
    /// Starts to read. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// Where the ring cannot be polled.
    pub fn new(mut attached: Attached, selection: Selection) -> Result<Self> {
        let ring = attached.tracer.ring()?;
        let symbols = attached
            .takes_stacks
            .then(|| attached.tracer.stacks().and_then(Symbols::new))
            .transpose()?;
        let chosen = &attached.tracer.chosen;
        let hears = Hears {
            close: chosen.serves(Hook::Close),
            resets: chosen.serves(Hook::Reset),
        };
        Ok(Self {
            source: RingSource::new(ring).context("cannot poll the ring buffer")?,
            table: Table::new(
                !attached.tracer.chosen.has_cookie(),
                selection.for_kernel() != Filter::default(),
            )
            .hearing(hears),
            symbols,
            tracer: attached.tracer,
            gatherer: Arc::new(Mutex::new(attached.gatherer)),
            selection,
            clock: clocks::wall_clock(),
            from: clocks::boot_time(),
            counts: Counts::default(),
            unreadable: 0,
            unreachable: 0,
            timeless: 0,
            left_out: 0,
            mended: 0,
            heard: BootTime::default(),
            rested: (Instant::now(), Duration::ZERO),
        })
    }

    /// Name of the plan in use.
    #[must_use]
    pub fn plan(&self) -> &'static str {
        self.tracer.chosen.plan.name.name()
    }

    /// What was lost so far.
    #[must_use]
    pub fn loss(&self) -> Loss {
        let undecodable = self.table.counters().undecodable;
        Loss {
            events_generated: self.counts.generated(),
            events_delivered: self.source.taken() - undecodable,
            events_lost: self.counts.lost() + undecodable,
            ring_full: self.counts.ring_full,
            hook_missed: self.counts.missed,
            undecodable,
            unwritten: 0,
            repaired: self.table.counters().repaired,
        }
    }

    /// Follows a process and all that it will start: what a selection of a command's
    /// processes speaks of.
    ///
    /// # Errors
    /// Where the kernel side does not hear who starts whom.
    pub fn follow_tree(&mut self, pid: u32) -> Result<()> {
        anyhow::ensure!(
            self.tracer.chosen.serves(Hook::Fork),
            "the kernel does not tell who starts whom: `tcpleak doctor` says what is missing"
        );
        self.tracer.follow_tree(pid)
    }

    /// The processes followed now.
    ///
    /// # Errors
    /// Where the kernel refuses to read the map.
    pub fn tree(&self) -> Result<FxHashSet<u32>> {
        self.tracer.tree()
    }

    /// Follows events until `end` is done, with a snapshot first, steadily, and
    /// soon after a loss. `end` begins after the first: once what was there is known
    /// and what comes is seen. `checkpoint` is the distance of points on the sites' curves.
    ///
    /// # Errors
    /// Where the kernel's answers cannot be read, or the observer fails.
    pub async fn watch(
        &mut self,
        end: impl Future<Output = ()>,
        checkpoint: Duration,
        observer: &mut impl Observer,
    ) -> Result<()> {
        let first = self.snapshot(observer).await?;
        self.follow_process(&first)?;
        self.table.checkpoint(clocks::boot_time());

        let mut checkpoints = steady(checkpoint);
        let mut checks = steady(LOSS_CHECK);
        tokio::pin!(end);
        loop {
            let due = self.due();
            tokio::select! {
                () = &mut end => return Ok(()),
                _ = checkpoints.tick() => self.table.checkpoint(clocks::boot_time()),
                _ = checks.tick() => {
                    self.count();
                    self.tracer.pass_on_warnings();
                    self.settle(clocks::boot_time(), observer)?;
                    if let Some(symbols) = &mut self.symbols {
                        symbols.make_room(clocks::boot_time());
                    }
                    observer.tick(clocks::boot_time(), &self.table, self.loss())?;
                }
                () = sleep_until(due) => {
                    self.snapshot(observer).await?;
                }
                ready = self.source.wait() => {
                    ready.context("cannot poll the ring buffer")?;
                    self.drain(observer)?;
                }
            }
        }
    }

    /// When the next snapshot is due.
    fn due(&self) -> Instant {
        let has_lost = self.counts.lost() > self.mended;
        let rest = if has_lost { MEND } else { STEADY };
        let (since, work) = self.rested;
        since + rest.after(work)
    }

    /// Takes a snapshot while events go on being read, and works it in.
    ///
    /// # Errors
    /// As [`Collector::watch`].
    pub async fn snapshot(&mut self, observer: &mut impl Observer) -> Result<Snapshot> {
        self.count();
        let mended = std::mem::replace(&mut self.mended, self.counts.lost());
        self.table.begin_snapshot();
        let gatherer = Arc::clone(&self.gatherer);
        let mut gathering: JoinHandle<_> = spawn_blocking(move || {
            let mut gatherer = gatherer.lock().unwrap_or_else(PoisonError::into_inner);
            gatherer.take()
        });
        let snapshot = loop {
            tokio::select! {
                gathered = &mut gathering => break gathered.context("the snapshot was cut short")??,
                ready = self.source.wait() => {
                    ready.context("cannot poll the ring buffer")?;
                    self.drain(observer)?;
                }
            }
        };
        // What happened before the snapshot ended is in the ring by now. Not until
        // the ring is empty: where more comes than can be told, it never is.
        while self.heard < snapshot.ended + DISORDER && self.drain(observer)? {}
        self.count();
        self.unreadable = snapshot.unreadable.len();
        self.unreachable = snapshot.unreachable;
        let timeless = snapshot.nameless.iter().map(|socket| socket.ends.netns);
        self.timeless = timeless.collect::<FxHashSet<_>>().len();
        let selection = &self.selection;
        // Asks the kernel, which most traces have no need of.
        let tree = if self.selection.tree {
            self.tracer.tree()?
        } else {
            FxHashSet::default()
        };
        let prefers = |holder: &Holder| {
            tree.contains(&holder.pid) || selection.prefers(holder.pid, holder.comm.bytes())
        };
        let chooses_processes = selection.pid.is_some() || selection.tree;
        let wants = |socket: &Socket| {
            selection.wants_socket(socket.ends, socket.state == State::Listen)
                && (!chooses_processes || snapshot.holders_of(socket).iter().any(prefers))
        };
        let terms = Terms {
            wants: &wants,
            prefers: &prefers,
            has_lost: self.counts.lost() > mended,
        };
        let mut outcome = Ok(());
        let used = clocks::thread_time();
        reconcile(
            &mut self.table,
            &snapshot,
            terms,
            |change, at, connection| {
                if outcome.is_ok() {
                    outcome = observer.change(change, at, connection);
                }
            },
        );
        if self.counts.lost() == self.mended {
            self.table.note_mended();
        }
        let work = snapshot.cost + clocks::thread_time().saturating_sub(used);
        outcome?;
        observer.settle()?;
        self.rested = (Instant::now(), work);
        Ok(snapshot)
    }

    /// Detaches, reads what still waits, and then the counters, so that every
    /// record that a hook made is either delivered or counted as lost.
    ///
    /// # Errors
    /// As [`Collector::watch`].
    pub async fn finish(&mut self, observer: &mut impl Observer) -> Result<()> {
        self.tracer.detach()?;
        let patience = Instant::now() + LAST_HOOKS;
        loop {
            while self.drain(observer)? {}
            self.count();
            if self.source.taken() == self.counts.submitted || Instant::now() >= patience {
                return self.settle(BootTime::END, observer);
            }
            let waited = self.source.wait().await;
            waited.context("cannot poll the ring buffer")?;
        }
    }

    /// Tells what was held back for long enough by `now`.
    fn settle(&mut self, now: BootTime, observer: &mut impl Observer) -> Result<()> {
        let mut outcome = Ok(());
        self.table.settle(now, |change, at, connection| {
            if outcome.is_ok() {
                outcome = observer.change(change, at, connection);
            }
        });
        outcome
    }

    /// Hands a batch of waiting records to the table. Returns whether more wait.
    fn drain(&mut self, observer: &mut impl Observer) -> Result<bool> {
        let table = &mut self.table;
        let selection = &self.selection;
        let heard = &mut self.heard;
        let symbols = &mut self.symbols;
        let mut outcome = Ok(());
        let more = self.source.drain(|bytes| {
            if let Some(copy) = chain::copy(bytes) {
                if let Some(symbols) = symbols {
                    symbols.hear_copy(copy);
                }
                return;
            }
            let Ok(mut event) = decode(bytes) else {
                table.count_undecodable();
                return;
            };
            *heard = event.at().max(*heard);
            if let Some(symbols) = symbols {
                symbols.hear(&mut event, chain::of(bytes));
            }
            if let Event::Exit { at, pid } = event {
                observer.exit(at, pid);
                table.apply(&event, |_, _, _| ());
            } else if selection.admits(&event, |sock| table.get(sock).is_some()) {
                table.apply(&event, |change, at, connection| {
                    if outcome.is_ok() {
                        outcome = observer.change(change, at, connection);
                    }
                });
            }
        });
        outcome?;
        if !more {
            observer.settle()?;
        }
        Ok(more)
    }

    /// Reads the kernel's counters.
    fn count(&mut self) {
        let lost = self.counts.lost();
        self.counts = self.tracer.counts();
        if self.counts.lost() > lost {
            self.table.note_loss();
        }
    }

    /// Under a pid filter, tells the kernel side what the process had before.
    fn follow_process(&mut self, snapshot: &Snapshot) -> Result<()> {
        let Some(pid) = self.selection.pid else {
            return Ok(());
        };
        let own = |socket: &&Socket| {
            snapshot
                .holders_of(socket)
                .iter()
                .any(|holder| holder.pid == pid)
        };
        let sockets = snapshot
            .sockets
            .iter()
            .filter(own)
            .map(|socket| socket.cookie);
        let ports = snapshot
            .sockets
            .iter()
            .filter(own)
            .filter(|socket| socket.state == State::Listen)
            .map(|socket| ListenPort {
                netns: socket.ends.netns,
                port: socket.ends.local.port().into(),
            });
        self.left_out = self.tracer.follow(sockets, ports)?;
        Ok(())
    }
}

/// A timer whose first tick is one period from now.
fn steady(period: Duration) -> Interval {
    let mut timer = interval(period);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    timer.reset_at(Instant::now() + period);
    timer
}
