//! Who ended a connection, and who holds it.

use std::{collections::BTreeSet, process::Command, time::Duration};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{
    Nginx, Program, Tcpleak,
    process::output,
    report::{fds, group_of, list, numbers},
    tcpleak,
};

/// How `ends.py` ends a connection, and what is then said of the client's end
/// and of the server's.
const ENDINGS: [(&str, &str, &str); 5] = [
    ("close", "local", "peer"),
    ("reset", "reset", "local"),
    ("unread", "reset", "local"),
    ("fork", "local", "peer"),
    ("nonblocking", "local", "peer"),
];

#[test]
fn who_ended_a_connection() -> Result<()> {
    let mut ends = Program::start("ends", "")?;
    let port = &ends.hear()?["port"];
    let tcpleak = Tcpleak::watching(&format!("trace --port {port} --format jsonl"))?;
    for (how, by_client, by_server) in ENDINGS {
        let client = ends.ask(how)?["client"].clone();
        for (role, by) in [("client", by_client), ("server", by_server)] {
            let gone = gone(&tcpleak, role, &client)?;
            assert_eq!(gone["closed_by"], by, "{how}, {role}: {gone}");
            assert_eq!(gone["pid"], ends.pid(), "{how}, {role}: {gone}");
            assert!(gone["app_closed_at"].is_string(), "{how}, {role}: {gone}");
        }
    }
    let events = tcpleak.interrupt()?.lines()?;
    let count = |name| events.iter().filter(|e| e["event"] == name).count();
    assert_eq!(count("connect-failed"), 0, "each connect succeeded");
    assert_eq!(count("open"), 2 * ENDINGS.len());
    let let_go = events.iter().filter(|e| e["event"] == "app-close");
    let once: BTreeSet<_> = let_go.clone().map(|e| e["id"].as_str()).collect();
    assert_eq!(once.len(), let_go.count(), "a child's close is none");
    Ok(())
}

#[test]
fn what_an_administrator_kills_is_not_blamed_on_either_side() -> Result<()> {
    let mut ends = Program::start("ends", "")?;
    let port = &ends.hear()?["port"];
    let tcpleak = Tcpleak::watching(&format!("trace --port {port} --format jsonl"))?;
    ends.ask("hold 1")?;
    let killed = output(Command::new("ss").args(["-HtK", &format!("dport = :{port}")]))?;
    assert_eq!(killed.lines().count(), 1, "{killed}");
    ends.finish()?;
    for (role, by) in [("client", "admin"), ("server", "peer")] {
        let is_it = |event: &Value| event["event"] == "gone" && event["role"] == role;
        let gone = tcpleak.wait_line("the end", is_it)?;
        assert_eq!(gone["closed_by"], "reset", "{role}: {gone}");
        assert_eq!(gone["reset_by"], by, "{role}: {gone}");
    }
    Ok(())
}

#[test]
fn a_process_that_ends_closes_by_exit() -> Result<()> {
    let nginx = Nginx::start()?;
    let arguments = format!("trace --port {} --format jsonl", nginx.port);
    let tcpleak = Tcpleak::watching(&arguments)?;
    let mut exiting = Program::start("worker", &format!("{} 3", nginx.port))?;
    exiting.hear()?;
    exiting.ask("end")?;
    let killed = Program::start("worker", &format!("{} 3", nginx.port))?;
    killed.hear()?;
    killed.signal(Signal::SIGKILL)?;
    for pid in [exiting.pid(), killed.pid()] {
        let is_it = |e: &Value| e["event"] == "app-close" && e["pid"] == pid;
        let closed = tcpleak.wait_line("the exit's close", is_it)?;
        assert_eq!(closed["closed_by"], "exit", "{closed}");
    }
    Ok(())
}

#[test]
fn a_refused_connect_is_told_once() -> Result<()> {
    let mut ends = Program::start("ends", "")?;
    ends.hear()?;
    let arguments = format!("trace --pid {} --format jsonl", ends.pid());
    let tcpleak = Tcpleak::watching(&arguments)?;
    let refused = ends.ask("refused")?;
    assert_eq!(refused["error"], 111, "{refused}");
    let name = format!("127.0.0.1:{}", refused["client"]);
    gone(&tcpleak, "client", &json!(name))?;
    let events = tcpleak.interrupt()?.lines()?;
    let failed: Vec<_> = events
        .iter()
        .filter(|event| event["event"] == "connect-failed")
        .collect();
    assert_eq!(failed.len(), 1, "{failed:#?}");
    assert_eq!(failed[0]["error"], 111);
    assert_eq!(failed[0]["established_at"], Value::Null);
    let established = events.iter().any(|e| e["event"] == "established");
    assert!(!established, "{events:#?}");
    Ok(())
}

#[test]
fn what_was_open_before_is_inherited() -> Result<()> {
    let nginx = Nginx::start()?;
    let before = Program::start("pool", &format!("{} 4", nginx.port))?;
    let held = numbers(&before.hear()?, "fds")?;
    let report = tcpleak::run("leaks --for 1s --format json")?.json()?;
    let pool = group_of(&report, before.pid(), "client")?;
    assert_eq!((&pool["live"], &pool["inherited"]), (&json!(4), &json!(4)));
    assert_eq!(fds(pool)?, held);
    for connection in list(pool, "connections")? {
        assert_eq!(connection["pid"], before.pid(), "{connection}");
        assert_eq!(connection["known"], "inherited", "{connection}");
        assert_eq!(connection["opened_at"], Value::Null, "{connection}");
    }
    Ok(())
}

#[test]
fn a_leak_is_of_the_process_that_it_was_passed_to() -> Result<()> {
    let tcpleak = Tcpleak::watching("leaks --for 10m --format json")?;
    let passed = Program::start("passed_on", "4")?;
    let said = passed.hear()?;
    let report = tcpleak.interrupt_after(Duration::from_secs(7))?.json()?;
    let holder = u32::try_from(said["holder"].as_u64().context("no pid")?)?;
    let leak = group_of(&report, holder, "server")?;
    assert_eq!(leak["verdict"]["code"], "missing-close", "{leak}");
    assert_eq!(leak["live"], 4);
    assert_eq!(fds(leak)?, numbers(&said, "fds")?);
    for connection in list(leak, "connections")? {
        assert_eq!(connection["owner_known"], "fds", "{connection}");
        assert_eq!(connection["opener_pid"], said["opener"], "{connection}");
        let holders = list(connection, "holders")?;
        assert_eq!(holders.len(), 1, "{connection}");
        assert_eq!(holders[0]["pid"], holder, "{connection}");
        assert_eq!(holders[0]["fd"], connection["fd"], "{connection}");
    }
    Ok(())
}

/// Waits for the end of a connection: the client's end by its address, the
/// server's by that of its client.
fn gone(tcpleak: &Tcpleak, role: &str, client: &Value) -> Result<Value> {
    let client = client.as_str().context("no address")?;
    let field = if role == "client" { "local" } else { "remote" };
    tcpleak.wait_line(&format!("the end of {client} ({role})"), |event| {
        let end = event[field].as_str().unwrap_or_default();
        // The server's end is IPv4-mapped.
        let end = end.replace("[::ffff:", "").replace(']', "");
        event["event"] == "gone" && event["role"] == role && end == client
    })
}
