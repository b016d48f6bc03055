//! `tcpleak timeline`

use std::io::Write as _;

use anyhow::Result;
use tokio::time::sleep;

use super::{
    Outcome,
    args::TimelineArgs,
    interrupted,
    leaks::{self, CHECKPOINTS, NAMED_WITHIN},
    load_options,
    output::Sink,
    record,
    replay::{self, Listener},
    runtime, say_ready, selection,
};
use crate::{
    collector::{Attached, Collector},
    course::Course,
    model::timeline::Keeper,
    selection::Selection,
    store::{disk::Disk, replay::Replay},
    view,
};

impl Listener for Keeper {}

/// Watches, or reads a recording, and draws what each connection did.
pub(super) fn run(args: &TimelineArgs) -> Result<Outcome> {
    let mut sink = match &args.output {
        None => Sink::Stdout,
        Some(path) => Sink::file(path)?,
    };
    let mut perfetto = args.perfetto.as_deref().map(Sink::file).transpose()?;
    let from = args.recording.from.as_deref();
    let selection = selection(&args.selection, from.is_none())?;
    let mut keeper = Keeper::new(selection.clone());
    let course = match from {
        Some(path) => {
            let mut replay = Replay::open(path, args.recording.follow, selection)?;
            runtime()?.block_on(replay::tell(&mut replay, &args.recording, &mut keeper))?;
            replay.course
        }
        None => {
            let disk = record::beside(args.recording.record.as_deref())?;
            let attached = Attached::new(&load_options(&args.probe, &selection))?;
            runtime()?.block_on(watch(args, attached, selection, disk, &mut keeper))?
        }
    };
    let timeline = keeper.finish(&course, &leaks::report(&course));
    if let Some(sink) = &mut perfetto {
        let mut out = sink.writer()?;
        view::perfetto(&mut *out, &timeline)?;
        out.flush()?;
    }
    let style = sink.style();
    let mut out = sink.writer()?;
    view::timeline(&mut *out, &timeline, args.format, args.all, style)?;
    out.flush()?;
    Ok(Outcome::Fine)
}

async fn watch(
    args: &TimelineArgs,
    attached: Attached,
    selection: Selection,
    disk: Option<Disk>,
    keeper: &mut Keeper,
) -> Result<Course> {
    let interrupted = interrupted()?;
    let mut collector = Collector::new(attached, selection)?;
    if let Some(disk) = disk {
        collector.record(disk);
    }
    let end = async {
        say_ready();
        tokio::select! {
            () = sleep(args.watch) => {}
            () = interrupted => {}
        }
    };
    collector
        .watch(end, args.watch / CHECKPOINTS, keeper)
        .await?;
    collector.snapshot(keeper).await?;
    collector.finish(keeper).await?;
    collector.conclude(NAMED_WITHIN, keeper)?;
    collector.close_recording()?;
    Ok(collector.course)
}
