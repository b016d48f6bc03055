//! `tcpleak record`

use std::time::Duration;

use anyhow::Result;
use bytesize::ByteSize;
use tokio::time::sleep;
use tracer_common::config::FOLD_ABOVE;

use super::{
    Outcome,
    args::RecordArgs,
    load_options,
    progress::Progress,
    runtime, say, selection,
    watch::{self, NAMED_WITHIN},
};
use crate::{
    collector::Attached,
    store::disk::{Disk, Place},
};

/// Between two looks at whether the file is as large as it may be.
const LOOK: Duration = Duration::from_millis(200);

/// Records until the time is up, the file is full, or Ctrl-C.
pub(super) fn run(args: &RecordArgs) -> Result<Outcome> {
    let selection = selection(&args.selection, true)?;
    let disk = Disk::open(Place {
        path: args.output.clone(),
        max_size: args.max_size,
        rotate: args.rotate.map(usize::from),
    })?;
    let attached = Attached::new(&load_options(&args.probe, &selection, FOLD_ABOVE))?;
    runtime()?.block_on(async {
        let state = disk.state();
        let mut collector = watch::begin(attached, selection, Some(disk), &args.probe)?;
        let mut progress = Progress::new(args.watch, collector.course.setup.from);
        let is_full = async {
            while !state.is_full() {
                sleep(LOOK).await;
            }
        };
        watch::until(&mut collector, args.watch, is_full, &mut progress).await?;
        progress.finish();
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
