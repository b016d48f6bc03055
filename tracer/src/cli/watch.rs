//! What the commands that watch have in common: until when, and what is recorded.

use std::{cell::Cell, future::pending, path::Path, sync::Arc, time::Duration};

use anyhow::Result;
use tokio::time::sleep;

use super::{args::ProbeArgs, interrupted, say, say_ready};
use crate::{
    collector::{Attached, Collector},
    course::{Observer, shed::Shed},
    selection::Selection,
    store::disk::{Disk, Place, State},
};

/// Points on each site's curve over a watch: enough for two halves with a trend.
const CHECKPOINTS: u32 = 32;

/// Where nobody knows how long it will last, they are as far apart as in a watch of
/// this length.
const USUAL: Duration = Duration::from_secs(60);

/// How long a report waits for the last call stacks to be named.
pub(super) const NAMED_WITHIN: Duration = Duration::from_secs(10);

/// Between two looks at whether all that is recorded is written.
const LOOK: Duration = Duration::from_millis(200);

/// The recording that `--record` names, opened: before privileges are dropped, as it may
/// need them.
pub(super) fn beside(path: Option<&Path>) -> Result<Option<Disk>> {
    let place = |path: &Path| Place {
        path: path.to_owned(),
        max_size: None,
        rotate: None,
    };
    path.map(|path| Disk::open(place(path))).transpose()
}

/// Begins to read; what it learns is kept on `disk`, too. Within a runtime.
pub(super) fn begin(
    attached: Attached,
    selection: Selection,
    disk: Option<Disk>,
    probe: &ProbeArgs,
) -> Result<Collector> {
    let mut collector = Collector::new(attached, selection)?;
    collector.govern(probe.max_overhead, Shed::Transitions);
    if let Some(disk) = disk {
        tokio::spawn(say_what_is_missing(disk.state()));
        collector.record(disk);
    }
    Ok(collector)
}

/// Says that a recording lacks something as soon as it does: the end, which says so
/// again with the count, may be hours away.
async fn say_what_is_missing(state: Arc<State>) {
    let trouble = loop {
        match state.trouble() {
            Some(trouble) => break trouble,
            None => sleep(LOOK).await,
        }
    };
    say(&format!(
        "the recording is not whole from now on: {trouble}; watching goes on, and what fits is \
         still written"
    ));
}

/// Follows events for so long, until Ctrl-C, or until `end`; then what is left of them.
/// Returns whether it was Ctrl-C.
pub(super) async fn until(
    collector: &mut Collector,
    span: Option<Duration>,
    end: impl Future<Output = ()>,
    observer: &mut impl Observer,
) -> Result<bool> {
    let interrupted = interrupted()?;
    let is_stopped = Cell::new(false);
    let end = async {
        say_ready();
        let is_up = async {
            match span {
                Some(span) => sleep(span).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = is_up => {}
            () = end => {}
            () = interrupted => is_stopped.set(true),
        }
    };
    let checkpoint = span.unwrap_or(USUAL) / CHECKPOINTS;
    collector.watch(end, checkpoint, observer).await?;
    collector.snapshot(observer).await?;
    collector.finish(observer).await?;
    Ok(is_stopped.get())
}
