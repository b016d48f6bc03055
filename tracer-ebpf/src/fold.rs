//! Connections that are opened by the thousand are told in one record each.
//!
//! What happens to one in its first second is kept in a map, and written once it has
//! ended, or with the first transition after that second. User space reads the map for
//! those to which nothing happens.
//!
//! Entries come and go by hooks that run with the socket locked, so nobody else's is
//! written to: but for accept, connect and close, which hold a reference to it.

use core::ptr::{read_volatile, write_volatile};

use tracer_common::{
    config::{FOLD_NEVER, FOLD_NS, FOLD_WINDOW_SHIFT},
    event::{
        Addresses, COMM_LEN, Figures, FoldRecord, Header, NO_CHAIN, NO_FD, NO_STACK, OpenRecord,
        PHASES, Phase, is_freed_with, kind, opened,
    },
};

use crate::{
    emit::{emit_part, meter},
    maps::{BIRTHS, BLANKS, FOLDS, knob},
    sock::{Sock, tcp},
    stack::Stack,
    turn::{Turn, note_end},
};

/// Who takes a socket, and by what.
pub struct Taker {
    pub header: Header,
    pub fd: i32,
    pub comm: [u8; COMM_LEN],
    pub stack: Stack,
}

/// A connection that is folded.
#[derive(Clone, Copy)]
pub struct Fold(*mut FoldRecord);

impl Fold {
    /// That of a socket, if it is folded.
    #[inline(always)]
    pub fn of(sock: u64) -> Option<Self> {
        if knob!(fold_above) == FOLD_NEVER || sock == 0 {
            return None;
        }
        let fold = FOLDS.get_ptr_mut(sock)?;
        // SAFETY: the entry is aligned, and lives as long as the map.
        (unsafe { read_volatile(&raw const (*fold).is_told) } == 0).then_some(Self(fold))
    }

    /// Takes in a transition, and writes all where it ends the connection. False where the
    /// caller is to tell it: then all that was before is written.
    #[inline(always)]
    pub fn adds_transition(self, sk: &Sock, phase: Phase) -> bool {
        // The port is chosen after SYN_SENT is announced, and taken away before the last CLOSE.
        // SAFETY: the socket is locked by whoever changes its state.
        let fold = unsafe { &mut *self.0 };
        if fold.addresses.local_port == 0 {
            fold.addresses.local_port = sk.local_port();
        }
        if !self.adds(phase) {
            return false;
        }
        if u16::from(phase.new) == tcp::CLOSE {
            fold.figures = sk.figures();
            let is_written = self.tell();
            if is_written && is_freed_with(u32::from(phase.flags), phase.value) {
                note_end(sk);
            }
        }
        meter(phase.ts_ns);
        true
    }

    /// Takes in what happened. False where the caller is to tell it.
    #[inline(always)]
    fn adds(self, phase: Phase) -> bool {
        // SAFETY: as in `adds_transition`.
        let fold = unsafe { &mut *self.0 };
        let count = usize::from(fold.count);
        let is_young = phase.ts_ns.wrapping_sub(fold.header.ts_ns) < FOLD_NS;
        if !is_young || count >= PHASES || u16::from(phase.old) == tcp::CLOSE {
            self.tell();
            return false;
        }
        // SAFETY: as above; `count` is within. Volatile: who reads the map sees the phase
        // before the count.
        unsafe {
            write_volatile((&raw mut fold.phases).cast::<Phase>().add(count), phase);
            write_volatile(&raw mut fold.count, count as u8 + 1);
        }
        true
    }

    /// Takes in what is no transition: `what` is one of [`tracer_common::event::phase`].
    /// False where the caller is to tell it.
    #[inline(always)]
    pub fn notes(self, ts_ns: u64, what: u8, new: u8, value: i32) -> bool {
        self.adds(Phase {
            ts_ns,
            value,
            old: what,
            new,
            flags: 0,
            shutdown: 0,
        })
    }

    /// Writes what there is, and folds no more. Returns whether it was written.
    #[inline(always)]
    fn tell(self) -> bool {
        // SAFETY: as in `adds_transition`.
        let (sock, is_written) = unsafe {
            write_volatile(&raw mut (*self.0).is_told, 1);
            let is_written = emit_part(self.0.cast_const(), size_of::<FoldRecord>() as u64);
            ((*self.0).header.sock, is_written)
        };
        let _ = FOLDS.remove(sock);
        is_written
    }

    /// Takes in that connect(2) has returned.
    #[inline(always)]
    pub fn connect_returned(self, ret: i32, latency_ns: u64) {
        // SAFETY: the entry lives as long as the map, and this is the only hook that
        // writes these.
        let fold = unsafe { &mut *self.0 };
        fold.ret = ret;
        let us = latency_ns / 1_000;
        fold.latency_us = if us > u64::from(u32::MAX) {
            u32::MAX
        } else {
            us as u32
        };
        // SAFETY: as above; after what it says is there.
        unsafe { write_volatile(&raw mut fold.opened, opened::AND_RETURNED) };
    }

    /// Takes in who accepted it. False where somebody has before.
    #[inline(always)]
    pub fn adds_accept(self, taker: &Taker) -> bool {
        // SAFETY: as in `connect_returned`.
        let fold = unsafe { &mut *self.0 };
        if fold.opened != opened::NOT || fold.accepted_ns != 0 {
            return false;
        }
        fold.header.pid = taker.header.pid;
        fold.header.tid = taker.header.tid;
        fold.header.uid = taker.header.uid;
        fold.fd = taker.fd;
        fold.comm = taker.comm;
        fold.stack = taker.stack.place;
        fold.chain = taker.stack.chain;
        // SAFETY: as above.
        unsafe { write_volatile(&raw mut fold.accepted_ns, taker.header.ts_ns) };
        meter(taker.header.ts_ns);
        // Written meanwhile, on another CPU: then it is told once more.
        // SAFETY: as above.
        unsafe { read_volatile(&raw const fold.is_told) == 0 }
    }

    /// Takes in that the last program has let go. False where the caller is to tell it.
    #[inline(always)]
    pub fn adds_close(self, ts_ns: u64, flags: u32) -> bool {
        // SAFETY: as in `connect_returned`.
        let fold = unsafe { &mut *self.0 };
        fold.closed_flags = flags as u8;
        // SAFETY: as above.
        unsafe {
            write_volatile(&raw mut fold.closed_ns, ts_ns);
            read_volatile(&raw const fold.is_told) == 0
        }
    }
}

/// A connection is opened: whether it is folded, since so many are. One of MPTCP, whose
/// sockets are the kernel's, is not: more is asked of it when it is accepted.
#[inline(always)]
pub fn is_due(sk: &Sock, now: u64) -> bool {
    if knob!(fold_above) == FOLD_NEVER {
        return false;
    }
    let Some(births) = BIRTHS.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: the entry is this CPU's own; another hook may come in between and count
    // one more or less.
    let births = unsafe { &mut *births };
    let window = (now >> FOLD_WINDOW_SHIFT) as u32;
    if births.window != window {
        let is_next = births.window.wrapping_add(1) == window;
        births.before = if is_next { births.count } else { 0 };
        births.count = 0;
        births.window = window;
    }
    births.count += 1;
    let most = if births.before > births.count {
        births.before
    } else {
        births.count
    };
    most > knob!(fold_above) && !sk.is_kernels()
}

/// Begins to fold a connection that a program opens. False where there is no room.
#[inline(always)]
pub fn begins_with_open(turn: Turn, open: &OpenRecord) -> bool {
    let Some(blank) = BLANKS.get_ptr_mut(turn as u32) else {
        return false;
    };
    // SAFETY: the entry is this CPU's and this program's own.
    let blank = unsafe { &mut *blank };
    clear(blank, &open.header, &open.addresses);
    blank.opened = opened::BY_CONNECT;
    blank.fd = open.fd;
    blank.comm = open.comm;
    blank.stack = open.stack;
    blank.chain = open.chain;
    let is_begun = FOLDS.insert(open.header.sock, &*blank, 0).is_ok();
    meter(open.header.ts_ns);
    is_begun
}

/// Begins to fold a connection that a peer opens, whose first transition is `phase`.
#[inline(always)]
pub fn begins_with_phase(turn: Turn, sock: u64, addresses: &Addresses, phase: Phase) -> bool {
    let Some(blank) = BLANKS.get_ptr_mut(turn as u32) else {
        return false;
    };
    // SAFETY: as in `begins_with_open`.
    let blank = unsafe { &mut *blank };
    let header = Header {
        ts_ns: phase.ts_ns,
        sock,
        kind: kind::FOLD,
        pid: 0,
        tid: 0,
        uid: 0,
    };
    clear(blank, &header, addresses);
    blank.phases[0] = phase;
    blank.count = 1;
    let is_begun = FOLDS.insert(sock, &*blank, 0).is_ok();
    meter(phase.ts_ns);
    is_begun
}

#[inline(always)]
fn clear(blank: &mut FoldRecord, header: &Header, addresses: &Addresses) {
    blank.header = *header;
    blank.header.kind = kind::FOLD;
    blank.addresses = *addresses;
    blank.chain = NO_CHAIN;
    blank.accepted_ns = 0;
    blank.closed_ns = 0;
    blank.figures = Figures::default();
    blank.fd = NO_FD;
    blank.comm = [0; COMM_LEN];
    blank.stack = NO_STACK;
    blank.ret = 0;
    blank.latency_us = 0;
    blank.opened = opened::NOT;
    blank.closed_flags = 0;
    blank.is_told = 0;
    blank.count = 0;
}
