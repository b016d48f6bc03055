//! The kernel side of tcpleak: entry points only.
//!
//! Each entry point turns its context into a [`Sock`] and plain arguments and
//! hands them to the hook of the same name; which entry points are loaded and
//! what they are attached to is the plan's choice, in user space.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![allow(
    internal_features,
    reason = "an atomic add on a target without compare-and-swap"
)]

mod emit;
mod filter;
mod hooks;
mod maps;
mod read;
mod sock;
mod task;

use aya_ebpf::{
    macros::{btf_tracepoint, raw_tracepoint, tracepoint},
    programs::{BtfTracePointContext, RawTracePointContext, TracePointContext},
};

use crate::{
    hooks::{accept, connect, exit, gone, shutdown, state},
    sock::Sock,
};

/// Offset of the first argument in a syscall tracepoint's context, and of the
/// return value in its exit twin: `struct syscall_tp_t`, kernel/trace/trace_syscalls.c.
const SYSCALL_ARG0: usize = 16;

/// `inet_sock_set_state(const struct sock *sk, int oldstate, int newstate)`
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn state_btf(ctx: BtfTracePointContext) -> i32 {
    let sk = Sock::from_btf(ctx.arg(0));
    state::on_transition(&sk, ctx.arg(1), ctx.arg(2));
    0
}

/// As [`state_btf`], where the kernel lets no program attach through BTF.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn state_raw(ctx: RawTracePointContext) -> i32 {
    let sk = Sock::from_address(ctx.arg(0));
    state::on_transition(&sk, ctx.arg(1), ctx.arg(2));
    0
}

/// `tcp_destroy_sock(struct sock *sk)`
#[btf_tracepoint(function = "tcp_destroy_sock")]
pub fn gone_btf(ctx: BtfTracePointContext) -> i32 {
    gone::on_destroy(&Sock::from_btf(ctx.arg(0)));
    0
}

/// As [`gone_btf`], where the kernel lets no program attach through BTF.
#[raw_tracepoint(tracepoint = "tcp_destroy_sock")]
pub fn gone_raw(ctx: RawTracePointContext) -> i32 {
    gone::on_destroy(&Sock::from_address(ctx.arg(0)));
    0
}

/// `sched_process_exit(struct task_struct *task, ...)`
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn exit_raw(_ctx: RawTracePointContext) -> i32 {
    exit::on_exit();
    0
}

/// `connect(int fd, ...)`
#[tracepoint(category = "syscalls", name = "sys_enter_connect")]
pub fn connect_enter(ctx: TracePointContext) -> u32 {
    if let Ok(fd) = argument(&ctx) {
        connect::on_enter(&ctx, fd);
    }
    0
}

/// The return of connect(2).
#[tracepoint(category = "syscalls", name = "sys_exit_connect")]
pub fn connect_exit(ctx: TracePointContext) -> u32 {
    if let Ok(ret) = argument(&ctx) {
        connect::on_return(ret);
    }
    0
}

/// The return of accept(2) and accept4(2).
#[tracepoint(category = "syscalls", name = "sys_exit_accept4")]
pub fn accept_exit(ctx: TracePointContext) -> u32 {
    if let Ok(fd) = argument(&ctx) {
        accept::on_return(fd);
    }
    0
}

/// `shutdown(int fd, int how)`
#[tracepoint(category = "syscalls", name = "sys_enter_shutdown")]
pub fn shutdown_enter(_ctx: TracePointContext) -> u32 {
    shutdown::on_enter();
    0
}

/// The return of shutdown(2).
#[tracepoint(category = "syscalls", name = "sys_exit_shutdown")]
pub fn shutdown_exit(_ctx: TracePointContext) -> u32 {
    shutdown::on_return();
    0
}

/// The first argument of a syscall, or its return value in the exit twin.
/// Both are `int` in every call that is traced here.
fn argument(ctx: &TracePointContext) -> Result<i32, i32> {
    // SAFETY: `read_at` copies through bpf_probe_read, which fails on a bad
    // address instead of faulting, and every bit pattern is an i64.
    unsafe { ctx.read_at::<i64>(SYSCALL_ARG0) }.map(|value| value as i32)
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// The kernel lends GPL-only helpers to programs under a compatible licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
