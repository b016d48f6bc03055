//! Call stacks to names: which code opens connections. I/O.
//!
//! A stack is named soon after it is first heard of, while its process lives; one
//! that exits later keeps its names. `worker.rs` looks at the process and opens its
//! files (`process.rs`); what is in the files is read by a process apart
//! (`helper/`), which `service.rs` asks. Where frame pointers do not show a stack, its
//! copy is unwound first (`unwind.rs`) and dropped then; the chain of calls that it
//! shows has the same number without a copy.

use std::{
    collections::hash_map::Entry,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rustc_hash::{FxHashMap, FxHashSet};
use tracer_common::config::KEPT_STACKS;

use crate::{
    clock::BootTime,
    decode::{
        Owner, StackId,
        chain::{Chain, StackCopy},
    },
    load::Stacks,
    model::frame::CallFrames,
    table::site::CallStack,
};

pub mod helper;
mod maps;
mod process;
pub mod protocol;
mod service;
mod unwind;
mod worker;

pub use service::COMMAND;

/// Stacks of processes that are told apart over a run; those past it have no names.
const MAX_HEARD: usize = 65_536;

/// Stacks that wait to be named.
const MAX_WAITING: usize = 4_096;

/// Copied stacks that wait: for the record that they belong to, and to be unwound.
/// One more is dropped, and the kernel asked for it once more. 4 MB.
const MAX_COPIES: usize = 512;

/// The kernel's map is emptied when it holds so many: see [`KEPT_STACKS`].
const EMPTY_AT: usize = KEPT_STACKS as usize / 4;

/// A hook reads the clock and takes the stack within this many milliseconds, unless
/// its task is made to wait in between. Which stack a place held this close to when
/// it was emptied cannot be told.
const MARGIN_MS: u64 = 20;

/// A stack to name.
struct Job {
    call_stack: CallStack,
    /// Innermost first.
    addresses: Vec<u64>,
    /// The stack itself, where those do not show all of it.
    copy: Option<StackCopy>,
    /// When the process ran there.
    at: BootTime,
}

impl Job {
    /// Where the process was in its code. There is a copy, or an address.
    fn innermost(&self) -> u64 {
        let copied = self.copy.as_ref().map(|copy| copy.registers.ip);
        copied.or(self.addresses.first().copied()).unwrap_or(0)
    }
}

/// What has been named.
#[derive(Default)]
struct Results {
    frames: Mutex<FxHashMap<CallStack, CallFrames>>,
    /// Jobs that are not done yet.
    open: AtomicUsize,
    /// Those of them that have a copy.
    copies: AtomicUsize,
    /// Nanoseconds of processor time that the helpers have used.
    helpers_ns: AtomicU64,
}

/// How long a copy waits for its record: that of a connection that is folded comes when
/// it is a second old, and is read within another.
const KEPT_SECONDS: u8 = 3;

impl Results {
    fn begin(&self, job: &Job) {
        let copies = usize::from(job.copy.is_some());
        self.copies.fetch_add(copies, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    fn end(&self, job: &Job) {
        let copies = usize::from(job.copy.is_some());
        self.copies.fetch_sub(copies, Ordering::Relaxed);
        self.open.fetch_sub(1, Ordering::Release);
    }

    fn put(&self, job: &Job, frames: CallFrames, helpers: Duration) {
        let ns = u64::try_from(helpers.as_nanos()).unwrap_or(u64::MAX);
        self.helpers_ns.store(ns, Ordering::Relaxed);
        let mut all = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(job.call_stack, frames);
        drop(all);
        self.end(job);
    }
}

/// The call stacks of a trace.
pub struct Symbols {
    stacks: Stacks,
    /// How often the kernel's map has been emptied, and when the last time.
    emptied: (u32, BootTime),
    /// What the map holds.
    kept: FxHashSet<StackId>,
    heard: FxHashSet<CallStack>,
    /// The number of each chain.
    chains: FxHashMap<Chain, u32>,
    /// Copies whose chain's record is still to come, and for how many seconds yet.
    copies: FxHashMap<Chain, (StackCopy, u8)>,
    jobs: SyncSender<Job>,
    results: Arc<Results>,
    /// Stacks that were not named, for want of room or time.
    unnamed: u64,
}

impl Symbols {
    /// Starts to name what is in this map.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn new(stacks: Stacks) -> Result<Self> {
        let (jobs, waiting) = sync_channel(MAX_WAITING);
        let results = Arc::new(Results::default());
        let done = Arc::clone(&results);
        thread::Builder::new()
            .name("symbols".to_owned())
            .spawn(move || worker::Worker::default().run(&waiting, &done))
            .context("cannot start a thread")?;
        Ok(Self {
            stacks,
            emptied: (0, BootTime::default()),
            kept: FxHashSet::default(),
            heard: FxHashSet::default(),
            chains: FxHashMap::default(),
            copies: FxHashMap::default(),
            jobs,
            results,
            unnamed: 0,
        })
    }

    /// Keeps the copy of a stack until the record comes that it was made for.
    pub fn hear_copy(&mut self, copy: StackCopy) {
        let waiting = self.copies.len() + self.results.copies.load(Ordering::Relaxed);
        if waiting < MAX_COPIES {
            self.copies.insert(copy.chain, (copy, KEPT_SECONDS));
        } else {
            self.stacks.copy_again(copy.chain);
        }
    }

    /// Hears of who opens a connection and when, and of the chain that its record names:
    /// its stack, if it has one, is told from those that had the same place before, and
    /// named if it is new.
    pub fn hear(&mut self, at: BootTime, owner: &mut Owner, chain: Option<Chain>) {
        let kept = owner.stack.and_then(|place| self.kept_since(place, at));
        let chain_id = chain.and_then(|chain| self.number(chain));
        owner.stack = chain_id.or(kept.map(|(stack, _)| stack));
        let Some(stack) = owner.stack else {
            return;
        };
        let call_stack = CallStack {
            pid: owner.pid,
            stack,
        };
        let copy = chain.and_then(|chain| self.copies.remove(&chain));
        let copy = copy.map(|(copy, _)| copy);
        let is_new = !self.heard.contains(&call_stack);
        if !is_new && copy.is_none() {
            return;
        }
        if is_new && self.heard.len() >= MAX_HEARD {
            self.unnamed += 1;
            return;
        }
        self.heard.insert(call_stack);
        let addresses = match kept {
            Some((stack, true)) => {
                self.kept.insert(stack);
                self.stacks.get(stack)
            }
            // From before the map was emptied, and heard of only now.
            _ => Vec::new(),
        };
        if addresses.is_empty() && copy.is_none() {
            self.unnamed += 1;
            return;
        }
        let job = Job {
            call_stack,
            addresses,
            copy,
            at,
        };
        self.results.begin(&job);
        if let Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) =
            self.jobs.try_send(job)
        {
            self.results.end(&job);
            self.unnamed += u64::from(is_new);
            if let Some(copy) = job.copy {
                self.stacks.copy_again(copy.chain);
            }
        }
    }

    /// The stack that was in this place at that time, and whether it still is; `None`
    /// where that cannot be told.
    fn kept_since(&self, place: StackId, at: BootTime) -> Option<(StackId, bool)> {
        let (times, emptied) = self.emptied;
        let then = match times {
            0 => 0,
            _ if at.ms_since(emptied) > MARGIN_MS => times,
            _ if emptied.ms_since(at) > MARGIN_MS => times - 1,
            _ => return None,
        };
        Some((place.after(then), then == times))
    }

    /// A chain's number; `None` where there are too many.
    fn number(&mut self, chain: Chain) -> Option<StackId> {
        let next = self.chains.len();
        let number = match self.chains.entry(chain) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) if next < MAX_HEARD => *new.insert(u32::try_from(next).ok()?),
            Entry::Vacant(_) => return None,
        };
        StackId::of_chain(number)
    }

    /// Once a second. Empties the kernel's map where it fills up: every process that starts has its
    /// code elsewhere, and with it other stacks. Drops copies that nobody asked for.
    pub fn make_room(&mut self, now: BootTime) {
        if self.kept.len() >= EMPTY_AT {
            self.stacks.remove(self.kept.drain());
            self.emptied = (self.emptied.0 + 1, now);
        }
        // Their records were lost, or are about to come: copied once more, then.
        self.copies.retain(|&chain, (_, seconds)| {
            *seconds -= 1;
            if *seconds == 0 {
                self.stacks.copy_again(chain);
            }
            *seconds > 0
        });
    }

    /// Waits for what is still to be named, at most so long.
    pub fn finish(&self, patience: Duration) {
        let start = Instant::now();
        while self.results.open.load(Ordering::Acquire) > 0 && start.elapsed() < patience {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// What has been named since this was asked last.
    #[must_use]
    pub fn take_named(&self) -> Vec<(CallStack, CallFrames)> {
        let all = &self.results.frames;
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        let mut named: Vec<_> = all.drain().collect();
        named.sort_unstable_by_key(|&(stack, _)| stack);
        named
    }

    /// Processor time of the processes that read symbols, but for what they are at now.
    #[must_use]
    pub fn helpers_time(&self) -> Duration {
        Duration::from_nanos(self.results.helpers_ns.load(Ordering::Relaxed))
    }

    /// Stacks that were not named, for want of room or time.
    #[must_use]
    pub fn unnamed(&self) -> u64 {
        let open = self.results.open.load(Ordering::Acquire);
        self.unnamed + open as u64
    }
}
