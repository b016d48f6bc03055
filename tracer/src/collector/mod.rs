//! A live trace: takes records from the ring, snapshots beside them, and names, and
//! tells its course of them in order.

use std::{
    num::NonZero,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use rustc_hash::FxHashSet;
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Instant, Interval, MissedTickBehavior, interval, sleep, sleep_until},
};
use tracer_common::config::{FOLD_NEVER, FOLD_NS, ListenPort};

use crate::{
    clock::BootTime,
    course::{
        Course, Observer,
        entry::{Entry, Standing},
        shed::Shed,
    },
    enrich,
    load::{self, Tracer, privileges, tracefs},
    model::untrusted::Untrusted,
    plan::Hook,
    reconcile::{Snapshot, Socket},
    selection::Selection,
    snapshot::{Gatherer, clocks},
    source::ring::RingSource,
    store::{
        disk::Disk,
        recorder::{Begun, Recorder},
    },
    symbols::Symbols,
    tcp::State,
};

mod folds;
mod governor;
mod hearing;
mod rest;
mod setup;

use folds::FoldReader;
use governor::{Cost, Governor};
use hearing::Hearing;
use rest::Schedule;
use setup::setup;

/// How often the kernel's loss counters are read.
const LOSS_CHECK: Duration = Duration::from_secs(1);

/// How long the end of a run may wait for hooks that were still running on other
/// CPUs when they were detached: many times what one takes.
const LAST_HOOKS: Duration = Duration::from_secs(5);

/// A record may come after one that is younger by less than this: its hook was
/// made to wait between reading the clock and writing.
const DISORDER: Duration = Duration::from_millis(20);

/// How long a connection is folded, in milliseconds.
const FOLD_MS: u64 = FOLD_NS / 1_000_000;

/// What happened to a folded connection is in the map within so many milliseconds. Where a
/// task was made to wait in its hook, the next look tells it.
const WRITTEN_MS: u64 = 1;

/// A running trace.
pub struct Collector {
    tracer: Tracer,
    source: RingSource,
    gatherer: Arc<Mutex<Gatherer>>,
    /// What it has learned.
    pub course: Course,
    /// Names of call stacks; `None` where none are taken.
    symbols: Option<Symbols>,
    /// The connections that the kernel side folds; `None` where it folds none.
    folds: Option<FoldReader>,
    /// Sockets and ports that the process asked for had before, and that the kernel
    /// side has no room for.
    left_out: u64,
    schedule: Schedule,
    governor: Option<Governor>,
    /// What is learned is kept there, too.
    recorder: Option<Recorder>,
}

/// Everything that needs privileges, done; nothing running yet.
pub struct Attached {
    tracer: Tracer,
    takes_stacks: bool,
    folds: bool,
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
            folds: options.fold_above != FOLD_NEVER,
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
        let folds = attached
            .folds
            .then(|| attached.tracer.folds())
            .transpose()?;
        let setup = setup(&attached.tracer, &selection);
        Ok(Self {
            folds: folds.map(FoldReader::new),
            source: RingSource::new(ring).context("cannot poll the ring buffer")?,
            symbols,
            tracer: attached.tracer,
            gatherer: Arc::new(Mutex::new(attached.gatherer)),
            course: Course::new(setup, selection, Standing::default()),
            left_out: 0,
            schedule: Schedule::new(Instant::now()),
            governor: None,
            recorder: None,
        })
    }

    /// Keeps what is learned from now on in a recording as well.
    pub fn record(&mut self, disk: Disk) {
        let command = std::env::args_os();
        let command = command.map(|word| Untrusted::from_bytes(word.as_encoded_bytes()));
        self.recorder = Some(Recorder::new(disk, &self.course, command.collect()));
    }

    /// The end of the recording: waits until it is written. Nothing where there is none.
    ///
    /// # Errors
    /// Where something is not written.
    pub fn close_recording(&mut self) -> Result<()> {
        self.recorder.take().map_or(Ok(()), Recorder::close)
    }

    /// Leaves out detail, `most` at most, while tracing takes more than so many percent of
    /// the time of all processors.
    pub fn govern(&mut self, percent: f64, most: Shed) {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        self.governor = Governor::new(percent, processors, most);
    }

    /// Tells the course.
    fn learn(&mut self, entry: Entry, observer: &mut impl Observer) -> Result<()> {
        if let Some(recorder) = &mut self.recorder
            && recorder.entry(&entry, &self.course) == Begun::File
        {
            // Whoever begins to read there knows nothing before the next.
            self.schedule.hurry(Instant::now());
        }
        self.course.learn(&entry, observer)
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
        self.snapshot(observer).await?;
        self.learn(Entry::Checkpoint(clocks::boot_time()), observer)?;

        let mut checkpoints = steady(checkpoint);
        let mut checks = steady(LOSS_CHECK);
        tokio::pin!(end);
        loop {
            let due = self.schedule.due(self.course.is_to_be_mended());
            tokio::select! {
                () = &mut end => return Ok(()),
                _ = checkpoints.tick() => {
                    self.learn(Entry::Checkpoint(clocks::boot_time()), observer)?;
                }
                _ = checks.tick() => {
                    self.count(observer)?;
                    self.tracer.pass_on_warnings();
                    self.learn_names(observer)?;
                    if let Some(symbols) = &mut self.symbols {
                        symbols.make_room(clocks::boot_time());
                    }
                    let now = clocks::boot_time();
                    self.unfold(now.minus_ms(FOLD_MS), now.minus_ms(WRITTEN_MS), observer)?;
                    self.learn(Entry::Tick(now), observer)?;
                    self.keep_cheap(now, observer)?;
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

    /// Takes a snapshot while events go on being read, and works it in.
    ///
    /// # Errors
    /// As [`Collector::watch`].
    pub async fn snapshot(&mut self, observer: &mut impl Observer) -> Result<()> {
        let gatherer = Arc::clone(&self.gatherer);
        if self.course.is_fresh() && self.course.selection.pid.is_some() {
            // What happens to a socket that is not followed is not heard: with only one
            // snapshot, that which ends while it is taken would stay.
            let gatherer = Arc::clone(&gatherer);
            let take = move || {
                gatherer
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take()
            };
            let before = spawn_blocking(take).await;
            self.follow_process(&before.context("the snapshot was cut short")??)?;
        }
        self.count(observer)?;
        self.learn(Entry::Begin, observer)?;
        let unknown = self.course.owners_unknown();
        let mut gathering: JoinHandle<Result<_>> = spawn_blocking(move || {
            // While they are there to be looked up; first, as a snapshot grows old.
            let owners = unknown.into_iter().map(|pid| (pid, enrich::owner(pid)));
            let owners: Vec<_> = owners.collect();
            let mut gatherer = gatherer.lock().unwrap_or_else(PoisonError::into_inner);
            Ok((gatherer.take()?, owners))
        });
        let (snapshot, owners) = loop {
            tokio::select! {
                gathered = &mut gathering => break gathered.context("the snapshot was cut short")??,
                ready = self.source.wait() => {
                    ready.context("cannot poll the ring buffer")?;
                    self.drain(observer)?;
                }
            }
        };
        if self.folds.is_some() {
            sleep(Duration::from_millis(WRITTEN_MS)).await;
        }
        self.unfold(BootTime::END, snapshot.ended, observer)?;
        // What happened before the snapshot ended is in the ring by now, and what ended
        // while the folded ones were read. Not until the ring is empty: where more comes
        // than can be told, it never is.
        let read = clocks::boot_time();
        while self.course.heard() < read + DISORDER && self.drain(observer)? {}
        self.count(observer)?;
        if self.course.is_fresh() {
            self.follow_process(&snapshot)?;
        }
        // Asks the kernel, which most traces have no need of.
        let tree = if self.course.selection.tree {
            self.tracer.tree()?
        } else {
            FxHashSet::default()
        };
        for (pid, owner) in owners {
            self.learn(Entry::Owner(pid, owner), observer)?;
        }
        let gathered = snapshot.cost;
        let used = clocks::thread_time();
        self.learn(Entry::Snapshot(Box::new(snapshot), tree), observer)?;
        load::give_back();
        let work = gathered + clocks::thread_time().saturating_sub(used);
        let is_to_be_mended = self.course.is_to_be_mended();
        self.schedule.note(Instant::now(), work, is_to_be_mended);
        Ok(())
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
            self.count(observer)?;
            let submitted = self.course.standing().counts.submitted;
            if self.source.taken() == submitted || Instant::now() >= patience {
                self.unfold(BootTime::END, BootTime::END, observer)?;
                return self.learn(Entry::Settle, observer);
            }
            let waited = self.source.wait().await;
            waited.context("cannot poll the ring buffer")?;
        }
    }

    /// After [`Collector::finish`]: waits for the last names of call stacks, at most so
    /// long, and looks up who has connections.
    ///
    /// # Errors
    /// As [`Collector::watch`].
    pub fn conclude(&mut self, patience: Duration, observer: &mut impl Observer) -> Result<()> {
        self.learn(Entry::Checkpoint(self.course.now()), observer)?;
        if let Some(symbols) = &self.symbols {
            symbols.finish(patience);
        }
        self.learn_names(observer)?;
        // Not counted anew: a hook that was late writes what nobody reads.
        let standing = Standing {
            unnamed: self.unnamed(),
            ..*self.course.standing()
        };
        self.learn(Entry::Standing(standing), observer)?;
        for pid in self.course.owners_to_look_up() {
            self.learn(Entry::Owner(pid, enrich::owner(pid)), observer)?;
        }
        self.learn(Entry::End, observer)
    }

    fn learn_names(&mut self, observer: &mut impl Observer) -> Result<()> {
        let named = self.symbols.as_ref().map(Symbols::take_named);
        for (stack, frames) in named.unwrap_or_default() {
            self.learn(Entry::Name(stack, frames), observer)?;
        }
        Ok(())
    }

    /// Tells the course of connections that are folded still, of those born before `born`
    /// what happened up to `until`.
    fn unfold(
        &mut self,
        born: BootTime,
        until: BootTime,
        observer: &mut impl Observer,
    ) -> Result<()> {
        if self.folds.is_none() {
            return Ok(());
        }
        // What came before.
        let now = clocks::boot_time();
        while self.course.heard() < now && self.drain(observer)? {}
        let (_, folds, mut hearing) = self.hearing(observer);
        if let Some(folds) = folds {
            folds.look((born, until), &mut hearing)?;
        }
        hearing.outcome
    }

    /// Hands a batch of waiting records to the course. Returns whether more wait.
    fn drain(&mut self, observer: &mut impl Observer) -> Result<bool> {
        let (source, mut folds, mut hearing) = self.hearing(observer);
        let more = source.drain(|bytes| match &mut folds {
            Some(folds) => folds.record(bytes, &mut hearing),
            None => hearing.record(bytes),
        });
        hearing.outcome?;
        observer.settle()?;
        Ok(more)
    }

    /// Who says something, and who hears it.
    fn hearing<'a, O>(
        &'a mut self,
        observer: &'a mut O,
    ) -> (
        &'a mut RingSource,
        Option<&'a mut FoldReader>,
        Hearing<'a, O>,
    ) {
        let hearing = Hearing {
            course: &mut self.course,
            symbols: self.symbols.as_mut(),
            recorder: self.recorder.as_mut(),
            observer,
            outcome: Ok(()),
        };
        (&mut self.source, self.folds.as_mut(), hearing)
    }

    /// Leaves out more or less, by what it costs.
    fn keep_cheap(&mut self, now: BootTime, observer: &mut impl Observer) -> Result<()> {
        let Some(governor) = &mut self.governor else {
            return Ok(());
        };
        let helpers = self.symbols.as_ref().map(Symbols::helpers_time);
        let judged = governor.judge(Cost {
            at: now,
            kernel: self.tracer.cost(),
            user: clocks::process_time() + helpers.unwrap_or_default(),
            ring_full: self.course.standing().counts.ring_full,
        });
        let Some(shed) = judged else {
            return Ok(());
        };
        self.tracer.shed(shed);
        self.learn(Entry::Shed(clocks::boot_time(), shed), observer)
    }

    /// Reads the kernel's counters.
    fn count(&mut self, observer: &mut impl Observer) -> Result<()> {
        let standing = Standing {
            counts: self.tracer.counts(),
            taken: self.source.taken(),
            told: self.course.told(),
            unnamed: self.unnamed(),
            left_out: self.left_out,
        };
        self.learn(Entry::Standing(standing), observer)
    }

    fn unnamed(&self) -> u64 {
        self.symbols.as_ref().map_or(0, Symbols::unnamed)
    }

    /// Under a pid filter, tells the kernel side what the process had before.
    fn follow_process(&mut self, snapshot: &Snapshot) -> Result<()> {
        let Some(pid) = self.course.selection.pid else {
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
