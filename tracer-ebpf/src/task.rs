//! The current task: who it is, and the fields of `task_struct` that we read.

use core::ffi::c_void;

use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_current_uid_gid,
    generated::{bpf_get_current_task_btf, bpf_ktime_get_boot_ns},
};
use tracer_common::event::{COMM_LEN, Header};

use crate::{
    maps::{CALLS, knob, offset},
    read::{Plain, load, read, read_or_zero},
};

/// `PF_EXITING`, include/linux/sched.h
const PF_EXITING: u32 = 0x4;

/// Nanoseconds of `CLOCK_BOOTTIME`.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: the helper takes nothing and only reads a clock.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// Thread group id in the upper half, thread id in the lower.
#[inline(always)]
pub fn pid_tgid() -> u64 {
    bpf_get_current_pid_tgid()
}

/// Thread group id: what user space calls the pid.
#[inline(always)]
pub fn pid() -> u32 {
    (pid_tgid() >> 32) as u32
}

/// The name of the process, as `ps -o comm` shows it, or zeros. Threads may have
/// names of their own; the process has its first one's.
#[inline(always)]
pub fn comm() -> [u8; COMM_LEN] {
    let leader: *const c_void = field(offset!(task_group_leader));
    read_or_zero(leader, offset!(task_comm))
}

/// The current `struct task_struct`.
#[inline(always)]
pub fn address() -> *const c_void {
    // SAFETY: the helper takes nothing; the address is only ever read through
    // bpf_probe_read_kernel.
    unsafe { bpf_get_current_task() as *const c_void }
}

/// Whether the task is inside the system call `what`, one of the values of
/// [`crate::maps::Call::what`].
#[inline(always)]
pub fn is_in(what: u32) -> bool {
    // SAFETY: only the current task writes the entry of its own key.
    let call = unsafe { CALLS.get(pid_tgid()) }.map_or(0, |call| call.what);
    call & what != 0
}

/// Whether the task is in `do_exit`.
#[inline(always)]
pub fn is_exiting() -> bool {
    field::<u32>(offset!(task_flags)) & PF_EXITING != 0
}

/// Its open files: an array of pointers to `struct file`, and how many there may be.
#[inline(always)]
pub fn file_table() -> Option<(*const c_void, u32)> {
    let files: *const c_void = field(offset!(task_files));
    let (table_at, array_at, max_at) = (offset!(files_fdt), offset!(fdt_fd), offset!(fdt_max_fds));
    if !is_typed() {
        let table = read(files, table_at)?;
        return Some((read(table, array_at)?, read(table, max_at)?));
    }
    // SAFETY: they come from the task, which the kernel's types describe.
    unsafe {
        let table: *const c_void = load(files, table_at);
        Some((load(table, array_at), load(table, max_at)))
    }
}

/// A field of the current task.
#[inline(always)]
fn field<T: Plain>(at: u32) -> T {
    if !is_typed() {
        return read_or_zero(address(), at);
    }
    // SAFETY: the helper takes nothing, and what it returns is a `struct task_struct` to
    // the verifier.
    unsafe { load(bpf_get_current_task_btf().cast(), at) }
}

/// Whether the kernel hands out a task whose fields may be read without a helper: since
/// 5.11 (commit 3ca1032ab7ab), so wherever there is a cookie.
#[inline(always)]
fn is_typed() -> bool {
    knob!(name_by_address) == 0
}

/// Whether the task, which is exiting, is the last of its process:
/// `signal->live` has been counted down before `sched_process_exit` fires.
#[inline(always)]
pub fn is_last_thread() -> bool {
    let signal = read::<*const c_void>(address(), offset!(task_signal));
    signal.and_then(|signal| read::<i32>(signal, offset!(signal_live))) == Some(0)
}

/// The start of a record about `sock`.
#[inline(always)]
pub fn header(kind: u32, sock: u64, ts_ns: u64) -> Header {
    let id = pid_tgid();
    Header {
        ts_ns,
        sock,
        kind,
        pid: (id >> 32) as u32,
        tid: id as u32,
        uid: bpf_get_current_uid_gid() as u32,
    }
}
