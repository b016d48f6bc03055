//! How a connection ends. Pure.

use std::ops::{Deref, DerefMut};

use arrayvec::ArrayVec;

use crate::{
    clock::BootTime,
    table::connection::Linger,
    tcp::{ClosedBy, ResetBy, State},
};

/// The states that a connection enters after ESTABLISHED at most, without its self-loops:
/// FIN_WAIT1, CLOSING or FIN_WAIT2, TIME_WAIT, CLOSE; three to spare.
const FURTHER_STATES: usize = 7;

/// How a connection ended, as far as it has. It takes room once something is noted:
/// most connections that are followed are live.
#[derive(Clone, Debug, Default)]
pub struct End(Option<Box<Ended>>);

/// What is noted of an end.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    /// When the program let go: close, or exit.
    pub app_closed_at: Option<BootTime>,
    /// When it ended: CLOSE, or gone.
    pub at: Option<BootTime>,
    /// Who ended it first.
    pub by: Option<ClosedBy>,
    /// Whose RST it met; `None` if none was seen.
    pub reset_by: Option<ResetBy>,
    /// The errno it died of; 0 for none.
    pub error: i32,
    /// How long no payload had moved when its end began, in milliseconds; `None` where
    /// the kernel side did not tell.
    pub idle_ms: Option<u32>,
    /// What remains of it in the kernel.
    pub linger: Option<Linger>,
    /// When the kernel freed it, while that is not told yet: whose RST ended an orphan is
    /// heard after it.
    pub(in crate::table) freed_at: Option<BootTime>,
    /// The states that led there, after those of the beginning.
    pub(super) further: ArrayVec<(State, BootTime), FURTHER_STATES>,
}

impl Deref for End {
    type Target = Ended;

    fn deref(&self) -> &Ended {
        static NOT: Ended = Ended {
            app_closed_at: None,
            at: None,
            by: None,
            reset_by: None,
            error: 0,
            idle_ms: None,
            linger: None,
            freed_at: None,
            further: ArrayVec::new_const(),
        };
        self.0.as_deref().unwrap_or(&NOT)
    }
}

impl DerefMut for End {
    fn deref_mut(&mut self) -> &mut Ended {
        self.0.get_or_insert_default()
    }
}
