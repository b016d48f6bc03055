//! The only ring writer. Every record ends in exactly one counter.

// AtomicU64 has no fetch_add on a target without compare-and-swap.
use core::{
    intrinsics::{AtomicOrdering, atomic_xadd},
    slice,
};

use aya_ebpf::helpers::{bpf_get_smp_processor_id, generated::bpf_probe_read_kernel};
use tracer_common::{
    drop::{COUNTERS_PER_CPU, METERED_NS, RING_FULL, SUBMITTED},
    shed::METER_SHIFT,
};

use crate::{
    maps::{COUNTS, RING, knob},
    task,
};

/// Wake-ups are left to user space's own timer.
const BPF_RB_NO_WAKEUP: u64 = 1;
/// Wake the reader now.
const BPF_RB_FORCE_WAKEUP: u64 = 2;
/// Ask `bpf_ringbuf_query` for the bytes not read yet.
const BPF_RB_AVAIL_DATA: u64 = 0;

/// 2^64 over the golden ratio: its multiples spread evenly, however coarse the clock is.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Writes one record, or counts its loss. Returns whether it was written.
///
/// The reader polls on a timer; it is woken ahead of that only when much waits,
/// because a wake-up per record costs more than all the rest.
#[inline(always)]
pub fn emit<T>(record: &T) -> bool {
    let is_written = emit_part(record, size_of::<T>() as u64);
    // SAFETY: every record begins with the time at which its hook began.
    meter(unsafe { *(&raw const *record).cast::<u64>() });
    is_written
}

/// As [`emit`], of the first `bytes` of a record. Not measured.
#[inline(always)]
pub fn emit_part<T>(record: *const T, bytes: u64) -> bool {
    let wake = wake();
    // SAFETY: the verifier checks that so many bytes can be read there.
    let bytes = unsafe { slice::from_raw_parts(record.cast::<u8>(), bytes as usize) };
    let is_written = RING.output::<[u8]>(bytes, wake).is_ok();
    count(if is_written { SUBMITTED } else { RING_FULL });
    is_written
}

/// As [`emit_part`], of a record that others write to, if `is_ours` says so once it is copied.
/// Returns whether it was written.
#[inline(always)]
pub fn emit_if<T: 'static>(record: *const T, is_ours: impl FnOnce() -> bool) -> bool {
    let wake = wake();
    let Some(mut entry) = RING.reserve::<T>(0) else {
        if is_ours() {
            count(RING_FULL);
        }
        return false;
    };
    // SAFETY: there is room for one record, and the helper checks where it reads.
    unsafe {
        bpf_probe_read_kernel(
            entry.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            record.cast(),
        );
    }
    let is_ours = is_ours();
    if is_ours {
        entry.submit(wake);
        count(SUBMITTED);
    } else {
        entry.discard(wake);
    }
    is_ours
}

/// Whether the reader is to be woken for what is written now.
#[inline(always)]
fn wake() -> u64 {
    if is_ring_calm() {
        BPF_RB_NO_WAKEUP
    } else {
        BPF_RB_FORCE_WAKEUP
    }
}

/// Whether less waits in the ring than the reader is woken for. While it does, records
/// that can be done without are written as well.
#[inline(always)]
pub fn is_ring_calm() -> bool {
    RING.query(BPF_RB_AVAIL_DATA) < u64::from(knob!(wake_bytes))
}

/// Adds one to a slot of `tracer_common::drop`.
#[inline(always)]
pub fn count(slot: u32) {
    add(slot, 1);
}

/// Adds to a slot of `tracer_common::drop`.
#[inline(always)]
pub fn add(slot: u32, more: u64) {
    // SAFETY: takes nothing. A task that moves to another CPU counts in either row.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    if let Some(counter) = COUNTS.get_ptr_mut(cpu * COUNTERS_PER_CPU + slot) {
        // SAFETY: the slot is aligned and lives as long as the map. Atomic,
        // because a hook in a softirq may interrupt one of this CPU's tasks
        // between load and store, and user space reads meanwhile.
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, more) };
    }
}

/// A hook that began at `began_ns` has told what it had to. One in so many is measured.
#[inline(always)]
pub fn meter(began_ns: u64) {
    if began_ns.wrapping_mul(SPREAD) >> (u64::BITS - METER_SHIFT) == 0 {
        add(METERED_NS, task::now().wrapping_sub(began_ns));
    }
}
