//! `tcpleak leaks`

use std::future::pending;

use anyhow::Result;
use tracer_common::config::{FOLD_ABOVE, FOLD_NEVER};

use super::{
    Outcome,
    args::{FailOn, LeaksArgs},
    interrupted, is_closed_pipe, load_options,
    outlet::Outlet,
    output::Sink,
    progress::Progress,
    replay, runtime, say, selection,
    watch::{self, NAMED_WITHIN},
};
use crate::{
    collector::Attached,
    course::Course,
    model::{
        assemble::{self, Moment},
        report::{GroupOwner, Leaks},
        timeline::Keeper,
    },
    selection::Selection,
    store::{disk::Disk, replay::Replay},
    table::site::{SiteKey, Tally},
    view::{self, Format, Leads, LeaksOptions},
};

/// Watches, judges, reports.
pub(super) fn run(args: &LeaksArgs) -> Result<Outcome> {
    let mut sink = Sink::open(&args.output)?;
    let mut html = args.html.as_deref().map(Sink::file).transpose()?;
    let from = args.recording.from.as_deref();
    let selection = selection(&args.selection, from.is_none())?;
    let keeper_of = |selection: &Selection| {
        let is_wanted = args.html.is_some();
        is_wanted.then(|| Keeper::new(selection.clone()))
    };
    let (runtime, keeper, course, flaws, recorded) = match from {
        Some(path) => {
            let mut replay = Replay::open(path, args.recording.follow, selection)?;
            let runtime = runtime()?;
            let mut keeper = keeper_of(&replay.course.selection);
            runtime.block_on(replay::tell(&mut replay, &args.recording, &mut keeper))?;
            let flaws = replay.flaws();
            (runtime, keeper, replay.course, flaws, Ok(()))
        }
        None => {
            let disk = watch::beside(args.recording.record.as_deref())?;
            // Who draws what happens wants it when it does.
            let fold_above = if html.is_none() {
                FOLD_ABOVE
            } else {
                FOLD_NEVER
            };
            let attached = Attached::new(&load_options(&args.probe, &selection, fold_above))?;
            let runtime = runtime()?;
            let keeper = keeper_of(&selection);
            let watched = runtime.block_on(watch(args, attached, selection, disk, keeper));
            let (keeper, course, recorded) = watched?;
            (runtime, keeper, course, Vec::new(), recorded)
        }
    };
    let mut report = report(&course);
    report.blind.extend(flaws);
    let page = match (&mut html, keeper) {
        (Some(sink), Some(keeper)) => {
            let timeline = keeper.finish(&course, &report);
            sink.write(|out| view::page(out, &report, &timeline, Leads::Findings))
        }
        _ => Ok(()),
    };

    let outcome = match args.fail_on {
        Some(FailOn::Leak) if report.summary.leaked > 0 => Outcome::Leaks,
        _ => Outcome::Fine,
    };
    // A reader that leaves early does not turn leaks into success.
    match runtime.block_on(write(args, &report, &mut sink)) {
        Err(error) if is_closed_pipe(&error) => {}
        written => written?,
    }
    page?;
    recorded.map(|()| outcome)
}

async fn write(args: &LeaksArgs, report: &Leaks, sink: &mut Sink) -> Result<()> {
    let mut page = Vec::new();
    let options = LeaksOptions {
        all: args.all,
        verbose: args.verbose,
    };
    view::leaks(&mut page, report, args.output.format, sink.style(), options)?;
    let mut outlet = Outlet::new(sink.writer()?);
    outlet.push(page)?;
    outlet.close(false, interrupted()?).await?;
    if matches!(args.output.format, Format::Jsonl | Format::Csv) {
        // Rows of groups and connections have no place for it.
        let loss = report.loss;
        say(&format!(
            "{} records lost, {} connections repaired",
            loss.events_lost, loss.repaired
        ));
    }
    Ok(())
}

/// What was watched, and how its recording came out, which takes nothing from the report.
async fn watch(
    args: &LeaksArgs,
    attached: Attached,
    selection: Selection,
    disk: Option<Disk>,
    keeper: Option<Keeper>,
) -> Result<(Option<Keeper>, Course, Result<()>)> {
    let mut collector = watch::begin(attached, selection, disk, &args.probe)?;
    let progress = Progress::new(Some(args.watch), collector.course.setup.from);
    let mut observers = (progress, keeper);
    watch::until(&mut collector, Some(args.watch), pending(), &mut observers).await?;
    let (progress, mut keeper) = observers;
    progress.finish();
    collector.conclude(NAMED_WITHIN, &mut keeper)?;
    let recorded = collector.close_recording();
    Ok((keeper, collector.course, recorded))
}

/// What a course comes to.
pub(super) fn report(course: &Course) -> Leaks {
    let setup = &course.setup;
    let selection = &course.selection;
    let now = course.now();
    let moment = Moment {
        from: setup.from,
        now,
        clock: &setup.clock,
    };
    let wants = |key: &SiteKey| {
        let process =
            (key.pid != 0 || !key.comm.bytes().is_empty()).then(|| (key.pid, key.comm.bytes()));
        let cgroup = course
            .owner(key.pid)
            .and_then(|owner| owner.cgroup.as_ref());
        (!selection.wants_owner() || selection.matches_process(process))
            && selection.matches_cgroup(cgroup)
    };
    let shows_all = !selection.wants_owner() && selection.cgroup.is_none();
    let owner_of = |key: &SiteKey, tally: &Tally| GroupOwner {
        pid: (key.pid != 0).then_some(key.pid),
        comm: assemble::comm_of(key),
        processes: tally.processes,
        ..course.owner(key.pid).cloned().unwrap_or_default()
    };
    let frames_of = |stack| course.frames(stack);
    let table = &course.table;
    let groups = assemble::groups(table, &course.host, moment, wants, owner_of, frames_of);
    Leaks {
        host: setup.host.clone(),
        kernel: setup.kernel.clone(),
        plan: setup.plan.name(),
        blind: course.blind(),
        window: (setup.clock.at(setup.from), setup.clock.at(now)),
        loss: course.loss(),
        summary: assemble::summary(table, &groups, shows_all),
        groups,
    }
}
