//! What is still held is live, however the connection itself came to its end, and
//! belongs to the process, whatever its threads are called.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result};

use crate::support::{
    Program, Tcpleak,
    report::{fds, group_of, list, numbers},
    tcpleak,
};

/// Connections that each program forgets.
const FORGOTTEN: usize = 6;

/// So long after its end a connection that is held is judged.
const JUDGED: Duration = Duration::from_secs(7);

#[test]
fn sockets_that_are_held_after_their_end_are_found() -> Result<()> {
    let tcpleak = Tcpleak::watching("leaks --for 10m --format json")?;
    let start = |name| Program::start(name, &FORGOTTEN.to_string());
    let threads = start("threads")?;
    let last_ack = start("last_ack")?;
    let duplicated = start("duplicated")?;
    let fds = numbers(&threads.hear()?, "fds")?;
    last_ack.hear()?;
    duplicated.hear()?;
    let report = tcpleak.interrupt_after(JUDGED)?.json()?;

    // Threads have names of their own; the process is one site all the same.
    let group = group_of(&report, threads.pid(), "client")?;
    assert_eq!(group["verdict"]["code"], "missing-close", "{group}");
    assert_eq!(group["live"], FORGOTTEN, "{group}");
    assert_eq!(crate::support::report::fds(group)?, fds);

    // The peer's last segment ends the connection, not the fd.
    let group = group_of(&report, last_ack.pid(), "server")?;
    assert_eq!(group["verdict"]["class"], "leak", "{group}");
    assert_eq!(group["live"], FORGOTTEN, "{group}");

    // The fd that connect(2) was seen with is closed, another one is left.
    let group = group_of(&report, duplicated.pid(), "client")?;
    assert_eq!(group["verdict"]["code"], "dead-fd", "{group}");
    assert_eq!(group["live"], FORGOTTEN, "{group}");
    Ok(())
}

#[test]
fn dead_sockets_that_were_held_before_the_start_are_found() -> Result<()> {
    let dead = Program::start("dead_fds", "5 read")?;
    let held = numbers(&dead.hear()?, "fds")?;

    // `ss` shows none of them.
    let ps = tcpleak::run(&format!("ps --pid {} --format json", dead.pid()))?.json()?;
    let closed = list(&ps, "connections")?.iter();
    let closed: Vec<_> = closed.filter(|c| c["state"] == "CLOSE").collect();
    let listed: BTreeSet<_> = closed.iter().map(|c| c["fd"].as_i64()).collect();
    assert_eq!(listed, held.iter().copied().map(Some).collect(), "{ps}");

    let report = tcpleak::run("leaks --for 4s --format json")?.json()?;
    let group = group_of(&report, dead.pid(), "client")?;
    assert_eq!(group["verdict"]["code"], "dead-fd", "{group}");
    assert_eq!(fds(group)?, held);
    let first = list(group, "connections")?.first().context("none")?;
    assert_eq!(first["known"], "inherited", "{first}");
    assert_eq!(first["remote"], group["remote"], "{first}");
    let ids: BTreeSet<_> = closed.iter().map(|c| c["id"].as_str()).collect();
    assert!(ids.contains(&first["id"].as_str()), "one name in both");
    Ok(())
}
