//! `tcpleak check`: runs a command and fails if it leaks.

use std::{cell::Cell, env, future, pin::pin, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tracer_common::config::FOLD_NEVER;

use super::{
    Outcome,
    args::{CheckArgs, HeldArgs, Switch},
    is_closed_pipe, load_options,
    output::Sink,
    runtime,
    watch::NAMED_WITHIN,
};
use crate::{
    check::{
        assemble::{self, Names, Terms},
        ledger::Ledger,
        python::Recorded,
        report::{Ended, Run},
    },
    clock::BootTime,
    collector::{Attached, Collector},
    course::{Course, Observer, shed::Shed},
    load,
    model::untrusted::Untrusted,
    selection::Selection,
    table::{Change, connection::Connection},
    view,
};

mod child;
mod python;

use child::{Held, Running};
use python::Python;

/// Points on the curve of each site, which nothing here looks at.
const CHECKPOINT: Duration = Duration::from_secs(3600);

/// The child's side: see [`child`].
pub(super) fn held(args: &HeldArgs) -> Result<Outcome> {
    child::become_command(args).map(|()| Outcome::Failed)
}

/// Runs, judges, reports.
pub(super) fn run(args: &CheckArgs) -> Result<Outcome> {
    let mut sink = match &args.output {
        None => Sink::Stderr,
        Some(path) => Sink::file(path)?,
    };
    let runtime = runtime()?;
    // From here on no signal ends us before what is begun is put away.
    let signals = runtime.block_on(async { Signals::new() })?;
    let python = match args.probe.stacks {
        Switch::On => Some(Python::new()?),
        Switch::Off => None,
    };
    // Before anything changes what it would inherit: privileges, limits, threads.
    let held = Held::start(&args.command, |command| {
        if let Some(python) = &python {
            python.equip(command);
        }
    })?;
    let selection = Selection {
        tree: true,
        ..Selection::default()
    };
    let options = load::Options {
        prompt: true,
        ..load_options(&args.probe, &selection, FOLD_NEVER)
    };
    let attached = Attached::new(&options)?;
    let watch = watch(args, attached, selection, held, python, signals);
    let run = runtime.block_on(watch)?;

    let outcome = match run.fails() {
        true => Outcome::Leaks,
        false => Outcome::Passed(run.ended.code()),
    };
    let mut write = || -> Result<()> {
        let mut out = sink.writer()?;
        view::check(&mut *out, &run, args.format, sink.style(), args.verbose)?;
        Ok(out.flush()?)
    };
    // A reader that leaves early does not change what was found.
    match write() {
        Err(error) if is_closed_pipe(&error) => Ok(outcome),
        written => written.map(|()| outcome),
    }
}

/// Keeps the ledger.
struct Keeper(Ledger);

impl Observer for Keeper {
    fn change(&mut self, change: Change, _: BootTime, connection: &Connection) -> Result<()> {
        self.0.change(change, connection);
        Ok(())
    }

    fn exit(&mut self, at: BootTime, pid: u32) {
        self.0.exit(at, pid);
    }
}

async fn watch(
    args: &CheckArgs,
    attached: Attached,
    selection: Selection,
    held: Held,
    python: Option<Python>,
    mut signals: Signals,
) -> Result<Run> {
    let mut collector = Collector::new(attached, selection)?;
    // By transitions it tells for how long a peer had hung up.
    collector.govern(args.probe.max_overhead, Shed::Stacks);
    collector.follow_tree(held.pid())?;
    let mut keeper = Keeper(Ledger::default());
    let is_released = Cell::new(false);
    let mut command = pin!(async {
        ensure!(
            !signals.are_to_end().await,
            "ended by a signal before the command began: nothing was run"
        );
        is_released.set(true);
        let running = held.release()?;
        signals.attend(running).await
    });
    // It starts when this is first waited for: once all that was there is known.
    let mut outcome = None;
    let end = async { outcome = Some((&mut command).await) };
    let watched = collector.watch(end, CHECKPOINT, &mut keeper).await;
    let ended = match outcome {
        Some(outcome) => outcome?,
        // A trace that fails is no reason to end it.
        None if is_released.get() => command.await?,
        None => return Err(watched.err().context("the watch ended early")?),
    };
    watched.context("the command ran, and was not traced to its end")?;
    collector.snapshot(&mut keeper).await?;
    let tree = collector.tree()?;
    collector.finish(&mut keeper).await?;
    collector.conclude(NAMED_WITHIN, &mut keeper)?;
    let course = &collector.course;
    keeper
        .0
        .finish(&course.table, course.now(), |pid| tree.contains(&pid));
    let python = python.map_or_else(Recorded::default, |python| python.read());
    keeper.0.settle(|pid| python.exit(pid));
    Ok(report(args, course, &keeper.0, ended, &python))
}

fn report(
    args: &CheckArgs,
    course: &Course,
    ledger: &Ledger,
    ended: Ended,
    python: &Recorded,
) -> Run {
    let setup = &course.setup;
    let frames_of = |stack| course.frames(stack).frames;
    let names = Names {
        frames_of: &frames_of,
        python,
    };
    let terms = Terms {
        grace: args.grace,
        strict: args.strict,
        allow: &args.allow,
    };
    let findings = assemble::findings(ledger, &names, terms, &setup.clock);
    let words = args.command.iter();
    let words = words.map(|word| Untrusted::from_bytes(word.as_encoded_bytes()));
    Run {
        host: setup.host.clone(),
        kernel: setup.kernel.clone(),
        plan: setup.plan.name(),
        blind: course.blind(),
        folder: env::current_dir()
            .ok()
            .map(|folder| Untrusted::from_bytes(folder.as_os_str().as_encoded_bytes())),
        command: words.collect(),
        ended,
        window: (setup.clock.at(setup.from), setup.clock.at(course.now())),
        grace_ms: u64::try_from(args.grace.as_millis()).unwrap_or(u64::MAX),
        strict: args.strict,
        loss: course.loss(),
        counts: assemble::counts(ledger, &findings),
        findings,
    }
}

/// What may come while the command runs.
struct Signals {
    child: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    quit: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot handle signals");
        Ok(Self {
            child: listen(SignalKind::child())?,
            interrupt: listen(SignalKind::interrupt())?,
            quit: listen(SignalKind::quit())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// Whether one of those that end a program has come by now.
    async fn are_to_end(&mut self) -> bool {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => true,
            _ = self.quit.recv() => true,
            _ = self.terminate.recv() => true,
            _ = self.hang_up.recv() => true,
            () = future::ready(()) => false,
        }
    }

    /// Waits until the command has ended. What the terminal sends (Ctrl-C) it gets
    /// itself; what was sent to us alone is passed on.
    async fn attend(mut self, mut running: Running) -> Result<Ended> {
        loop {
            if let Some(ended) = running.ended()? {
                return Ok(ended);
            }
            tokio::select! {
                _ = self.child.recv() => {}
                _ = self.interrupt.recv() => {}
                _ = self.quit.recv() => {}
                _ = self.terminate.recv() => running.signal(Signal::SIGTERM),
                _ = self.hang_up.recv() => running.signal(Signal::SIGHUP),
            }
        }
    }
}
