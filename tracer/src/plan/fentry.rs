//! The plan `fentry`: kernel functions by BPF trampolines, the cheapest there is
//! and the one that sees most. Linux 5.5 on x86-64, 6.0 on arm64.
//!
//! Of a pair that takes turns the second is attached first: a trampoline runs its
//! programs from the last one attached to the first (`hlist_add_head` in
//! `__bpf_trampoline_link_prog`, kernel/bpf/trampoline.c).

use super::{
    Hook, Need, Plan, PlanName, Target,
    shared::{
        ACCEPT_CALLS, CONNECT_CALLS, EXEC, EXIT, FORK, GONE, RESET, STATE, WITHOUT_ACCEPT,
        WITHOUT_CONNECT, probe, way,
    },
};

const CLOSE: Need = Need {
    hook: Hook::Close,
    ways: &[way(&[
        probe("close_fentry_again", Target::Fentry("tcp_close")),
        probe("close_fentry", Target::Fentry("tcp_close")),
    ])],
    without: None,
};

const TIME_WAIT: Need = Need {
    hook: Hook::TimeWait,
    ways: &[way(&[probe(
        "time_wait_fentry",
        Target::Fentry("tcp_time_wait"),
    )])],
    without: Some("the moment of TIME_WAIT: concluded from transitions"),
};

/// The opener is known from the transition itself, which runs inside of
/// `tcp_v4_connect`; the call around it adds the fd and the outcome.
const CONNECT: Need = Need {
    hook: Hook::Connect,
    ways: &[
        way(&[
            probe("connect_fexit_again", Target::Fexit("__sys_connect", 3)),
            probe("connect_fexit", Target::Fexit("__sys_connect", 3)),
            probe("connect_fentry_again", Target::Fentry("__sys_connect")),
            probe("connect_fentry", Target::Fentry("__sys_connect")),
        ]),
        CONNECT_CALLS,
    ],
    without: Some(WITHOUT_CONNECT),
};

const ACCEPT: Need = Need {
    hook: Hook::Accept,
    ways: &[
        way(&[
            probe("accept_fexit_again", Target::Fexit("__sys_accept4", 4)),
            probe("accept_fexit", Target::Fexit("__sys_accept4", 4)),
            probe("accept_fentry", Target::Fentry("__sys_accept4")),
            probe("taken_fexit_2", Target::Fexit("inet_csk_accept", 2)),
        ]),
        way(&[
            probe("accept_fexit_again", Target::Fexit("__sys_accept4", 4)),
            probe("accept_fexit", Target::Fexit("__sys_accept4", 4)),
            probe("accept_fentry", Target::Fentry("__sys_accept4")),
            probe("taken_fexit_4", Target::Fexit("inet_csk_accept", 4)),
        ]),
        ACCEPT_CALLS,
    ],
    without: Some(WITHOUT_ACCEPT),
};

pub(super) const PLAN: Plan = Plan {
    name: PlanName::Fentry,
    // First what only this plan has: where it is refused, nothing else was tried for
    // nothing.
    needs: &[
        CLOSE, TIME_WAIT, GONE, ACCEPT, CONNECT, RESET, EXEC, EXIT, FORK, STATE,
    ],
    blind: &[
        "the fd of connections opened or accepted by io_uring, until a snapshot",
        // Where one is attached or taken away, the others lose the returns of calls that are
        // under way (`bpf_tramp_image_put`, kernel/bpf/trampoline.c).
        "who accepts in a call that waited in accept(2) at the start, or while another \
         tracer's program there came or went, until a snapshot",
    ],
};
