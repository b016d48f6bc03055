//! Who a connection belongs to: never whom the kernel happened to interrupt.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Actors, ROLES, ended, finished, of, texts, unless_lossy};
use crate::support::{
    Program, Tcpleak,
    report::{fds, group_of, list, numbers},
    tcpleak::{self, nobody_comes_or_goes},
};

/// Connections in each test.
const COUNT: usize = 6;

#[test]
fn bcc_2305_the_acceptor_is_the_owner_not_whom_the_softirq_interrupted() -> Result<()> {
    unless_lossy(|| {
        let mut actors = Actors::start("pinned")?;
        let tcpleak = actors.trace()?;
        let said = actors.ask(&format!("open {COUNT}"))?;
        actors.ask("close client")?;
        let events = ended(tcpleak, 2 * COUNT)?;
        // The client's segments make the server's end: its context is the client's.
        let mut taken = BTreeSet::new();
        for gone in of(&events, "gone", "server") {
            actors.is_owned(gone)?;
            assert_eq!(gone["tid"], actors.server, "{gone}");
            taken.insert(gone["fd"].as_i64().context("no fd")?);
        }
        let accepted = numbers(&said, "server")?;
        assert_eq!(taken, accepted.into_iter().collect());
        Ok(())
    })
}

#[test]
fn bcc_3463_no_event_names_a_bystander() -> Result<()> {
    unless_lossy(|| {
        let mut actors = Actors::start("pinned")?;
        let tcpleak = actors.trace()?;
        for first in ROLES {
            actors.ask(&format!("open {COUNT}"))?;
            actors.ask(&format!("close {first}"))?;
        }
        let events = ended(tcpleak, 4 * COUNT)?;
        events.iter().try_for_each(|event| actors.is_owned(event))
    })
}

#[test]
fn datadog_agent_28500_after_a_reset_the_owner_is_the_same() -> Result<()> {
    unless_lossy(|| {
        let mut actors = Actors::start("")?;
        let tcpleak = actors.trace()?;
        for first in ROLES {
            actors.ask(&format!("open {COUNT}"))?;
            actors.ask(&format!("reset {first}"))?;
        }
        let events = ended(tcpleak, 4 * COUNT)?;
        events.iter().try_for_each(|event| actors.is_owned(event))?;
        for role in ROLES {
            let reset = of(&events, "gone", role).filter(|gone| gone["closed_by"] == "reset");
            assert_eq!(reset.count(), COUNT, "by the other side: {role}");
        }
        Ok(())
    })
}

#[test]
fn bcc_788_passive_opens_are_seen() -> Result<()> {
    passive_opens_are_seen("")
}

#[test]
fn bcc_820_passive_opens_of_ipv6_are_seen() -> Result<()> {
    passive_opens_are_seen("ipv6")
}

fn passive_opens_are_seen(family: &str) -> Result<()> {
    unless_lossy(|| {
        let mut actors = Actors::start(family)?;
        let tcpleak = actors.trace()?;
        let said = actors.ask(&format!("open {COUNT}"))?;
        actors.ask("close client")?;
        let events = ended(tcpleak, 2 * COUNT)?;
        let clients: BTreeSet<&str> = super::texts(&said, "names")?.into_iter().collect();
        for name in ["open", "established", "gone"] {
            let passive: Vec<&Value> = of(&events, name, "server").collect();
            let remotes = passive.iter().filter_map(|event| event["remote"].as_str());
            assert_eq!(remotes.collect::<BTreeSet<_>>(), clients, "{name}");
            assert_eq!(passive.len(), COUNT, "each once: {passive:#?}");
            passive.into_iter().try_for_each(|e| actors.is_owned(e))?;
        }
        Ok(())
    })
}

#[test]
fn coroot_node_agent_69_a_reused_fd_belongs_to_its_own_connection() -> Result<()> {
    unless_lossy(|| {
        let mut actors = Actors::start("")?;
        let tcpleak = actors.trace()?;
        let said = actors.ask("churn 4")?;
        let fds = numbers(&said, "client")?;
        assert!(fds.iter().all(|fd| *fd == fds[0]), "one after the other");
        let events = ended(tcpleak, 8)?;
        for name in super::texts(&said, "names")? {
            let gone = of(&events, "gone", "client").filter(|gone| gone["local"] == name);
            let gone: Vec<&Value> = gone.collect();
            assert_eq!(gone.len(), 1, "{gone:#?}");
            assert_eq!(gone[0]["fd"], fds[0]);
        }

        // The number is used again while the first connection lives by another.
        let watch = actors.watch()?;
        let said = actors.ask("duplicate")?;
        let report = watch.interrupt()?.json()?;
        let group = group_of(&report, actors.program.pid(), "client")?;
        assert_eq!(group["closed"], 0, "nobody closed any: {group}");
        let fd_of = |name: &Value| {
            let mut held = list(group, "connections")?.iter();
            let connection = held.find(|connection| connection["local"] == *name);
            anyhow::Ok(connection.context("not live")?["fd"].clone())
        };
        assert_eq!(fd_of(&said["first"]["names"][0])?, said["kept"]);
        let second = &said["second"];
        assert_eq!(fd_of(&second["names"][0])?, second["client"][0]);
        Ok(())
    })
}

#[test]
fn rustnet_575_sockets_from_before_the_start_have_their_owner() -> Result<()> {
    let mut actors = Actors::start("")?;
    let said = actors.ask("open 3")?;
    let filter = format!("--port {} --format json", actors.port);
    let report = tcpleak::run(&format!("leaks --for 1s {filter}"))?.json()?;
    for role in ROLES {
        let group = group_of(&report, u32::try_from(actors.pid(role))?, role)?;
        assert_eq!(group["inherited"], 3, "{group}");
        assert_eq!(fds(group)?, numbers(&said, role)?);
    }
    let report = tcpleak::run(&format!("ps {filter}"))?.json()?;
    let mut listed = list(&report, "connections")?.iter();
    let listener = listed.find(|socket| socket["state"] == "LISTEN");
    assert_eq!(listener.context("no listener")?["pid"], actors.server);

    // What waits to be accepted is the listener's, although that is older than we.
    let watch = actors.watch()?;
    actors.ask("connect 2")?;
    let report = watch.interrupt()?.json()?;
    let group = group_of(&report, u32::try_from(actors.server)?, "server")?;
    assert_eq!(group["live"], 5, "{group}");
    Ok(())
}

#[test]
fn elastic_ebpf_200_accept_is_seen_whatever_its_signature() -> Result<()> {
    let doctor = tcpleak::run("doctor --format json")?.json()?;
    let mut checks = list(&doctor, "checks")?.iter();
    let accept = checks.find(|check| check["name"] == "hook accept");
    let found = accept.context("no accept hook")?["found"].as_str();
    assert!(found.is_some_and(|found| found.contains("accept")));
    accepted_by_its_thread(1, "")
}

#[test]
fn datadog_agent_32718_more_blocked_accepts_than_return_slots() -> Result<()> {
    accepted_by_its_thread(60, "")
}

/// A call that is not remembered is told twice, first without its fd.
#[test]
fn an_accept_that_there_is_no_room_to_remember_is_of_one_connection() -> Result<()> {
    accepted_by_its_thread(8, "--max-calls 1")?;
    accepted_by_its_thread(8, "--max-calls 1 --fold-above 0")
}

/// A trampoline does not see the return of a call that it did not see begin, and the
/// plan says so.
#[test]
fn an_accept_that_waited_at_the_start_is_told_or_said_not_to_be() -> Result<()> {
    unless_lossy(|| {
        let mut acceptors = Program::start("acceptors", "1")?;
        let port = acceptors.hear()?["port"].clone();
        acceptors.ask("block")?;
        let watch = Tcpleak::watching(&format!("leaks --port {port} --for 1h --format json"))?;
        let tcpleak = Tcpleak::watching(&format!("trace --port {port} --format jsonl"))?;
        let accepted = acceptors.ask("connect")?["accepted"][0].clone();
        let events = ended(tcpleak, 2)?;
        let gone = of(&events, "gone", "server").next().context("not told")?;
        let is_told = json!([gone["remote"], gone["tid"], gone["fd"]]) == accepted;
        let report = watch.interrupt()?.json()?;
        let blind = texts(&report, "blind")?;
        let is_said = blind
            .iter()
            .any(|said| said.contains("waited in accept(2) at the start"));
        assert_eq!(is_said, report["plan"] == "fentry", "{blind:?}");
        assert!(is_told || is_said, "{gone}");
        Ok(())
    })
}

/// Asserts that each connection has the thread that took it, and its fd; or none, and
/// that what is missing is told to be lost: see [`tcpleak::unless_lossy`].
fn accepted_by_its_thread(threads: usize, options: &str) -> Result<()> {
    let mut acceptors = Program::start("acceptors", &threads.to_string())?;
    let port = acceptors.hear()?["port"].clone();
    let tcpleak = Tcpleak::watching(&format!("trace --port {port} --format jsonl {options}"))?;
    let undisturbed = nobody_comes_or_goes();
    acceptors.ask("block")?;
    let accepted = acceptors.ask("connect")?["accepted"].clone();
    drop(undisturbed);
    let accepted = accepted.as_array().context("no list")?;
    assert_eq!(accepted.len(), threads);
    let finished = finished(tcpleak, 2 * threads)?;
    let (events, lost) = (finished.lines()?, finished.lost()?);
    let mut without_thread = 0;
    for connection in accepted {
        let name = &connection[0];
        let gone = of(&events, "gone", "server").filter(|gone| gone["remote"] == *name);
        let gone: Vec<_> = gone.collect();
        assert_eq!(gone.len(), 1, "{name}: {gone:?}");
        let gone = gone[0];
        let told = json!([gone["remote"], gone["tid"], gone["fd"]]);
        // A snapshot may have found the fd since, but no thread.
        if told == json!([name, null, null]) || told == json!([name, null, connection[2]]) {
            without_thread += 1;
            continue;
        }
        assert_eq!(told, *connection, "{gone}");
        assert_eq!(gone["pid"], acceptors.pid(), "{gone}");
        assert_ne!(gone["tid"], gone["pid"], "{gone}");
    }
    assert!(without_thread <= lost, "{without_thread}, {lost} lost");
    Ok(())
}

#[test]
fn inspektor_gadget_3565_events_carry_errno_and_fd() -> Result<()> {
    unless_lossy(|| {
        let mut actors = Actors::start("")?;
        let arguments = format!("trace --pid {} --format jsonl", actors.client);
        let tcpleak = Tcpleak::watching(&arguments)?;
        let refused = actors.ask("refused")?;
        let opened = actors.ask("open 1")?;
        actors.ask("close client")?;
        let events = ended(tcpleak, 2)?;
        let told = |said: &Value| {
            let mut gone = of(&events, "gone", "client");
            let gone = gone.find(|gone| gone["local"] == said["names"][0]);
            gone.with_context(|| format!("not told: {said}"))
        };
        for (said, errno) in [(&refused, &refused["error"]), (&opened, &json!(0))] {
            let gone = told(said)?;
            assert_eq!(gone["connect_errno"], *errno, "{gone}");
            assert_eq!(gone["fd"], said["client"][0], "{gone}");
        }
        let failed: Vec<&Value> = of(&events, "connect-failed", "client").collect();
        assert_eq!(failed.len(), 1, "{failed:#?}");
        assert_eq!(failed[0]["error"], refused["error"]);
        assert_eq!(failed[0]["fd"], refused["client"][0]);
        Ok(())
    })
}
