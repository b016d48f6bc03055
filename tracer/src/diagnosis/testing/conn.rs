//! Builds connections, in milliseconds before now.

use std::{net::SocketAddr, num::NonZeroU32};

use super::{NOW, ago};
use crate::{
    decode::{Comm, Ends, Owner},
    table::connection::{ConnId, Connection, Sample},
    tcp::{ClosedBy, Known, OwnerKnown, Role, State},
};

/// One connection in the making.
#[derive(Clone, Debug)]
pub(crate) struct Conn(pub(crate) Connection);

/// A connection in `state` for `ms`, opened 100 ms before that.
pub(crate) fn conn(state: State, ms: u64) -> Conn {
    let owner = Owner {
        pid: 123,
        tid: NonZeroU32::new(123),
        uid: 1000,
        comm: Comm::from(&b"\x1b[31mevil"[..]),
        fd: Some(7),
        stack: None,
    };
    let id = ConnId {
        sock: 1,
        generation: 0,
    };
    let ends = Ends {
        local: SocketAddr::from(([127, 0, 0, 1], 41_456)),
        remote: SocketAddr::from(([127, 0, 0, 1], 8_099)),
        netns: 1,
    };
    let mut conn = Connection::new(id, ends, Role::Client, state);
    conn.own(owner, OwnerKnown::Connect);
    conn.state_at = Some(ago(ms));
    conn.opened_at = Some(ago(ms + 100));
    conn.established_at = (state != State::SynSent).then(|| ago(ms + 99));
    conn.tx_bytes = 100;
    conn.rx_bytes = 200;
    conn.srtt_us = 50;
    conn.sample = Some(Sample {
        at: NOW,
        inode: 4_242,
        data_sent_ms: Some(ms + 60).into(),
        data_received_ms: Some(ms + 50).into(),
        ack_received_ms: Some(ms).into(),
        data_segments_out: 1,
        data_segments_in: 1,
        ..Sample::default()
    });
    Conn(conn)
}

/// One that the peer hung up `ms` ago, 30 s after the last exchange, which was
/// read: as in an idle pool.
pub(crate) fn close_wait(ms: u64) -> Conn {
    conn(State::CloseWait, ms)
        .recv_q(1)
        .moved(Some(ms + 30_010), Some(ms + 30_000))
        .opened(ms + 31_000)
}

/// An established one: opened `age` and used last `idle` ms ago.
pub(crate) fn established(age: u64, idle: u64) -> Conn {
    conn(State::Established, age.saturating_sub(1))
        .opened(age)
        .moved(Some(idle + 5), Some(idle))
}

/// One that ended in `by` `ms` ago and is held still, `idle` ms after its last use.
pub(crate) fn dead(by: ClosedBy, ms: u64, idle: u64) -> Conn {
    let mut conn = conn(State::Close, ms).opened(ms + idle + 1_000);
    conn.0.end.at = Some(ago(ms));
    conn.0.end.by = Some(by);
    conn.0.end.error = 104;
    if let Some(sample) = &mut conn.0.sample {
        *sample = Sample {
            at: ago(ms),
            data_sent_ms: Some(idle).into(),
            data_received_ms: Some(idle).into(),
            error_waits: true,
            ..*sample
        };
    }
    conn
}

/// A server's connection that nobody has accepted for `ms`.
pub(crate) fn unaccepted(ms: u64) -> Conn {
    let mut conn = conn(State::Established, ms)
        .opened(ms)
        .moved(None, Some(ms))
        .edit(|sample| {
            sample.inode = 0;
            sample.data_segments_out = 0;
        });
    conn.0.established_at = Some(ago(ms));
    conn.0.owner = None;
    conn.0.tx_bytes = 0;
    conn
}

impl Conn {
    pub(crate) fn edit(mut self, change: impl FnOnce(&mut Sample)) -> Self {
        if let Some(sample) = &mut self.0.sample {
            change(sample);
        }
        self
    }

    pub(crate) fn recv_q(self, bytes: u32) -> Self {
        self.edit(|sample| sample.recv_q = bytes)
    }

    /// When payload was last sent and received, in ms before the snapshot.
    pub(crate) fn moved(self, sent: Option<u64>, received: Option<u64>) -> Self {
        self.edit(|sample| {
            sample.data_sent_ms = sent.into();
            sample.data_received_ms = received.into();
        })
    }

    pub(crate) fn backoff(self, tries: u32) -> Self {
        self.edit(|sample| sample.backoff = tries)
    }

    pub(crate) fn opened(mut self, ms: u64) -> Self {
        self.0.opened_at = Some(ago(ms));
        self.0.established_at = Some(ago(ms.saturating_sub(1)));
        self
    }

    /// There before the trace, in the state that it still has.
    pub(crate) fn inherited(mut self) -> Self {
        self.0.known = Known::Inherited;
        self.0.opened_at = None;
        self.0.established_at = None;
        self.0.state_at = None;
        self
    }

    pub(crate) fn repaired(mut self) -> Self {
        self = self.inherited();
        self.0.known = Known::Repaired;
        self
    }

    pub(crate) fn unsampled(mut self) -> Self {
        self.0.sample = None;
        self
    }
}
