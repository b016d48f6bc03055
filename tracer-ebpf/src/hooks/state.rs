//! Every transition of a TCP socket.

use aya_ebpf::programs::tracing::StackIdContext;
use tracer_common::event::{
    Figures, JoinRecord, NO_FD, NO_IDLE, OpenRecord, Phase, StateRecord, flag, is_freed_with, kind,
};

use crate::{
    emit::emit,
    filter,
    fold::{self, Fold},
    hooks::connect,
    maps::{SHUTDOWN, knob},
    shed,
    sock::{Sock, tcp},
    stack::{self, Asker, Stack},
    task,
    turn::{Pair, Turn, note_end},
};

/// `sk` goes from `old` to `new`. Runs before the kernel stores `new`.
#[inline(always)]
pub fn on_transition(ctx: &impl StackIdContext, turn: Turn, sk: &Sock, old: i32, new: i32) {
    let (old, new) = (old as u16, new as u16);
    if !shed::allows_transition(new) {
        return;
    }
    let what = u64::from(old) << 16 | u64::from(new);
    if !turn.is_mine(Pair::State, sk, what) {
        return;
    }
    // FIN_WAIT2 -> FIN_WAIT2 and CLOSE -> CLOSE happen and say nothing.
    if old == new {
        return;
    }
    if let Some(fold) = Fold::of(sk.known_name())
        && fold.adds_transition(sk, phase(sk, task::now(), old, new))
    {
        return;
    }
    if !sk.is_users_tcp() {
        if (new == tcp::SYN_SENT || old == tcp::SYN_RECV) && sk.joins_mptcp() {
            tell_join(sk);
        }
        return;
    }
    let Some(addresses) = sk.addresses() else {
        return;
    };
    if !filter::wants(&addresses) {
        return;
    }
    if old == tcp::LISTEN && new == tcp::SYN_RECV {
        // Before 6.14 (inet_csk_clone_lock) this comes before the clone has ports
        // and a cookie of its own; and whether it joins an MPTCP connection is not
        // known yet. Its next transition tells it then.
        if sk.remember_mptcp() || addresses.remote_port == 0 {
            return;
        }
    }
    let sock = sk.name();
    if !filter::wants_transition(sock, &addresses, old, new) {
        return;
    }

    let ts_ns = task::now();
    // These two are made by the opener itself, inside its system call.
    if old == tcp::CLOSE && (new == tcp::SYN_SENT || new == tcp::LISTEN) {
        let (fd, stack) = if new == tcp::SYN_SENT {
            let stack = match turn {
                Turn::First => stack::of_current(ctx, Asker::Opens),
                Turn::Second => stack::left_out(),
            };
            (connect::claim(sock), stack)
        } else {
            (NO_FD, Stack::NONE)
        };
        let open = OpenRecord {
            header: task::header(kind::OPEN, sock, ts_ns),
            addresses,
            fd,
            comm: task::comm(),
            new,
            _pad: 0,
            stack: stack.place,
            chain: stack.chain,
        };
        let folds = new == tcp::SYN_SENT && fold::is_due(sk, ts_ns);
        if !(folds && fold::begins_with_open(turn, &open)) {
            emit(&open);
        }
        return;
    }
    let is_born = new != tcp::CLOSE && (old == tcp::LISTEN || old == tcp::SYN_RECV);
    if is_born
        && fold::is_due(sk, ts_ns)
        && fold::begins_with_phase(turn, sock, &addresses, phase(sk, ts_ns, old, new))
    {
        return;
    }
    let (flags, error) = (flags(sk, new), sk.error());
    let is_written = emit(&StateRecord {
        header: task::header(kind::STATE, sock, ts_ns),
        addresses,
        old,
        new,
        flags,
        error,
        shutdown: sk.shutdown(),
        idle_ms: idle_ms(sk, new),
        figures: if new == tcp::CLOSE {
            sk.figures()
        } else {
            Figures::default()
        },
    });
    if is_written && new == tcp::CLOSE && is_freed_with(flags, error) {
        note_end(sk);
    }
}

#[inline(always)]
fn phase(sk: &Sock, ts_ns: u64, old: u16, new: u16) -> Phase {
    Phase {
        ts_ns,
        value: sk.error(),
        old: old as u8,
        new: new as u8,
        flags: flags(sk, new) as u8,
        shutdown: sk.shutdown() as u8,
    }
}

/// How long nothing was sent or received, where that is asked for: a command's
/// connections are judged when they end, and no snapshot may have been in time.
#[inline(always)]
fn idle_ms(sk: &Sock, new: u16) -> u32 {
    let ends = new == tcp::FIN_WAIT1 || new == tcp::LAST_ACK || new == tcp::CLOSE;
    if ends && knob!(filter.tree) != 0 {
        sk.idle_ms()
    } else {
        NO_IDLE
    }
}

/// Filters do not matter: a snapshot may list the socket under any of them.
#[inline(always)]
fn tell_join(sk: &Sock) {
    sk.forget_mptcp();
    emit(&JoinRecord {
        header: task::header(kind::JOIN, sk.name(), task::now()),
    });
}

/// The states that can end a connection, a bit for each.
const ENDS: u32 = 1 << tcp::FIN_WAIT1 | 1 << tcp::LAST_ACK | 1 << tcp::CLOSE;

/// How the application or the peer had a hand in it. Asked only of the
/// transitions that can end a connection.
#[inline(always)]
fn flags(sk: &Sock, new: u16) -> u32 {
    if (ENDS >> (new & 31)) & 1 == 0 {
        return 0;
    }
    // By bits: of a branch for each the verifier would follow every combination.
    bit(task::is_in(SHUTDOWN), flag::IN_SHUTDOWN)
        | bit(task::is_exiting(), flag::EXITING)
        | bit(sk.peer_done(), flag::PEER_DONE)
        | bit(sk.is_orphan(), flag::ORPHAN)
        | bit(sk.is_mptcp(), flag::SUBFLOW)
}

#[inline(always)]
fn bit(is_set: bool, flag: u32) -> u32 {
    u32::from(is_set) << flag.trailing_zeros()
}
