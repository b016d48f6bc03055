//! `tcp_time_wait`: a mini-socket takes the place of the real one.

use tracer_common::event::{TimeWaitRecord, kind, phase};

use crate::{emit::emit, filter, fold::Fold, maps::knob, sock::Sock, task};

/// `sk` is about to be replaced by a mini-socket in `state`, TIME_WAIT or
/// FIN_WAIT2, which stays for `timeo` jiffies. Its transition to CLOSE follows.
#[inline(always)]
pub fn on_time_wait(sk: &Sock, state: i32, timeo: i32) {
    let sock = sk.known_name();
    if sock == 0 || !sk.is_users_tcp() {
        return;
    }
    let Some(addresses) = sk.addresses() else {
        return;
    };
    if !filter::wants(&addresses) || !filter::is_followed(sock) {
        return;
    }
    let ts_ns = task::now();
    let stays_ns = u64::from(timeo as u32) * u64::from(knob!(tick_ns));
    let stays_ms = (stays_ns / 1_000_000) as i32;
    if Fold::of(sock).is_some_and(|fold| fold.notes(ts_ns, phase::TIME_WAIT, state as u8, stays_ms))
    {
        return;
    }
    emit(&TimeWaitRecord {
        header: task::header(kind::TIME_WAIT, sock, ts_ns),
        stays_ns,
        state: state as u16,
        _pad: [0; 3],
    });
}
