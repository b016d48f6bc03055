//! `tcpleak timeline`

use std::{future::pending, io::Write as _};

use anyhow::Result;

use super::{
    Outcome,
    args::TimelineArgs,
    leaks, load_options,
    output::Sink,
    replay::{self, Listener},
    runtime, selection,
    watch::{self, NAMED_WITHIN},
};
use crate::{
    collector::Attached,
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
    let (keeper, course, recorded) = match from {
        Some(path) => {
            let mut replay = Replay::open(path, args.recording.follow, selection)?;
            let mut keeper = Keeper::new(replay.course.selection.clone());
            runtime()?.block_on(replay::tell(&mut replay, &args.recording, &mut keeper))?;
            (keeper, replay.course, Ok(()))
        }
        None => {
            let disk = watch::beside(args.recording.record.as_deref())?;
            let attached = Attached::new(&load_options(&args.probe, &selection))?;
            let mut keeper = Keeper::new(selection.clone());
            let (course, recorded) =
                runtime()?.block_on(watch(args, attached, selection, disk, &mut keeper))?;
            (keeper, course, recorded)
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
    recorded.map(|()| Outcome::Fine)
}

/// What was watched, and how its recording came out, which takes nothing from the timeline.
async fn watch(
    args: &TimelineArgs,
    attached: Attached,
    selection: Selection,
    disk: Option<Disk>,
    keeper: &mut Keeper,
) -> Result<(Course, Result<()>)> {
    let mut collector = watch::begin(attached, selection, disk)?;
    watch::until(&mut collector, Some(args.watch), pending(), keeper).await?;
    collector.conclude(NAMED_WITHIN, keeper)?;
    let recorded = collector.close_recording();
    Ok((collector.course, recorded))
}
