//! The live source: records from the kernel's ring buffer.

use std::{io, time::Duration};

use tokio::{
    io::{Interest, unix::AsyncFd},
    task::yield_now,
    time::timeout,
};

use crate::load::Ring;

/// How long records may wait when the kernel does not wake us: it does so only
/// when the ring fills, because a wake-up per record costs more than the record.
const TICK: Duration = Duration::from_millis(50);

/// Records handed on at once before other work gets a turn: also where all are told, and
/// the processor is slow, within a second or two.
const BATCH: usize = 2_048;

/// The ring as a source of records.
pub struct RingSource {
    ring: AsyncFd<Ring>,
    taken: u64,
    has_more: bool,
}

impl RingSource {
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// Where the ring cannot be polled.
    pub fn new(ring: Ring) -> io::Result<Self> {
        // SAFETY: the ring owns its fd and lends out the same one until it is
        // dropped, and `AsyncFd` deregisters before it drops the ring.
        #[allow(unsafe_code, reason = "tokio offers no safe form for a foreign fd")]
        let registered = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
        Ok(Self {
            ring: registered?,
            taken: 0,
            has_more: false,
        })
    }

    /// Waits until the kernel calls, or for one tick; not where more waits already.
    ///
    /// # Errors
    /// Where the ring cannot be polled.
    pub async fn wait(&mut self) -> io::Result<()> {
        if self.has_more {
            yield_now().await;
            return Ok(());
        }
        if let Ok(ready) = timeout(TICK, self.ring.readable_mut()).await {
            ready?.clear_ready();
        }
        Ok(())
    }

    /// Hands on the records that wait, a batch at most. Returns whether more wait.
    pub fn drain(&mut self, mut each: impl FnMut(&[u8])) -> bool {
        let ring = self.ring.get_mut();
        self.has_more = false;
        for _ in 0..BATCH {
            match ring.take() {
                Some(record) => {
                    self.taken += 1;
                    each(&record);
                }
                None => return false,
            }
        }
        self.has_more = true;
        true
    }

    /// Records handed on so far.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken
    }
}
