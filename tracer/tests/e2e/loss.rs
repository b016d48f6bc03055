//! What is lost is said, and does no harm to what is told afterwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::TcpStream,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{
    Program, Storm, Tcpleak,
    net::{free_port, ss},
    random::number,
    report::{groups_of, list},
    tcpleak::{Finished, unless_lossy},
    wait_for,
};

/// Connections made while nobody reads the ring: far more than it holds.
const MANY: &str = "many 3000";

#[test]
fn trace_says_what_it_lost_and_goes_on() -> Result<()> {
    let mut ends = Program::start("ends", "")?;
    let port = ends.hear()?["port"].clone();
    let tcpleak = Tcpleak::watching(&format!(
        "trace --ring-size 64KiB --port {port} --format jsonl"
    ))?;
    tcpleak.signal(Signal::SIGSTOP)?;
    ends.ask(MANY)?;
    tcpleak.signal(Signal::SIGCONT)?;
    let loss = tcpleak.wait_line("the loss", |event| event["event"] == "loss")?;
    assert!(loss["events_lost"].as_u64() > Some(0), "{loss}");
    assert!(loss["ring_full"].as_u64() > Some(0), "{loss}");

    let client = ends.ask("close")?["client"].clone();
    let after = tcpleak.wait_line("a connection after the loss", |event| {
        event["event"] == "gone" && event["local"] == client
    })?;
    assert_eq!(after["known"], "observed", "{after}");
    assert_eq!(after["closed_by"], "local", "{after}");
    let finished = tcpleak.interrupt()?;
    assert_eq!(finished.code, Some(0));
    assert_ne!(finished.lost()?, 0);
    Ok(())
}

#[test]
fn trace_tells_what_a_snapshot_mended() -> Result<()> {
    let mut ends = Program::start("ends", "")?;
    let port = u16::try_from(ends.hear()?["port"].as_u64().context("no port")?)?;
    let tcpleak = Tcpleak::watching(&format!(
        "trace --ring-size 64KiB --port {port} --format jsonl"
    ))?;
    ends.ask("hold 8")?;
    tcpleak.signal(Signal::SIGSTOP)?;
    ends.ask(MANY)?;
    // Neither these ends nor these births can be heard.
    ends.ask("drop 3")?;
    ends.ask("hold 5")?;
    tcpleak.signal(Signal::SIGCONT)?;

    // What was told to be open and not to be gone is what `ss` shows.
    wait_for("the mending", || {
        let events = tcpleak.lines()?;
        let mut open = BTreeMap::new();
        for event in &events {
            let ends = (event["local"].as_str(), event["remote"].as_str());
            match (event["event"].as_str(), event["id"].as_str()) {
                (_, None) => {}
                (Some("gone"), id) => drop(open.remove(&id)),
                (_, id) => drop(open.insert(id, ends)),
            }
        }
        let open: BTreeSet<_> = open.into_values().collect();
        let listed = ss(port)?;
        let listed = listed.iter().filter(|s| s.state == "ESTABLISHED");
        let listed: BTreeSet<_> = listed
            .map(|s| (Some(s.local.as_str()), Some(s.remote.as_str())))
            .collect();
        assert_eq!(listed.len(), 20, "both ends of ten");
        Ok((open == listed).then_some(()))
    })?;
    let events = tcpleak.interrupt()?.lines()?;
    let repaired = |name: &str| {
        let is_it = |e: &&Value| e["event"] == name && e["known"] == "repaired";
        events.iter().filter(is_it).count()
    };
    assert!(repaired("open") >= 10, "five were opened unheard");
    assert!(repaired("gone") >= 6, "three ended unheard");
    let gone = events.iter().filter(|event| event["event"] == "gone");
    let once: BTreeSet<_> = gone.clone().map(|event| event["id"].as_str()).collect();
    assert_eq!(once.len(), gone.count(), "each is gone once");
    Ok(())
}

/// Connections passed on, to be closed one by one by who holds them.
const PASSED_ON: usize = 400;

#[test]
fn snapshots_go_on_where_nothing_is_lost() -> Result<()> {
    let finished = unless_lossy(|| {
        let port = free_port()?;
        let tcpleak = Tcpleak::watching(&format!("trace --port {port} --format jsonl"))?;
        let mut passed = Program::start("passed_on", &format!("{PASSED_ON} {port}"))?;
        let holder = passed.hear()?["holder"].clone();
        // No event tells that a socket changed hands: the end of each names who
        // opened it, until a snapshot has seen who holds it.
        wait_for("an end that names the holder", || {
            passed.ask("close")?;
            let is_it = |event: &Value| event["event"] == "gone" && event["pid"] == holder;
            Ok(tcpleak.lines()?.iter().any(is_it).then_some(()))
        })?;
        tcpleak.interrupt()?.whole()
    })?;
    assert!(finished.repaired_nothing(), "{}", finished.stderr);
    Ok(())
}

#[test]
fn leaks_is_right_after_a_loss() -> Result<()> {
    let mut ends = Program::start("ends", "")?;
    let port = u16::try_from(ends.hear()?["port"].as_u64().context("no port")?)?;
    let tcpleak = Tcpleak::watching(&format!(
        "leaks --ring-size 64KiB --port {port} --for 10m --format json"
    ))?;
    ends.ask("hold 8")?;
    tcpleak.signal(Signal::SIGSTOP)?;
    ends.ask(MANY)?;
    // Neither these births nor these ends can be heard.
    ends.ask("hold 7")?;
    ends.ask("drop 10")?;
    tcpleak.signal(Signal::SIGCONT)?;
    let report = tcpleak.interrupt_after(Duration::from_secs(5))?.json()?;

    assert!(report["loss"]["events_lost"].as_u64() > Some(0), "{report}");
    assert!(report["loss"]["repaired"].as_u64() > Some(0), "{report}");
    assert_eq!(report["summary"]["leaked"], 0, "{report}");
    assert_eq!(report["summary"]["stuck"], 0, "{report}");
    let groups = groups_of(&report, ends.pid())?;
    let live = groups.iter().filter_map(|group| group["live"].as_u64());
    let listed = ss(port)?;
    let held = listed.iter().filter(|s| s.state == "ESTABLISHED").count();
    assert_eq!(held, 10, "both ends of five");
    assert_eq!(live.sum::<u64>(), held as u64, "{report}");
    assert_eq!(report["summary"]["live"], held, "{report}");
    Ok(())
}

/// For how long nobody reads while connections come and go, in seconds;
/// `TCPLEAK_STOP_SECONDS` sets another time.
const STOPPED: u64 = 5;

/// One connection of so many is kept.
const KEPT: u32 = 100;

/// A storm passes while the tracer stands still; then none. Returns what is open.
fn sleep_through(storm: &Storm, tcpleak: &Tcpleak) -> Result<[Vec<TcpStream>; 2]> {
    tcpleak.signal(Signal::SIGSTOP)?;
    let seconds = number("TCPLEAK_STOP_SECONDS")?.unwrap_or(STOPPED);
    let stopped = Duration::from_secs(seconds);
    // As many in all, however long it blows: fds are scarce.
    let blowing = storm.blow(KEPT * u32::try_from(seconds.div_ceil(STOPPED))?)?;
    sleep(stopped);
    let opened = u64::from(blowing.opened());
    let per_second = opened * 1_000 / u64::try_from(stopped.as_millis())?;
    println!("{opened} connections in {stopped:?}, {per_second} a second");
    tcpleak.signal(Signal::SIGCONT)?;
    blowing.stop()
}

/// Both ends of each connection, as `ss` has them.
fn held(storm: &Storm) -> Result<BTreeSet<(String, String)>> {
    let listed = ss(storm.port)?.into_iter();
    let held = listed.filter(|socket| socket.state == "ESTABLISHED");
    Ok(held.map(|socket| (socket.local, socket.remote)).collect())
}

fn ends(connection: &Value) -> Option<(String, String)> {
    let end = |name: &str| connection[name].as_str().map(str::to_owned);
    Some((end("local")?, end("remote")?))
}

#[test]
fn after_a_storm_that_it_slept_through_it_knows_what_is_open() -> Result<()> {
    let storm = Storm::new()?;
    let tcpleak = Tcpleak::watching(&format!(
        "trace --ring-size 64KiB --port {} --format jsonl",
        storm.port
    ))?;
    let open = sleep_through(&storm, &tcpleak)?;
    let since = Instant::now();
    let mut read = 0;
    let mut known = BTreeMap::new();
    let (mut unknown, mut phantoms) = (Vec::new(), Vec::new());
    let mended = wait_for("the mending", || {
        for event in tcpleak.lines_after(&mut read)? {
            let id = event["id"].as_str().map(str::to_owned);
            if event["event"] == "gone" {
                known.remove(&id);
            } else if id.is_some() && event["role"] != "listener" {
                known.insert(id, ends(&event));
            }
        }
        let told: BTreeSet<_> = known.values().flatten().cloned().collect();
        let held = held(&storm)?;
        unknown = held.difference(&told).cloned().collect();
        phantoms = told.difference(&held).cloned().collect();
        Ok((unknown.is_empty() && phantoms.is_empty()).then_some(()))
    });
    let lasted = since.elapsed();
    drop(open);
    let finished = tcpleak.interrupt()?;
    println!("mended after {lasted:?}: {}", finished.stderr);
    mended
        .with_context(|| format!("not told: {unknown:?}, gone: {phantoms:?}"))
        .with_context(|| told_of(&finished, phantoms.first()))?;
    assert_ne!(finished.lost()?, 0);
    Ok(())
}

/// What was told of the connection with these ends, and of losses.
fn told_of(told: &Finished, of: Option<&(String, String)>) -> String {
    let lines = told.lines().unwrap_or_default();
    let lines = lines
        .iter()
        .filter(|line| ends(line).as_ref() == of || line["event"] == "loss");
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn after_a_storm_that_it_slept_through_no_verdict_names_what_is_gone() -> Result<()> {
    let never = format!("--fold-above {}", u32::MAX);
    let report = no_verdict_names_what_is_gone(&never)?;
    assert!(report["loss"]["repaired"].as_u64() > Some(0), "{report}");
    Ok(())
}

/// What is folded is in the kernel's map, whatever becomes of the ring.
#[test]
fn after_a_storm_of_folded_ones_no_verdict_names_what_is_gone() -> Result<()> {
    no_verdict_names_what_is_gone("").map(drop)
}

fn no_verdict_names_what_is_gone(options: &str) -> Result<Value> {
    let storm = Storm::new()?;
    let tcpleak = Tcpleak::watching(&format!(
        "leaks --ring-size 64KiB --port {} --for 1h --all --format json {options}",
        storm.port
    ))?;
    let open = sleep_through(&storm, &tcpleak)?;
    let report = tcpleak.interrupt_after(Duration::from_secs(5))?.json()?;
    println!("{}", report["loss"]);
    assert!(report["loss"]["ring_full"].as_u64() > Some(0), "{report}");
    assert_eq!(report["summary"]["leaked"], 0, "{report}");
    assert_eq!(report["summary"]["stuck"], 0, "{report}");
    let held = held(&storm)?;
    assert_eq!(held.len(), open[0].len() + open[1].len());
    assert_eq!(report["summary"]["live"], held.len(), "{report}");
    for group in list(&report, "groups")? {
        assert_eq!(group["incomplete"], true, "{group}");
        for connection in list(group, "connections")? {
            let is_open = ends(connection).is_some_and(|ends| held.contains(&ends));
            assert!(is_open, "{connection}");
        }
    }
    Ok(report)
}

#[test]
fn a_flood_by_one_process_is_counted_and_blames_nobody() -> Result<()> {
    let (flood, port) = churn(1_000_000)?;
    let mut bystander = Program::start("ends", "")?;
    let other = bystander.hear()?["port"].as_u64().context("no port")?;
    bystander.ask("hold 5")?;
    let tcpleak = Tcpleak::watching("leaks --ring-size 64KiB --for 1h --all --format json")?;
    sleep(Duration::from_secs(5));
    bystander.ask("hold 10")?;
    let report = tcpleak.interrupt()?.json()?;
    assert!(
        report["loss"]["events_generated"].as_u64() > Some(0),
        "{report}"
    );
    for process in [flood.pid(), bystander.pid()] {
        assert_blameless(&report, process)?;
    }
    let held = ss(u16::try_from(other)?)?;
    let held = held.iter().filter(|s| s.state == "ESTABLISHED").count();
    let groups = groups_of(&report, bystander.pid())?;
    let live = groups.iter().filter_map(|group| group["live"].as_u64());
    assert_eq!(live.sum::<u64>(), held as u64, "{report}");
    println!("port {port}: {}", report["loss"]);
    Ok(())
}

/// A process that opens and closes connections to itself, so many a second if it
/// can, and its port.
pub(crate) fn churn(per_second: u32) -> Result<(Program, u64)> {
    let program = Program::start("churn", &per_second.to_string())?;
    let port = program.hear()?["port"].as_u64().context("no port")?;
    Ok((program, port))
}

/// Nothing of the process is called a leak or stuck.
fn assert_blameless(report: &Value, pid: u32) -> Result<()> {
    for group in groups_of(report, pid)? {
        let class = group["verdict"]["class"].as_str().context("no class")?;
        assert!(!["leak", "stuck"].contains(&class), "{group}");
    }
    Ok(())
}
