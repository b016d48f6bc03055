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
mod fold;
mod hooks;
mod maps;
mod read;
mod registers;
mod shed;
mod sock;
mod stack;
mod task;
mod turn;

use aya_ebpf::{
    macros::{btf_tracepoint, fentry, fexit, kprobe, kretprobe, raw_tracepoint, tracepoint},
    programs::{
        BtfTracePointContext, FEntryContext, FExitContext, ProbeContext, RawTracePointContext,
        RetProbeContext, TracePointContext,
    },
};

use crate::{
    hooks::{accept, close, connect, exec, exit, fork, gone, reset, shutdown, state, time_wait},
    registers::{argument, returned},
    sock::Sock,
    turn::{Pair, Turn},
};

/// Offset of the first argument in a syscall tracepoint's context, and of the
/// return value in its exit twin: `struct syscall_tp_t`, kernel/trace/trace_syscalls.c.
const SYSCALL_ARG0: usize = 16;

/// `inet_sock_set_state(const struct sock *sk, int oldstate, int newstate)`
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn state_btf(ctx: BtfTracePointContext) -> i32 {
    let sk = Sock::from_btf(ctx.arg(0));
    state::on_transition(&ctx, Turn::First, &sk, ctx.arg(1), ctx.arg(2));
    0
}

/// After [`state_btf`].
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn state_btf_again(ctx: BtfTracePointContext) -> i32 {
    let sk = Sock::from_btf(ctx.arg(0));
    state::on_transition(&ctx, Turn::Second, &sk, ctx.arg(1), ctx.arg(2));
    0
}

/// As [`state_btf`], where the kernel lets no program attach through BTF.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn state_raw(ctx: RawTracePointContext) -> i32 {
    let sk = Sock::from_address(ctx.arg(0));
    state::on_transition(&ctx, Turn::First, &sk, ctx.arg(1), ctx.arg(2));
    0
}

/// After [`state_raw`].
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn state_raw_again(ctx: RawTracePointContext) -> i32 {
    let sk = Sock::from_address(ctx.arg(0));
    state::on_transition(&ctx, Turn::Second, &sk, ctx.arg(1), ctx.arg(2));
    0
}

/// `tcp_destroy_sock(struct sock *sk)`
#[btf_tracepoint(function = "tcp_destroy_sock")]
pub fn gone_btf(ctx: BtfTracePointContext) -> i32 {
    gone::on_destroy(Turn::First, &Sock::from_btf(ctx.arg(0)));
    0
}

/// After [`gone_btf`].
#[btf_tracepoint(function = "tcp_destroy_sock")]
pub fn gone_btf_again(ctx: BtfTracePointContext) -> i32 {
    gone::on_destroy(Turn::Second, &Sock::from_btf(ctx.arg(0)));
    0
}

/// As [`gone_btf`], where the kernel lets no program attach through BTF.
#[raw_tracepoint(tracepoint = "tcp_destroy_sock")]
pub fn gone_raw(ctx: RawTracePointContext) -> i32 {
    gone::on_destroy(Turn::First, &Sock::from_address(ctx.arg(0)));
    0
}

/// After [`gone_raw`].
#[raw_tracepoint(tracepoint = "tcp_destroy_sock")]
pub fn gone_raw_again(ctx: RawTracePointContext) -> i32 {
    gone::on_destroy(Turn::Second, &Sock::from_address(ctx.arg(0)));
    0
}

/// `tcp_send_reset(const struct sock *sk, const struct sk_buff *skb, ...)`
#[raw_tracepoint(tracepoint = "tcp_send_reset")]
pub fn reset_sent(ctx: RawTracePointContext) -> i32 {
    let sk = Sock::from_address(ctx.arg(0));
    reset::on_reset(Turn::First, Pair::ResetSent, &sk);
    0
}

/// After [`reset_sent`].
#[raw_tracepoint(tracepoint = "tcp_send_reset")]
pub fn reset_sent_again(ctx: RawTracePointContext) -> i32 {
    let sk = Sock::from_address(ctx.arg(0));
    reset::on_reset(Turn::Second, Pair::ResetSent, &sk);
    0
}

/// `tcp_receive_reset(struct sock *sk)`
#[raw_tracepoint(tracepoint = "tcp_receive_reset")]
pub fn reset_received(ctx: RawTracePointContext) -> i32 {
    let sk = Sock::from_address(ctx.arg(0));
    reset::on_reset(Turn::First, Pair::ResetReceived, &sk);
    0
}

/// After [`reset_received`].
#[raw_tracepoint(tracepoint = "tcp_receive_reset")]
pub fn reset_received_again(ctx: RawTracePointContext) -> i32 {
    let sk = Sock::from_address(ctx.arg(0));
    reset::on_reset(Turn::Second, Pair::ResetReceived, &sk);
    0
}

/// `sched_process_exit(struct task_struct *task, ...)`
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn exit_raw(_ctx: RawTracePointContext) -> i32 {
    exit::on_exit();
    0
}

/// `sched_process_exec(struct task_struct *task, ...)`
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn exec_raw(_ctx: RawTracePointContext) -> i32 {
    exec::on_exec();
    0
}

/// `sched_process_fork(struct task_struct *parent, struct task_struct *child)`
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn fork_raw(ctx: RawTracePointContext) -> i32 {
    fork::on_fork(ctx.arg(1));
    0
}

/// `tcp_close(struct sock *sk, long timeout)`
#[fentry(function = "tcp_close")]
pub fn close_fentry(ctx: FEntryContext) -> i32 {
    close::on_close(Turn::First, &Sock::from_btf(ctx.arg(0)));
    0
}

/// After [`close_fentry`].
#[fentry(function = "tcp_close")]
pub fn close_fentry_again(ctx: FEntryContext) -> i32 {
    close::on_close(Turn::Second, &Sock::from_btf(ctx.arg(0)));
    0
}

/// As [`close_fentry`], by breakpoint.
#[kprobe(function = "tcp_close")]
pub fn close_kprobe(ctx: ProbeContext) -> u32 {
    close::on_close(Turn::First, &Sock::from_address(argument!(ctx, arg0)));
    0
}

/// `tcp_time_wait(struct sock *sk, int state, int timeo)`
#[fentry(function = "tcp_time_wait")]
pub fn time_wait_fentry(ctx: FEntryContext) -> i32 {
    time_wait::on_time_wait(&Sock::from_btf(ctx.arg(0)), ctx.arg(1), ctx.arg(2));
    0
}

/// As [`time_wait_fentry`], by breakpoint.
#[kprobe(function = "tcp_time_wait")]
pub fn time_wait_kprobe(ctx: ProbeContext) -> u32 {
    let sk = Sock::from_address(argument!(ctx, arg0));
    time_wait::on_time_wait(&sk, argument!(ctx, arg1), argument!(ctx, arg2));
    0
}

/// `__sys_connect(int fd, struct sockaddr *uservaddr, int addrlen)`
#[fentry(function = "__sys_connect")]
pub fn connect_fentry(ctx: FEntryContext) -> i32 {
    connect::on_enter(&ctx, ctx.arg(0));
    0
}

/// After [`connect_fentry`].
#[fentry(function = "__sys_connect")]
pub fn connect_fentry_again(ctx: FEntryContext) -> i32 {
    connect::on_enter_again(ctx.arg(0));
    0
}

/// The return of `__sys_connect`.
#[fexit(function = "__sys_connect")]
pub fn connect_fexit(ctx: FExitContext) -> i32 {
    connect::on_return(Turn::First, ctx.arg(3));
    0
}

/// After [`connect_fexit`].
#[fexit(function = "__sys_connect")]
pub fn connect_fexit_again(ctx: FExitContext) -> i32 {
    connect::on_return(Turn::Second, ctx.arg(3));
    0
}

/// As [`connect_fentry`], by breakpoint.
#[kprobe(function = "__sys_connect")]
pub fn connect_kprobe(ctx: ProbeContext) -> u32 {
    connect::on_enter(&ctx, argument!(ctx, arg0));
    0
}

/// As [`connect_fexit`], by breakpoint.
#[kretprobe(function = "__sys_connect")]
pub fn connect_kretprobe(ctx: RetProbeContext) -> u32 {
    connect::on_return(Turn::First, returned!(ctx));
    0
}

/// `connect(int fd, ...)`
#[tracepoint(category = "syscalls", name = "sys_enter_connect")]
pub fn connect_enter(ctx: TracePointContext) -> u32 {
    if let Ok(fd) = syscall_value(&ctx) {
        connect::on_enter(&ctx, fd);
    }
    0
}

/// The return of connect(2).
#[tracepoint(category = "syscalls", name = "sys_exit_connect")]
pub fn connect_exit(ctx: TracePointContext) -> u32 {
    if let Ok(ret) = syscall_value(&ctx) {
        connect::on_return(Turn::First, ret);
    }
    0
}

/// `__sys_accept4(int fd, struct sockaddr *, int *, int flags)`
#[fentry(function = "__sys_accept4")]
pub fn accept_fentry(_ctx: FEntryContext) -> i32 {
    accept::on_enter();
    0
}

/// The return of `__sys_accept4`.
#[fexit(function = "__sys_accept4")]
pub fn accept_fexit(ctx: FExitContext) -> i32 {
    accept::on_return(&ctx, ctx.arg(4));
    0
}

/// After [`accept_fexit`].
#[fexit(function = "__sys_accept4")]
pub fn accept_fexit_again(ctx: FExitContext) -> i32 {
    accept::on_return_again(ctx.arg(4));
    0
}

/// As [`accept_fentry`], by breakpoint.
#[kprobe(function = "__sys_accept4")]
pub fn accept_kprobe(_ctx: ProbeContext) -> u32 {
    accept::on_enter();
    0
}

/// As [`accept_fexit`], by breakpoint.
#[kretprobe(function = "__sys_accept4")]
pub fn accept_kretprobe(ctx: RetProbeContext) -> u32 {
    accept::on_return(&ctx, returned!(ctx));
    0
}

/// The entry of accept(2) and accept4(2).
#[tracepoint(category = "syscalls", name = "sys_enter_accept4")]
pub fn accept_enter(_ctx: TracePointContext) -> u32 {
    accept::on_enter();
    0
}

/// The return of accept(2) and accept4(2).
#[tracepoint(category = "syscalls", name = "sys_exit_accept4")]
pub fn accept_exit(ctx: TracePointContext) -> u32 {
    if let Ok(fd) = syscall_value(&ctx) {
        accept::on_return(&ctx, fd);
    }
    0
}

/// The return of `inet_csk_accept(struct sock *sk, struct proto_accept_arg *arg)`,
/// its signature since 6.10.
#[fexit(function = "inet_csk_accept")]
pub fn taken_fexit_2(ctx: FExitContext) -> i32 {
    accept::on_taken(&ctx, ctx.arg(2));
    0
}

/// The return of `inet_csk_accept(struct sock *sk, int flags, int *err, bool kern)`,
/// its signature before 6.10.
#[fexit(function = "inet_csk_accept")]
pub fn taken_fexit_4(ctx: FExitContext) -> i32 {
    accept::on_taken(&ctx, ctx.arg(4));
    0
}

/// As the two above, by breakpoint: the return value lies in the same place for both.
#[kretprobe(function = "inet_csk_accept")]
pub fn taken_kretprobe(ctx: RetProbeContext) -> u32 {
    accept::on_taken(&ctx, returned!(ctx));
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
fn syscall_value(ctx: &TracePointContext) -> Result<i32, i32> {
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
