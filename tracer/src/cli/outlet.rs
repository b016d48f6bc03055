//! A writer on a thread of its own: a reader that stalls (a stopped pager, a full
//! pipe, a hung disk) stops neither the trace nor Ctrl-C.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use tokio::time::sleep;

/// Bytes that may wait for a stalled reader; what comes past that is dropped.
const MAX_WAITING: usize = 64 << 20;
/// A reader that takes nothing for this long after Ctrl-C is given up on.
const LAST_WAIT: Duration = Duration::from_secs(2);
/// Between two looks at whether it does.
const LOOK: Duration = Duration::from_millis(10);

/// The near end.
pub(super) struct Outlet {
    pages: Option<Sender<Vec<u8>>>,
    waiting: Arc<AtomicUsize>,
    writer: Option<JoinHandle<io::Result<()>>>,
}

impl Outlet {
    /// Writes to `out` from now on.
    pub(super) fn new(mut out: Box<dyn Write + Send>) -> Self {
        let (pages, arriving) = channel::<Vec<u8>>();
        let waiting = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&waiting);
        let writer = thread::spawn(move || {
            for page in arriving {
                out.write_all(&page)?;
                out.flush()?;
                left.fetch_sub(page.len(), Ordering::Relaxed);
            }
            Ok(())
        });
        Self {
            pages: Some(pages),
            waiting,
            writer: Some(writer),
        }
    }

    /// Hands a page on. False where it was dropped, because too much waits.
    ///
    /// # Errors
    /// Where the writer has failed: the reader has left, the disk is full.
    pub(super) fn push(&mut self, page: Vec<u8>) -> Result<bool> {
        let len = page.len();
        let waiting = self.waiting.load(Ordering::Relaxed);
        if waiting > 0 && waiting + len > MAX_WAITING {
            return Ok(false);
        }
        self.waiting.fetch_add(len, Ordering::Relaxed);
        let is_taken = self
            .pages
            .as_ref()
            .is_some_and(|pages| pages.send(page).is_ok());
        if !is_taken {
            self.join()?;
        }
        Ok(is_taken)
    }

    /// Waits until less waits than would be dropped.
    pub(super) async fn room(&self) {
        let is_stuck = || self.waiting.load(Ordering::Relaxed) > MAX_WAITING / 2;
        let is_writing = || self.writer.as_ref().is_some_and(|w| !w.is_finished());
        while is_stuck() && is_writing() {
            sleep(LOOK).await;
        }
    }

    /// Waits until all is written. Once the user wants to stop (`is_stopped`, or
    /// when `stop` is done) only as long as the reader takes something.
    ///
    /// # Errors
    /// Where the writer has failed, or the reader takes nothing any more.
    pub(super) async fn close(
        mut self,
        mut is_stopped: bool,
        stop: impl Future<Output = ()>,
    ) -> Result<()> {
        self.pages = None;
        let mut before = usize::MAX;
        let mut since = Instant::now();
        tokio::pin!(stop);
        while self
            .writer
            .as_ref()
            .is_some_and(|writer| !writer.is_finished())
        {
            let now = self.waiting.load(Ordering::Relaxed);
            if now != before {
                before = now;
                since = Instant::now();
            } else if is_stopped && since.elapsed() > LAST_WAIT {
                bail!("the reader takes no more: the last {now} bytes are not written");
            }
            tokio::select! {
                () = &mut stop, if !is_stopped => is_stopped = true,
                () = sleep(LOOK) => {}
            }
        }
        self.join()
    }

    fn join(&mut self) -> Result<()> {
        match self.writer.take().map(JoinHandle::join) {
            Some(Ok(written)) => Ok(written?),
            Some(Err(_)) => bail!("the writing thread ended early; please report this"),
            None => Ok(()),
        }
    }
}
