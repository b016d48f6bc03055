//! The kernel side's counters, read in place.
//!
//! Not by bpf(2): for as long as a task is inside a call on a map, the kernel runs no
//! kprobe's and no perf tracepoint's program on that task's CPU
//! (`bpf_disable_instrumentation`, include/linux/bpf.h), and the task may be made to
//! wait there while others run.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
    slice,
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{maps::Map, util::nr_cpus};
use memmap2::{MmapOptions, MmapRaw};
use tracer_common::{drop::COUNTERS_PER_CPU, pair::Pair};

/// A row of counters for each CPU that there may be: slots of `tracer_common::drop`.
pub(super) struct Counters {
    memory: MmapRaw,
    rows: usize,
}

/// How many entries the map must have.
///
/// # Errors
/// Where the kernel does not say how many CPUs there may be.
pub(super) fn entries() -> Result<u32> {
    Ok(u32::try_from(cpus()?)? * COUNTERS_PER_CPU)
}

fn cpus() -> Result<usize> {
    nr_cpus()
        .map_err(|(path, error)| anyhow!("cannot tell how many CPUs there are: {path}: {error}"))
}

impl Counters {
    pub(super) fn new(map: Map) -> Result<Self> {
        let Map::Array(map) = map else {
            bail!("the counters are no array");
        };
        let rows = cpus()?;
        let memory = MmapOptions::new()
            .len(rows * COUNTERS_PER_CPU as usize * size_of::<u64>())
            .map_raw_read_only(map.fd().as_fd().as_raw_fd())
            .context("cannot map the loss counters")?;
        Ok(Self { memory, rows })
    }

    /// The sum of a slot over all CPUs.
    pub(super) fn sum(&self, slot: u32) -> u64 {
        let len = self.rows * COUNTERS_PER_CPU as usize;
        // SAFETY: `new` has mapped `len` integers from the start of a page, for as long
        // as `memory` lives. Other CPUs add to them as we read, which atomics allow.
        #[allow(unsafe_code, reason = "memmap2 lends no memory that others write to")]
        let all = unsafe { slice::from_raw_parts(self.memory.as_ptr().cast::<AtomicU64>(), len) };
        let rows = all.chunks_exact(COUNTERS_PER_CPU as usize);
        rows.map(|row| row[slot as usize].load(Ordering::Relaxed))
            .sum()
    }
}

/// How often a program was skipped and no other did its work. `skipped`: programs by
/// name, and how often each was. `taken_over`: how often a pair's second program did the
/// work of its first.
pub(super) fn missed(skipped: &[(&str, u64)], taken_over: impl Fn(Pair) -> u64) -> u64 {
    let mut alone = 0;
    let mut firsts = [0; Pair::ALL.len()];
    for (name, times) in skipped.iter().filter(|(name, _)| !is_spare(name)) {
        let pair = Pair::ALL
            .iter()
            .position(|pair| name.starts_with(pair.programs()));
        *pair.map_or(&mut alone, |pair| &mut firsts[pair]) += times;
    }
    let pairs = Pair::ALL.into_iter().zip(firsts);
    let pairs = pairs.map(|(pair, missed): (Pair, u64)| missed.saturating_sub(taken_over(pair)));
    alone + pairs.sum::<u64>()
}

/// Whether nothing is lost where the kernel skips a program: the second of a pair
/// matters only where the first was skipped, and a mini-socket that is not told of is
/// concluded (`table`).
pub(super) fn is_spare(name: &str) -> bool {
    name.ends_with("_again") || name.starts_with("time_wait_")
}

/// How often the kernel skipped this program, from its fd's entry in /proc.
pub(super) fn skipped(program: BorrowedFd<'_>) -> Option<u64> {
    let fd = program.as_raw_fd();
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("recursion_misses:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_taken_too_often_makes_up_for_nothing_of_another_pair() {
        let skipped = [
            ("state_btf", 2),
            ("state_btf_again", 9),
            ("connect_enter", 1),
            ("time_wait_fentry", 5),
        ];
        let taken_over = |pair| if matches!(pair, Pair::State) { 3 } else { 0 };
        assert_eq!(missed(&skipped, taken_over), 1);
        assert_eq!(missed(&skipped, |_| 0), 3);
    }
}
