//! However it is stopped, `tcpleak` leaves nothing in the kernel, and tells what
//! it has seen if it still can.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    process::Command,
};

use anyhow::{Context, Result};
use nix::{
    sys::{signal::Signal, stat::Mode},
    unistd::mkfifo,
};
use serde_json::Value;

use crate::support::{
    Program, Tcpleak,
    net::free_port,
    process::output,
    report::{group_of, groups_of},
    temp::TempDir,
    wait_for,
};

/// What `tcpleak` puts into the kernel, as `bpftool` calls it.
const KINDS: [&str; 3] = ["prog", "map", "link"];

/// Ids by kind.
type Loaded = BTreeMap<&'static str, BTreeSet<u64>>;

#[test]
fn ctrl_c_reports_at_once_and_leaves_nothing() -> Result<()> {
    reports_and_leaves_nothing(Signal::SIGINT)
}

#[test]
fn termination_reports_at_once_and_leaves_nothing() -> Result<()> {
    reports_and_leaves_nothing(Signal::SIGTERM)
}

#[test]
fn killed_it_leaves_nothing() -> Result<()> {
    let tcpleak = Tcpleak::watching("leaks --for 60s --format json")?;
    let loaded = loaded_by(tcpleak.pid())?;
    tcpleak.signal(Signal::SIGKILL)?;
    let finished = tcpleak.finish()?;
    assert_eq!(finished.code, None);
    unloaded(&loaded)
}

fn reports_and_leaves_nothing(signal: Signal) -> Result<()> {
    let tcpleak = Tcpleak::watching("leaks --for 60s --format json")?;
    let loaded = loaded_by(tcpleak.pid())?;
    let holder = Program::start("zoo", "")?;
    holder.hear()?;
    tcpleak.signal(signal)?;
    let report = tcpleak.finish()?.json()?;
    assert_eq!(report["schema"], "tcpleak.leaks/1");
    let group = group_of(&report, holder.pid(), "listener");
    assert!(group.is_err(), "a listener is no connection: {report}");
    assert!(!groups_of(&report, holder.pid())?.is_empty(), "{report}");
    unloaded(&loaded)
}

/// Ids of the kernel objects that a process has open, by kind. From `fdinfo`:
/// not every bpftool can tell the holders.
fn loaded_by(pid: u32) -> Result<Loaded> {
    let mut loaded = Loaded::new();
    for fd in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // It opens and closes others meanwhile.
        let info = fs::read_to_string(fd?.path()).unwrap_or_default();
        let facts = info.lines().filter_map(|line| line.split_once(":\t"));
        for (name, value) in facts {
            if let Some(kind) = KINDS.into_iter().find(|kind| name == format!("{kind}_id")) {
                loaded.entry(kind).or_default().insert(value.parse()?);
            }
        }
    }
    for kind in KINDS {
        assert!(loaded.contains_key(kind), "no {kind} is loaded");
    }
    Ok(loaded)
}

/// Waits until none of these is there any more: the kernel frees them a moment
/// after the process has ended.
fn unloaded(loaded: &Loaded) -> Result<()> {
    for (kind, ids) in loaded {
        wait_for("the kernel to free what was loaded", || {
            let all: Value = serde_json::from_str(&bpftool(kind)?)?;
            let mut all = all.as_array().context("no list")?.iter();
            let left = all.any(|o| o["id"].as_u64().is_some_and(|id| ids.contains(&id)));
            Ok((!left).then_some(()))
        })?;
    }
    Ok(())
}

fn bpftool(kind: &str) -> Result<String> {
    output(Command::new("bpftool").args(["-j", kind, "list"]))
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
