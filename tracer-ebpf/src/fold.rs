//! Connections that are opened by the thousand are told in one record each.
//!
//! What happens to one in its first second is kept in a map, and written once it has
//! ended, or with the first transition after that second. User space reads the map for
//! those to which nothing happens, and takes out old ones that it has told.
//!
//! A record is handed on by whoever takes its entry out, so it comes once. Young entries
//! are taken out by hooks that run with the socket locked, and written to by these and by
//! accept, connect and close, which look whether they came in time. Old ones are not
//! written to. The memory of an entry that is taken out becomes another's: an entry is of
//! this socket only while its header says so.

use core::{
    intrinsics::{AtomicOrdering, atomic_xadd},
    ptr::{read_volatile, write_volatile},
};

use tracer_common::{
    config::{FOLD_LEFT_NS, FOLD_NEVER, FOLD_NS, FOLD_WINDOW_SHIFT},
    event::{
        Addresses, COMM_LEN, Figures, FoldRecord, Header, NO_CHAIN, NO_FD, NO_STACK, OpenRecord,
        PHASES, Phase, is_freed_with, kind, opened,
    },
};

use crate::{
    emit::{emit_if, meter},
    maps::{BIRTHS, BLANKS, FOLDS, knob},
    sock::{Sock, tcp},
    stack::Stack,
    turn::{Turn, note_end},
};

/// There is no such entry: include/uapi/asm-generic/errno-base.h
const ENOENT: i32 = 2;

/// Who takes a socket, and by what.
pub struct Taker {
    pub header: Header,
    pub fd: i32,
    pub comm: [u8; COMM_LEN],
    pub stack: Stack,
}

/// A connection that is folded.
#[derive(Clone, Copy)]
pub struct Fold {
    sock: u64,
    at: *mut FoldRecord,
}

impl Fold {
    /// That of a socket, if it is folded.
    #[inline(always)]
    pub fn of(sock: u64) -> Option<Self> {
        if knob!(fold_above) == FOLD_NEVER || sock == 0 {
            return None;
        }
        let at = FOLDS.get_ptr_mut(sock)?;
        // SAFETY: the entry is aligned, and lives as long as the map.
        (unsafe { read_volatile(&raw const (*at).is_told) } == 0).then_some(Self { sock, at })
    }

    /// Takes in a transition, and writes all where it ends the connection. False where the
    /// caller is to tell it: then all that was before is written.
    #[inline(always)]
    pub fn adds_transition(self, sk: &Sock, phase: Phase) -> bool {
        if !self.is_there() {
            return false;
        }
        // The port is chosen after SYN_SENT is announced, and taken away before the last CLOSE.
        // SAFETY: the socket is locked by whoever changes its state.
        let fold = unsafe { &mut *self.at };
        if fold.addresses.local_port == 0 && self.age(phase.ts_ns) < FOLD_LEFT_NS {
            fold.addresses.local_port = sk.local_port();
        }
        if !self.adds(phase) {
            return false;
        }
        if u16::from(phase.new) == tcp::CLOSE {
            fold.figures = sk.figures();
            let is_written = self.tell(phase.ts_ns);
            if is_written && is_freed_with(u32::from(phase.flags), phase.value) {
                note_end(sk);
            }
        }
        meter(phase.ts_ns);
        true
    }

    /// Takes in what happened, where it is there. False where the caller is to tell it.
    #[inline(always)]
    fn adds(self, phase: Phase) -> bool {
        // SAFETY: as in `adds_transition`.
        let fold = unsafe { &mut *self.at };
        let count = usize::from(fold.count);
        if self.age(phase.ts_ns) >= FOLD_NS || count >= PHASES || u16::from(phase.old) == tcp::CLOSE
        {
            self.tell(phase.ts_ns);
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
        let phase = Phase {
            ts_ns,
            value,
            old: what,
            new,
            flags: 0,
            shutdown: 0,
        };
        self.is_there() && self.adds(phase)
    }

    /// How long it has been folded, in nanoseconds.
    #[inline(always)]
    fn age(self, now: u64) -> u64 {
        // SAFETY: the entry is aligned, and its memory lives as long as the map.
        now.wrapping_sub(unsafe { (*self.at).header.ts_ns })
    }

    /// Writes what there is, and folds no more. Returns whether it was written.
    #[inline(always)]
    fn tell(self, now: u64) -> bool {
        if self.age(now) < FOLD_LEFT_NS {
            // SAFETY: as in `age`.
            unsafe { write_volatile(&raw mut (*self.at).is_told, 1) };
        }
        // Where it is there still, as the kernel did not get hold of its bucket, nobody else
        // tells it.
        emit_if(self.at, || FOLDS.remove(self.sock).err() != Some(-ENOENT))
    }

    /// Whether the entry is this socket's still, and not told. Taken out and used anew since
    /// it was looked up, it is not.
    #[inline(always)]
    fn is_there(self) -> bool {
        // SAFETY: as in `age`.
        unsafe {
            read_volatile(&raw const (*self.at).header.sock) == self.sock
                && read_volatile(&raw const (*self.at).is_told) == 0
        }
    }

    /// Whether it may be written to. One that is too old is told, and the caller tells the
    /// rest.
    #[inline(always)]
    fn takes(self, now: u64) -> bool {
        if !self.is_there() {
            return false;
        }
        let is_left = self.age(now) >= FOLD_LEFT_NS;
        if is_left {
            self.tell(now);
        }
        !is_left
    }

    /// Says when something happened, as the last thing of it. Returns whether that came in
    /// time: otherwise it is told once more.
    #[inline(always)]
    fn dates(self, at: *mut u64, ts_ns: u64) -> bool {
        // SAFETY: it is a field of the entry, which is 0 until then. In one step that no
        // later read overtakes: who tells the entry marks it first, and then copies it.
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(at, ts_ns) };
        self.is_there()
    }

    /// Takes in that connect(2) has returned. False where the caller is to tell it.
    #[inline(always)]
    pub fn connect_returned(self, ts_ns: u64, ret: i32, latency_ns: u64) -> bool {
        if !self.takes(ts_ns) {
            return false;
        }
        let us = latency_ns / 1_000;
        let latency_us = if us > u64::from(u32::MAX) {
            u32::MAX
        } else {
            us as u32
        };
        // SAFETY: the entry lives as long as the map, and this is the only hook that
        // writes these; in this order, so that what is said to be there is.
        unsafe {
            write_volatile(&raw mut (*self.at).ret, ret);
            write_volatile(&raw mut (*self.at).latency_us, latency_us);
            write_volatile(&raw mut (*self.at).opened, opened::AND_RETURNED);
        }
        self.is_there()
    }

    /// Takes in who accepted it, and its fd where that comes apart. False where somebody
    /// else has before, or it is left.
    #[inline(always)]
    pub fn adds_accept(self, taker: &Taker) -> bool {
        if !self.takes(taker.header.ts_ns) {
            return false;
        }
        // SAFETY: as in `connect_returned`.
        let fold = unsafe { &mut *self.at };
        if fold.opened != opened::NOT {
            return false;
        }
        if fold.accepted_ns != 0 {
            let is_rest = fold.fd == NO_FD && fold.header.tid == taker.header.tid;
            if is_rest {
                fold.fd = taker.fd;
            }
            return is_rest && self.is_there();
        }
        fold.header.pid = taker.header.pid;
        fold.header.tid = taker.header.tid;
        fold.header.uid = taker.header.uid;
        fold.fd = taker.fd;
        fold.comm = taker.comm;
        fold.stack = taker.stack.place;
        fold.chain = taker.stack.chain;
        let is_in_time = self.dates(&raw mut fold.accepted_ns, taker.header.ts_ns);
        meter(taker.header.ts_ns);
        is_in_time
    }

    /// Takes in that the last program has let go. False where the caller is to tell it.
    #[inline(always)]
    pub fn adds_close(self, ts_ns: u64, flags: u32) -> bool {
        if !self.takes(ts_ns) {
            return false;
        }
        // SAFETY: as in `connect_returned`.
        unsafe {
            if (*self.at).closed_ns != 0 {
                return false;
            }
            write_volatile(&raw mut (*self.at).closed_flags, flags as u8);
            self.dates(&raw mut (*self.at).closed_ns, ts_ns)
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
    // SAFETY: the entry is this CPU's and this program's own, which a task runs here.
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
    let Some(blank) = BLANKS.get_ptr_mut(turn as u32 + 2) else {
        return false;
    };
    // SAFETY: as in `begins_with_open`; mostly in a softirq, and those do not nest.
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
