//! `tcpleak timeline`

use std::{
    future::pending,
    io::{self, Write},
    path::PathBuf,
};

use anyhow::{Result, bail};
use tracer_common::config::FOLD_NEVER;

use super::{
    Outcome,
    args::TimelineArgs,
    leaks, load_options,
    output::Sink,
    replay, runtime, selection,
    watch::{self, NAMED_WITHIN},
};
use crate::{
    collector::Attached,
    course::Course,
    model::timeline::Keeper,
    selection::Selection,
    store::{disk::Disk, replay::Replay},
    view::{self, Leads},
};

/// Watches, or reads a recording, and draws what each connection did.
pub(super) fn run(args: &TimelineArgs) -> Result<Outcome> {
    let mut sink = match &args.output {
        None => Sink::Stdout,
        Some(path) => Sink::file(path)?,
    };
    let beside = |path: &Option<PathBuf>| path.as_deref().map(Sink::file).transpose();
    let mut html = beside(&args.html)?;
    let mut svg = beside(&args.svg)?;
    let mut perfetto = beside(&args.perfetto)?;
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
            let attached = Attached::new(&load_options(&args.probe, &selection, FOLD_NEVER))?;
            let mut keeper = Keeper::new(selection.clone());
            let (course, recorded) =
                runtime()?.block_on(watch(args, attached, selection, disk, &mut keeper))?;
            (keeper, course, recorded)
        }
    };
    let report = leaks::report(&course);
    let mut timeline = keeper.finish(&course, &report);
    let (site, connection) = (args.site.as_deref(), args.connection.as_deref());
    timeline.keep(site, connection);
    if timeline.sites.is_empty() {
        none_such(site, connection)?;
    }
    // One that cannot be written takes nothing from the others.
    let page = |out: &mut dyn Write| view::page(out, &report, &timeline, Leads::Timeline);
    let files = [
        html.as_mut().map(|sink| sink.write(page)),
        svg.as_mut()
            .map(|sink| sink.write(|out| view::picture(out, &timeline))),
        perfetto
            .as_mut()
            .map(|sink| sink.write(|out| view::perfetto(out, &timeline))),
    ];
    let style = sink.style();
    sink.write(|out| view::timeline(out, &timeline, args.format, args.all, style))?;
    files.into_iter().flatten().collect::<io::Result<()>>()?;
    recorded.map(|()| Outcome::Fine)
}

/// Nothing is of that name: what to do.
fn none_such(site: Option<&str>, connection: Option<&str>) -> Result<()> {
    if let Some(id) = connection {
        bail!("no connection {id} was seen: `tcpleak ps --format json` gives the id of each");
    }
    if let Some(code) = site {
        bail!("no connection was opened by {code}: `tcpleak timeline` names the code of each");
    }
    Ok(())
}

/// What was watched, and how its recording came out, which takes nothing from the timeline.
async fn watch(
    args: &TimelineArgs,
    attached: Attached,
    selection: Selection,
    disk: Option<Disk>,
    keeper: &mut Keeper,
) -> Result<(Course, Result<()>)> {
    let mut collector = watch::begin(attached, selection, disk, &args.probe)?;
    watch::until(&mut collector, Some(args.watch), pending(), keeper).await?;
    collector.conclude(NAMED_WITHIN, keeper)?;
    let recorded = collector.close_recording();
    Ok((collector.course, recorded))
}
