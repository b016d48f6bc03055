//! What the commands that watch have in common: until when, and what is recorded.

use std::{cell::Cell, future::pending, path::Path, time::Duration};

use anyhow::Result;
use tokio::time::sleep;

use super::{args::ProbeArgs, interrupted, say_ready};
use crate::{
    collector::{Attached, Collector},
    course::{Observer, shed::Shed},
    selection::Selection,
    store::disk::{Disk, Place},
};

/// Points on each site's curve over a watch: enough for two halves with a trend.
const CHECKPOINTS: u32 = 32;

/// Where nobody knows how long it will last, they are as far apart as in a watch of
/// this length.
const USUAL: Duration = Duration::from_secs(60);

/// How long a report waits for the last call stacks to be named.
pub(super) const NAMED_WITHIN: Duration = Duration::from_secs(10);

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

/// Begins to read; what it learns is kept on `disk`, too.
pub(super) fn begin(
    attached: Attached,
    selection: Selection,
    disk: Option<Disk>,
    probe: &ProbeArgs,
) -> Result<Collector> {
    let mut collector = Collector::new(attached, selection)?;
    collector.govern(probe.max_overhead, Shed::Transitions);
    if let Some(disk) = disk {
        collector.record(disk);
    }
    Ok(collector)
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
