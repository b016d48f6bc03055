//! Processes that are gone, or may not be looked at, when their stacks are named: that
//! costs names, and nothing else.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result};

use super::{WATCH, frames, server, watched};
use crate::support::{
    Tcpleak,
    compiled::Compiled,
    report::{group_of, list},
    wait_for,
};

/// Killed after this many milliseconds more each: before its stack is read, while it
/// is unwound, and after it was named.
const STEPS: [u64; 12] = [0, 2, 5, 10, 15, 20, 30, 40, 50, 60, 80, 120];

#[test]
fn a_process_that_ends_while_it_is_looked_at() -> Result<()> {
    let (compiled, port) = (
        Compiled::c_with(&["-O2", "-fomit-frame-pointer"])?,
        server()?,
    );
    let (report, last) = watched(port, |_| {
        for step in STEPS {
            let mut client = compiled.start(&format!("{port} 200 twice"))?;
            client.begin()?;
            thread::sleep(Duration::from_millis(20 + step));
            // Kills it.
            drop(client);
        }
        let mut last = compiled.start(&format!("{port} 3 plain"))?;
        last.open()?;
        Ok(last)
    })?;
    assert_eq!(report["loss"]["events_lost"], 0, "{}", report["loss"]);
    let frames = frames(group_of(&report, last.pid(), "client")?)?;
    assert!(
        frames
            .iter()
            .any(|frame| frame.starts_with("main client.c:")),
        "{frames:?}"
    );
    Ok(())
}

#[test]
fn a_process_that_may_not_be_looked_at() -> Result<()> {
    let (compiled, port) = (
        Compiled::c_with(&["-O2", "-fomit-frame-pointer"])?,
        server()?,
    );
    // What another has that we lack, keeps us from its memory and what it has mapped.
    let wrapper = ["setpriv", "--bounding-set", "-sys_ptrace"].map(str::to_owned);
    let arguments = format!("leaks --for 10m --format json --port {port}");
    let tcpleak = Tcpleak::start_under(&wrapper, &arguments)?;
    wait_for("tcpleak to attach", || {
        Ok(tcpleak.is_attached().then_some(()))
    })?;
    let mut client = compiled.start(&format!("{port} 4 plain"))?;
    client.open()?;
    let report = tcpleak.interrupt_after(WATCH)?.json()?;
    let is_its = |group: &&serde_json::Value| group["role"] == "client" && group["opened"] == 4;
    let groups = list(&report, "groups")?;
    let group = groups.iter().find(is_its).context("no group")?;
    let frames = frames(group)?;
    assert!(
        !frames.is_empty() && frames.iter().all(|frame| frame == "unknown"),
        "{group}"
    );
    assert_eq!(group["site"]["cut_short"], true, "{group}");
    Ok(())
}
