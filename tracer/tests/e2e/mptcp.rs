//! An MPTCP connection is one connection, however many subflows carry it.

use std::{collections::BTreeSet, process::Command};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::support::{
    Netns, Program, Tcpleak,
    net::ss_in,
    process::output,
    report::{fds, group_of, list},
    tcpleak, wait_for,
};

/// A namespace in which each MPTCP connection of 127.0.0.1 is joined by a subflow
/// of 127.0.0.2.
fn joining() -> Result<Netns> {
    let netns = Netns::new()?;
    let ip = |arguments: &str| {
        let arguments = arguments.split_whitespace();
        output(Command::new("ip").args(["-n", &netns.name]).args(arguments))
    };
    ip("addr add 127.0.0.2/8 dev lo")?;
    for settings in [
        "limits set subflows 2 add_addr_accepted 2",
        "endpoint add 127.0.0.2 dev lo subflow",
    ] {
        let mut mptcp = netns.command("ip");
        output(mptcp.arg("mptcp").args(settings.split_whitespace()))?;
    }
    Ok(netns)
}

/// Waits until the kernel shows both ends of two subflows.
fn wait_joined(netns: &Netns) -> Result<()> {
    wait_for("the second subflow", || {
        let open = ss_in(netns)?;
        let open = open.iter().filter(|socket| socket.state == "ESTABLISHED");
        Ok((open.count() == 4).then_some(()))
    })
}

#[test]
fn its_subflows_are_one_connection_from_first_to_last() -> Result<()> {
    let netns = joining()?;
    let arguments = format!("trace --netns {} --format jsonl", netns.name);
    let tcpleak = Tcpleak::watching(&arguments)?;
    let mut program = Program::start_in(&netns, "mptcp", "")?;
    let said = program.hear()?;
    wait_joined(&netns)?;
    let listed = tcpleak::run(&format!("ps --netns {} --format json", netns.name))?.json()?;
    let listed = list(&listed, "connections")?.iter();
    let ends = listed.filter(|socket| socket["role"] != "listener");
    assert_eq!(ends.count(), 2, "`ps` lists each end once");
    // A snapshot shows the subflows, too, and takes none of them for a connection.
    wait_for("a snapshot", || {
        let probe = program.ask("probe")?["probe"].clone();
        let is_seen = |e: &Value| e["local"] == probe && e["holders"].is_array();
        tcpleak.wait_line("the probe", |e| e["local"] == probe && e["event"] == "gone")?;
        Ok(tcpleak.lines()?.iter().any(is_seen).then_some(()))
    })?;
    program.ask("close")?;
    for role in ["client", "server"] {
        tcpleak.wait_line("its end", |event| {
            event["event"] == "gone" && event["role"] == role && event["opener_fd"] == said[role]
        })?;
    }
    let finished = tcpleak.interrupt()?;
    assert!(finished.repaired_nothing(), "{}", finished.stderr);
    let events = finished.lines()?;
    let port = format!(":{}", said["port"]);
    for (role, end, bytes) in [("client", "remote", 8), ("server", "local", 6)] {
        let is_it = |event: &&Value| {
            let at = event[end].as_str();
            event["role"] == role && at.is_some_and(|at| at.ends_with(&port))
        };
        let ids = events.iter().filter(is_it).map(|e| e["id"].as_str());
        let ids: BTreeSet<_> = ids.collect();
        assert_eq!(ids.len(), 1, "{role}: {events:#?}");
        let gone = events.iter().filter(is_it).find(|e| e["event"] == "gone");
        let gone = gone.context("it is not gone")?;
        assert_eq!(gone["opener_fd"], said[role], "{gone}");
        assert_eq!(gone["opener_pid"], program.pid(), "{gone}");
        // MPTCP sends again what a slow machine acknowledges late.
        assert!(gone["tx_bytes"].as_u64() >= Some(bytes), "{gone}");
    }
    Ok(())
}

#[test]
fn one_that_was_open_before_is_inherited_once() -> Result<()> {
    let netns = joining()?;
    let program = Program::start_in(&netns, "mptcp", "")?;
    let said = program.hear()?;
    wait_joined(&netns)?;
    let arguments = format!("leaks --netns {} --for 1s --format json", netns.name);
    let report = tcpleak::run(&arguments)?.json()?;
    assert_eq!(report["summary"]["live"], 2, "{report}");
    for role in ["client", "server"] {
        let group = group_of(&report, program.pid(), role)?;
        assert_eq!(json!(fds(group)?), json!([said[role]]), "{group}");
        assert_eq!(group["inherited"], 1, "{group}");
    }
    Ok(())
}
