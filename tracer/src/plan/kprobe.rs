//! The plan `kprobe`: kernel functions by breakpoints, where trampolines are
//! refused.
//!
//! A return probe needs a slot for each task inside the function, and the kernel
//! has few: tasks that block in accept(2) or connect(2) would use them up. So
//! the calls are followed by their tracepoints where there are any, and nothing
//! hangs on a return probe alone.

use super::{
    Hook, Need, Plan, PlanName, Target, Way,
    shared::{
        ACCEPT_CALLS, CONNECT_CALLS, EXEC, EXIT, FORK, GONE, RESET, STATE, WITHOUT_ACCEPT,
        WITHOUT_CONNECT, probe, way,
    },
};

const CLOSE: Need = Need {
    hook: Hook::Close,
    ways: &[way(&[probe("close_kprobe", Target::Kprobe("tcp_close"))])],
    without: None,
};

const TIME_WAIT: Need = Need {
    hook: Hook::TimeWait,
    ways: &[way(&[probe(
        "time_wait_kprobe",
        Target::Kprobe("tcp_time_wait"),
    )])],
    without: Some("the moment of TIME_WAIT: concluded from transitions"),
};

const CONNECT: Need = Need {
    hook: Hook::Connect,
    ways: &[
        CONNECT_CALLS,
        Way {
            blind: Some(
                "what connect(2) returned, its fd with it, while more tasks wait in it than the \
                 kernel has return slots for",
            ),
            ..way(&[
                probe("connect_kretprobe", Target::Kretprobe("__sys_connect")),
                probe("connect_kprobe", Target::Kprobe("__sys_connect")),
            ])
        },
    ],
    without: Some(WITHOUT_CONNECT),
};

const ACCEPT: Need = Need {
    hook: Hook::Accept,
    ways: &[
        way(&[
            probe("accept_exit", Target::Event("syscalls", "sys_exit_accept4")),
            probe("accept_exit", Target::Event("syscalls", "sys_exit_accept")),
            probe(
                "accept_enter",
                Target::Event("syscalls", "sys_enter_accept4"),
            ),
            probe(
                "accept_enter",
                Target::Event("syscalls", "sys_enter_accept"),
            ),
            probe("taken_kretprobe", Target::Kretprobe("inet_csk_accept")),
        ]),
        Way {
            blind: Some(
                "who accepts, until a snapshot, while more tasks wait in accept(2) than the \
                 kernel has return slots for",
            ),
            ..way(&[
                probe("accept_kretprobe", Target::Kretprobe("__sys_accept4")),
                probe("accept_kprobe", Target::Kprobe("__sys_accept4")),
                probe("taken_kretprobe", Target::Kretprobe("inet_csk_accept")),
            ])
        },
        ACCEPT_CALLS,
    ],
    without: Some(WITHOUT_ACCEPT),
};

pub(super) const PLAN: Plan = Plan {
    name: PlanName::Kprobe,
    // First what only this plan has: where it is refused, nothing else was tried for
    // nothing.
    needs: &[
        CLOSE, TIME_WAIT, GONE, ACCEPT, CONNECT, RESET, EXEC, EXIT, FORK, STATE,
    ],
    blind: &["the fd of connections opened or accepted by io_uring, until a snapshot"],
};
