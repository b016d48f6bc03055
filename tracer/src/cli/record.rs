//! `tcpleak record`

use std::{path::Path, time::Duration};

use anyhow::Result;
use bytesize::ByteSize;
use tokio::time::sleep;

use super::{
    Outcome,
    args::RecordArgs,
    interrupted,
    leaks::{CHECKPOINTS, NAMED_WITHIN},
    load_options,
    progress::Progress,
    runtime, say, say_ready, selection,
};
use crate::{
    collector::{Attached, Collector},
    store::disk::{Disk, Place},
};

/// Between two looks at whether the file is as large as it may be.
const LOOK: Duration = Duration::from_millis(200);

/// Points on the sites' curves are so far apart where nobody knows how long the trace
/// will last: as far as in a watch of `leaks` by default.
const CHECKPOINT: Duration = Duration::from_millis(60_000 / CHECKPOINTS as u64);

/// Records until the time is up, the file is full, or Ctrl-C.
pub(super) fn run(args: &RecordArgs) -> Result<Outcome> {
    let selection = selection(&args.selection, true)?;
    let disk = Disk::open(Place {
        path: args.output.clone(),
        max_size: args.max_size,
        rotate: args.rotate.map(usize::from),
    })?;
    let attached = Attached::new(&load_options(&args.probe, &selection))?;
    runtime()?.block_on(async {
        let interrupted = interrupted()?;
        let mut collector = Collector::new(attached, selection)?;
        let state = disk.state();
        collector.record(disk);
        let mut progress = Progress::new(args.watch, collector.course.setup.from);
        let end = async {
            say_ready();
            let is_up = async {
                match args.watch {
                    Some(watch) => sleep(watch).await,
                    None => std::future::pending().await,
                }
            };
            let is_full = async {
                while !state.is_full() {
                    sleep(LOOK).await;
                }
            };
            tokio::select! {
                () = is_up => {}
                () = is_full => {}
                () = interrupted => {}
            }
        };
        let checkpoint = args.watch.map_or(CHECKPOINT, |watch| watch / CHECKPOINTS);
        collector.watch(end, checkpoint, &mut progress).await?;
        progress.finish();
        collector.snapshot(&mut ()).await?;
        collector.finish(&mut ()).await?;
        collector.conclude(NAMED_WITHIN, &mut ())?;
        let closed = collector.close_recording();
        let loss = collector.course.loss();
        say(&format!(
            "{} connections, {} records made, {} delivered, {} records lost; {} written: \
             `tcpleak leaks --from {}`",
            collector.course.table.counters().seen,
            loss.events_generated,
            loss.events_delivered,
            loss.events_lost,
            ByteSize(state.written()),
            args.output.display()
        ));
        closed.map(|()| Outcome::Fine)
    })
}

/// The recording that `--record` names, opened; privileges may be needed for that.
pub(super) fn beside(path: Option<&Path>) -> Result<Option<Disk>> {
    let place = |path: &Path| Place {
        path: path.to_owned(),
        max_size: None,
        rotate: None,
    };
    path.map(|path| Disk::open(place(path))).transpose()
}
