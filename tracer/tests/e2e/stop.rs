//! However it is stopped, `tcpleak` leaves nothing in the kernel, and tells what
//! it has seen if it still can.

use std::fs::File;

use anyhow::Result;
use nix::{
    sys::{signal::Signal, stat::Mode},
    unistd::mkfifo,
};

use crate::support::{
    Program, Tcpleak,
    loaded::Loaded,
    net::free_port,
    report::{group_of, groups_of},
    temp::TempDir,
};

#[test]
fn ctrl_c_reports_at_once_and_leaves_nothing() -> Result<()> {
    reports_and_leaves_nothing(Signal::SIGINT)
}

#[test]
fn termination_reports_at_once_and_leaves_nothing() -> Result<()> {
    reports_and_leaves_nothing(Signal::SIGTERM)
}

fn reports_and_leaves_nothing(signal: Signal) -> Result<()> {
    let tcpleak = Tcpleak::watching("leaks --for 60s --format json")?;
    let loaded = Loaded::whole(tcpleak.pid())?;
    let holder = Program::start("zoo", "")?;
    holder.hear()?;
    tcpleak.signal(signal)?;
    let report = tcpleak.finish()?.json()?;
    assert_eq!(report["schema"], "tcpleak.leaks/1");
    let group = group_of(&report, holder.pid(), "listener");
    assert!(group.is_err(), "a listener is no connection: {report}");
    assert!(!groups_of(&report, holder.pid())?.is_empty(), "{report}");
    loaded.wait_freed()
}

/// A reader that takes nothing: tracing goes on beside it, and a signal ends it.
#[test]
fn a_stalled_reader_does_not_make_it_deaf() -> Result<()> {
    let dir = TempDir::new()?;
    let fifo = dir.path().join("fifo");
    mkfifo(&fifo, Mode::S_IRWXU)?;
    // Open for both, so that it never waits for the other end; never read.
    let stalled = File::options().read(true).write(true).open(&fifo)?;
    let port = free_port()?;
    let arguments = format!(
        "trace --port {port} --format jsonl --output {}",
        fifo.display()
    );
    let tcpleak = Tcpleak::watching(&arguments)?;
    // Some 700 bytes an event, 14 events a connection: far more than a pipe holds.
    let closers = Program::start("closers", &format!("{port} 200"))?;
    closers.hear()?;
    tcpleak.signal(Signal::SIGTERM)?;
    let finished = tcpleak.finish()?;
    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("the reader takes no more"),
        "{}",
        finished.stderr
    );
    drop(stalled);
    Ok(())
}
