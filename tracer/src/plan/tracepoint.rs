//! The plan `tracepoint`: the kernel's static tracepoints and nothing else. It
//! works where kprobes are compiled out and trampolines refused.

use super::{
    Hook, Need, Plan, PlanName, Target,
    shared::{
        ACCEPT_CALLS, CONNECT_CALLS, EXEC, EXIT, FORK, GONE, RESET, STATE, WITHOUT_ACCEPT,
        WITHOUT_CONNECT, probe, way,
    },
};

const CONNECT: Need = Need {
    hook: Hook::Connect,
    ways: &[CONNECT_CALLS],
    without: Some(WITHOUT_CONNECT),
};

const ACCEPT: Need = Need {
    hook: Hook::Accept,
    ways: &[ACCEPT_CALLS],
    without: Some(WITHOUT_ACCEPT),
};

const SHUTDOWN: Need = Need {
    hook: Hook::Shutdown,
    ways: &[way(&[
        probe(
            "shutdown_exit",
            Target::Event("syscalls", "sys_exit_shutdown"),
        ),
        probe(
            "shutdown_enter",
            Target::Event("syscalls", "sys_enter_shutdown"),
        ),
    ])],
    without: Some("shutdown(2): a half close looks like a close until the next snapshot"),
};

pub(super) const PLAN: Plan = Plan {
    name: PlanName::Tracepoint,
    needs: &[
        GONE, ACCEPT, SHUTDOWN, CONNECT, RESET, EXEC, EXIT, FORK, STATE,
    ],
    blind: &[
        "the moment of close(2) on a socket that was shut down before: it is known when the \
         kernel frees the socket",
        "who accepts by io_uring, and the fd of connections opened by io_uring or by 32-bit \
         programs, until a snapshot",
        "whether a socket left in FIN_WAIT2 moved on to TIME_WAIT, until a snapshot",
    ],
};
