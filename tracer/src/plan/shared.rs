//! Hooks that every plan serves alike, and the ways that several share.

use super::{Hook, Need, Probe, Target, Way};

const ADDRESS_ONLY: &str = "sockets are named by address: one that existed before the trace \
     is joined to its records by its addresses alone";

/// One program, one place.
pub(super) const fn probe(program: &'static str, target: Target) -> Probe {
    Probe { program, target }
}

/// A way that knows cookies and sees all there is to its hook.
pub(super) const fn way(probes: &'static [Probe]) -> Way {
    Way {
        probes,
        has_cookie: true,
        blind: None,
    }
}

/// What everything hangs on. Two programs take turns, as for all tracepoints that
/// fire in system calls and in softirqs alike: the kernel does not run a program
/// on top of itself. They run in the order in which they are attached.
///
/// Attached last: what it announces is then followed by
/// all other hooks, from the fd of its connect to its end.
pub(super) const STATE: Need = Need {
    hook: Hook::State,
    ways: &[
        way(&[
            probe("state_btf", Target::Btf("inet_sock_set_state")),
            probe("state_btf_again", Target::Btf("inet_sock_set_state")),
        ]),
        Way {
            probes: &[
                probe("state_raw", Target::Raw("inet_sock_set_state")),
                probe("state_raw_again", Target::Raw("inet_sock_set_state")),
            ],
            has_cookie: false,
            blind: Some(ADDRESS_ONLY),
        },
    ],
    without: None,
};

pub(super) const GONE: Need = Need {
    hook: Hook::Gone,
    ways: &[
        way(&[
            probe("gone_btf", Target::Btf("tcp_destroy_sock")),
            probe("gone_btf_again", Target::Btf("tcp_destroy_sock")),
        ]),
        way(&[
            probe("gone_raw", Target::Raw("tcp_destroy_sock")),
            probe("gone_raw_again", Target::Raw("tcp_destroy_sock")),
        ]),
    ],
    without: None,
};

pub(super) const RESET: Need = Need {
    hook: Hook::Reset,
    ways: &[way(&[
        probe("reset_sent", Target::Raw("tcp_send_reset")),
        probe("reset_sent_again", Target::Raw("tcp_send_reset")),
        probe("reset_received", Target::Raw("tcp_receive_reset")),
        probe("reset_received_again", Target::Raw("tcp_receive_reset")),
    ])],
    without: Some("who sent a RST: told by the errno that the socket died of"),
};

pub(super) const EXIT: Need = Need {
    hook: Hook::Exit,
    ways: &[way(&[probe("exit_raw", Target::Raw("sched_process_exit"))])],
    without: Some("process exits: connections of ended processes are not grouped by name"),
};

pub(super) const EXEC: Need = Need {
    hook: Hook::Exec,
    ways: &[way(&[probe("exec_raw", Target::Raw("sched_process_exec"))])],
    without: Some("when a process becomes another program: a timeline does not mark it"),
};

pub(super) const FORK: Need = Need {
    hook: Hook::Fork,
    ways: &[way(&[probe("fork_raw", Target::Raw("sched_process_fork"))])],
    without: Some("who starts whom: `check` cannot follow a command's processes"),
};

/// The ends of system calls are attached before their beginnings, so that no
/// entry is left behind.
pub(super) const CONNECT_CALLS: Way = way(&[
    probe(
        "connect_exit",
        Target::Event("syscalls", "sys_exit_connect"),
    ),
    probe(
        "connect_enter",
        Target::Event("syscalls", "sys_enter_connect"),
    ),
]);

pub(super) const ACCEPT_CALLS: Way = way(&[
    probe("accept_exit", Target::Event("syscalls", "sys_exit_accept4")),
    probe("accept_exit", Target::Event("syscalls", "sys_exit_accept")),
]);

pub(super) const WITHOUT_CONNECT: &str =
    "the fd, errno and latency of connect(2): fds come from snapshots only";
pub(super) const WITHOUT_ACCEPT: &str =
    "who accepts: owners of server-side connections come from snapshots only";
