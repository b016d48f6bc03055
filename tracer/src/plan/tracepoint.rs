//! The plan `tracepoint`: the kernel's static tracepoints and nothing else. It
//! works where kprobes are compiled out and trampolines refused.

use super::{Hook, Need, Plan, PlanName, Probe, Target, Way};

const ADDRESS_ONLY: &str = "sockets are named by address: one that existed before the trace \
     is joined to its records by its addresses alone";

const STATE: Need = Need {
    hook: Hook::State,
    ways: &[
        Way {
            probes: &[Probe {
                program: "state_btf",
                target: Target::Btf("inet_sock_set_state"),
            }],
            has_cookie: true,
            blind: None,
        },
        Way {
            probes: &[Probe {
                program: "state_raw",
                target: Target::Raw("inet_sock_set_state"),
            }],
            has_cookie: false,
            blind: Some(ADDRESS_ONLY),
        },
    ],
    without: None,
};

const GONE: Need = Need {
    hook: Hook::Gone,
    ways: &[
        Way {
            probes: &[Probe {
                program: "gone_btf",
                target: Target::Btf("tcp_destroy_sock"),
            }],
            has_cookie: true,
            blind: None,
        },
        Way {
            probes: &[Probe {
                program: "gone_raw",
                target: Target::Raw("tcp_destroy_sock"),
            }],
            has_cookie: true,
            blind: None,
        },
    ],
    without: None,
};

const CONNECT: Need = Need {
    hook: Hook::Connect,
    ways: &[Way {
        probes: &[
            Probe {
                program: "connect_exit",
                target: Target::Event("syscalls", "sys_exit_connect"),
            },
            Probe {
                program: "connect_enter",
                target: Target::Event("syscalls", "sys_enter_connect"),
            },
        ],
        has_cookie: true,
        blind: None,
    }],
    without: Some("the fd, errno and latency of connect(2): fds come from snapshots only"),
};

const ACCEPT: Need = Need {
    hook: Hook::Accept,
    ways: &[Way {
        probes: &[
            Probe {
                program: "accept_exit",
                target: Target::Event("syscalls", "sys_exit_accept4"),
            },
            Probe {
                program: "accept_exit",
                target: Target::Event("syscalls", "sys_exit_accept"),
            },
        ],
        has_cookie: true,
        blind: None,
    }],
    without: Some("who accepts: owners of server-side connections come from snapshots only"),
};

const SHUTDOWN: Need = Need {
    hook: Hook::Shutdown,
    ways: &[Way {
        probes: &[
            Probe {
                program: "shutdown_exit",
                target: Target::Event("syscalls", "sys_exit_shutdown"),
            },
            Probe {
                program: "shutdown_enter",
                target: Target::Event("syscalls", "sys_enter_shutdown"),
            },
        ],
        has_cookie: true,
        blind: None,
    }],
    without: Some("shutdown(2): a half close looks like a close until the next snapshot"),
};

const EXIT: Need = Need {
    hook: Hook::Exit,
    ways: &[Way {
        probes: &[Probe {
            program: "exit_raw",
            target: Target::Raw("sched_process_exit"),
        }],
        has_cookie: true,
        blind: None,
    }],
    without: Some("process exits: connections of ended processes are not grouped by name"),
};

pub(super) const PLAN: Plan = Plan {
    name: PlanName::Tracepoint,
    // State first: it is what everything hangs on. The ends of the system calls
    // are attached before their beginnings, so that no entry is left behind.
    needs: &[STATE, GONE, ACCEPT, SHUTDOWN, CONNECT, EXIT],
    blind: &[
        "the moment of close(2) on a socket that was shut down before: it is known when the \
         kernel frees the socket",
        "the fd of connections opened by io_uring or by 32-bit programs, until a snapshot",
        "connections to MPTCP listeners, Go's default since 1.24, until they are accepted",
        "whether a socket left in FIN_WAIT2 moved on to TIME_WAIT, until a snapshot",
    ],
};
