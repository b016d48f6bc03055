//! Call stacks to names: which code opens connections. I/O.
//!
//! A stack is named soon after it is first heard of, while its process lives; one
//! that exits later keeps its names. `worker.rs` looks at the process and opens its
//! files (`process.rs`); what is in the files is read by a process apart
//! (`helper/`), which `service.rs` asks.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
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
    decode::{Event, StackId},
    load::Stacks,
    model::frame::Frame,
    table::site::CallStack,
};

pub mod helper;
mod maps;
mod process;
pub mod protocol;
mod service;
mod worker;

pub use service::COMMAND;

/// Stacks of processes that are told apart over a run; those past it have no names.
const MAX_HEARD: usize = 65_536;

/// Stacks that wait to be named.
const MAX_WAITING: usize = 4_096;

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
    /// When the process ran there.
    at: BootTime,
}

/// What has been named.
#[derive(Default)]
struct Results {
    frames: Mutex<FxHashMap<CallStack, Arc<[Frame]>>>,
    /// Jobs that are not done yet.
    open: AtomicUsize,
}

impl Results {
    fn put(&self, call_stack: CallStack, frames: Vec<Frame>) {
        let mut all = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(call_stack, frames.into());
        drop(all);
        self.open.fetch_sub(1, Ordering::Release);
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
            jobs,
            results,
            unnamed: 0,
        })
    }

    /// Hears of an event: its stack, if it has one, is told from those that had the
    /// same place before, and named if it is new.
    pub fn hear(&mut self, event: &mut Event) {
        let at = event.at();
        let Some(owner) = event.opener_mut() else {
            return;
        };
        let Some(place) = owner.stack else {
            return;
        };
        let (times, emptied) = self.emptied;
        let times = match times {
            0 => 0,
            _ if at.ms_since(emptied) > MARGIN_MS => times,
            _ if emptied.ms_since(at) > MARGIN_MS => times - 1,
            _ => {
                owner.stack = None;
                return;
            }
        };
        let stack = place.after(times);
        owner.stack = Some(stack);
        let call_stack = CallStack {
            pid: owner.pid,
            stack,
        };
        if self.heard.contains(&call_stack) {
            return;
        }
        if self.heard.len() >= MAX_HEARD {
            self.unnamed += 1;
            return;
        }
        self.heard.insert(call_stack);
        if times != self.emptied.0 {
            // From before the map was emptied, and heard of only now.
            self.unnamed += 1;
            return;
        }
        self.kept.insert(stack);
        let addresses = self.stacks.get(stack);
        let job = Job {
            call_stack,
            addresses,
            at,
        };
        self.results.open.fetch_add(1, Ordering::Relaxed);
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.jobs.try_send(job)
        {
            self.results.open.fetch_sub(1, Ordering::Relaxed);
            self.unnamed += 1;
        }
    }

    /// Empties the kernel's map where it fills up: every process that starts has its
    /// code elsewhere, and with it other stacks.
    pub fn make_room(&mut self, now: BootTime) {
        if self.kept.len() >= EMPTY_AT {
            self.stacks.remove(self.kept.drain());
            self.emptied = (self.emptied.0 + 1, now);
        }
    }

    /// Waits for what is still to be named, at most so long.
    pub fn finish(&self, patience: Duration) {
        let start = Instant::now();
        while self.results.open.load(Ordering::Acquire) > 0 && start.elapsed() < patience {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The frames of a call stack, innermost first; none where it has not been named.
    #[must_use]
    pub fn frames(&self, call_stack: CallStack) -> Arc<[Frame]> {
        let all = &self.results.frames;
        let all = all.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&call_stack).cloned().unwrap_or_default()
    }

    /// Stacks that were not named, for want of room or time.
    #[must_use]
    pub fn unnamed(&self) -> u64 {
        let open = self.results.open.load(Ordering::Acquire);
        self.unnamed + open as u64
    }
}
