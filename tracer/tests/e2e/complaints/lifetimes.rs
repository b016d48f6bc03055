//! When a connection began and ended, and what that was.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use jiff::Timestamp;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Actors, ROLES, by_id, ended, is_whole, names, of, total, unless_lossy};
use crate::support::{
    Nginx, Program, Tcpleak,
    net::ss,
    report::{group_of, list, numbers},
    wait_for,
};

/// Boot time is turned into wall time by what the two clocks said at the start, one
/// after the other, with whatever came in between.
const CLOCKS_APART: Duration = Duration::from_millis(20);
/// Times are cut to microseconds.
const CUT: Duration = Duration::from_micros(2);

#[test]
fn bcc_3307_times_are_right_when_sockets_are_reused() -> Result<()> {
    unless_lossy(|| {
        const COUNT: usize = 300;
        let mut actors = Actors::start("")?;
        let tcpleak =
            Tcpleak::watching(&format!("trace --remote {} --format jsonl", actors.address))?;
        let said = actors.ask(&format!("again {COUNT}"))?;
        let events = ended(tcpleak, 2 * COUNT)?;
        for (role, closes) in [("client", true), ("server", false)] {
            // All have the same ends, and are told in order.
            let mut gone: Vec<&Value> = of(&events, "gone", role).collect();
            gone.sort_by_key(|gone| gone["opened_at"].as_str());
            assert_eq!(gone.len(), COUNT);
            let ids: BTreeSet<&str> = gone.iter().filter_map(|gone| gone["id"].as_str()).collect();
            assert_eq!(ids.len(), COUNT, "an id names one connection");
            for (gone, times) in gone.iter().zip(list(&said, "times")?) {
                let steps = Steps::new(times)?;
                assert_eq!(gone["known"], "observed", "{gone}");
                steps.connects_at(time(gone, "opened_at")?, gone);
                steps.connects_at(time(gone, "established_at")?, gone);
                if closes {
                    let lived =
                        time(gone, "app_closed_at")?.duration_since(time(gone, "opened_at")?)?;
                    steps.lasts(lived, gone);
                }
            }
        }
        Ok(())
    })
}

/// A client that chose its port itself keeps it when the kernel takes the other
/// port away, at a reset by close.
#[test]
fn bcc_3307_by_port_the_end_of_a_reused_address_is_told_too() -> Result<()> {
    unless_lossy(|| {
        let mut actors = Actors::start("")?;
        let tcpleak = actors.trace()?;
        actors.ask("again 3")?;
        let events = ended(tcpleak, 6)?;
        by_id(&events)?.values().for_each(|told| is_whole(told));
        Ok(())
    })
}

fn time(event: &Value, name: &str) -> Result<SystemTime> {
    let at = event[name].as_str();
    let at = at.with_context(|| format!("no {name} in {event}"))?;
    Ok(at.parse::<Timestamp>()?.into())
}

/// When the program went into connect(2), came out of it, went into close(2) and
/// came out of that, by its own clock.
struct Steps([SystemTime; 4]);

impl Steps {
    fn new(times: &Value) -> Result<Self> {
        let mut steps = [SystemTime::UNIX_EPOCH; 4];
        for (index, step) in steps.iter_mut().enumerate() {
            let ns = times[index].as_u64().context("no number")?;
            *step += Duration::from_nanos(ns);
        }
        Ok(Self(steps))
    }

    fn connects_at(&self, at: SystemTime, event: &Value) {
        let [from, to, ..] = self.0;
        let is_in = from - CLOCKS_APART <= at && at <= to + CLOCKS_APART;
        assert!(is_in, "not within {from:?} and {to:?}: {event}");
    }

    /// From inside of connect(2) to inside of close(2).
    fn lasts(&self, lived: Duration, event: &Value) {
        let [first, connected, closing, last] = self.0;
        let least = closing.duration_since(connected).unwrap_or_default();
        let most = last.duration_since(first).unwrap_or_default();
        let is_in = least <= lived + CUT && lived <= most + CUT;
        // By the two clocks, from the one's first step.
        let opened = time(event, "opened_at").and_then(|at| Ok(at.duration_since(first)?));
        let steps = self.0.map(|at| at.duration_since(first));
        assert!(
            is_in,
            "{lived:?} is not {least:?} to {most:?}: opened after {opened:?}, of {steps:?}: {event}"
        );
    }
}

#[test]
fn elastic_ebpf_217_the_close_of_an_idle_connection_is_told() -> Result<()> {
    unless_lossy(|| {
        let mut actors = Actors::start("")?;
        let tcpleak = actors.trace()?;
        actors.ask("open 2")?;
        // No payload ever, and nothing else that happens.
        tcpleak.wait_line("a connection", |event| event["event"] == "established")?;
        actors.ask("close client")?;
        let events = ended(tcpleak, 4)?;
        for role in ROLES {
            for name in ["app-close", "gone"] {
                let told: Vec<&Value> = of(&events, name, role).collect();
                assert_eq!(told.len(), 2, "{name} of the {role}: {events:#?}");
                for event in told {
                    assert_eq!(event["tx_bytes"], 0, "{event}");
                }
            }
        }
        Ok(())
    })
}

#[test]
fn coroot_node_agent_373_a_nonblocking_connect_is_no_failure() -> Result<()> {
    unless_lossy(|| {
        let mut actors = Actors::start("")?;
        let tcpleak = actors.trace()?;
        actors.ask("nonblocking")?;
        actors.ask("close client")?;
        let events = ended(tcpleak, 2)?;
        by_id(&events)?.values().for_each(|events| is_whole(events));
        let failed = events.iter().find(|e| e["event"] == "connect-failed");
        assert_eq!(failed, None);
        let mut gone = of(&events, "gone", "client");
        let gone = gone.next().context("no client")?;
        // EINPROGRESS is what connect(2) said; it is not what the connection died of.
        assert_eq!(gone["connect_errno"], 115, "{gone}");
        assert_eq!(gone["error"], Value::Null, "{gone}");
        Ok(())
    })
}

#[test]
fn inspektor_gadget_3929_a_killed_connect_is_no_success() -> Result<()> {
    unless_lossy(|| {
        let mut blocked = Program::start("blocked", "")?;
        let port = blocked.hear()?["port"].clone();
        let port = u16::try_from(port.as_u64().context("no port")?)?;
        let tcpleak = Tcpleak::watching(&format!("trace --port {port} --format jsonl"))?;
        let said = blocked.ask("block 4")?;
        let pids = numbers(&said, "pids")?;
        wait_for("all to wait for an answer", || {
            let waiting = ss(port)?.into_iter().filter(|s| s.state == "SYN_SENT");
            Ok((waiting.count() == pids.len()).then_some(()))
        })?;
        blocked.ask("kill")?;
        let events = ended(tcpleak, pids.len())?;
        let ends = by_id(&events)?;
        let of_killed = |pid: i64| {
            let mut ends = ends.values().filter(move |events| events[0]["pid"] == pid);
            ends.next().with_context(|| format!("nothing of {pid}"))
        };
        for pid in pids {
            let told = of_killed(pid)?;
            let names = names(told);
            assert!(!names.contains(&"established"), "{told:#?}");
            let gone = told.last().context("no event")?;
            assert_eq!(gone["event"], "gone", "{told:#?}");
            assert_eq!(gone["closed_by"], "exit", "{gone}");
            assert_eq!(gone["established_at"], Value::Null, "{gone}");
            assert_ne!(gone["connect_errno"], 0, "{gone}");
        }
        Ok(())
    })
}

#[test]
fn eghostbuster_1_an_exit_is_no_leak() -> Result<()> {
    for how in ["exit", "kill"] {
        let mut actors = Actors::start("")?;
        let watch = actors.watch()?;
        actors.ask("open 12")?;
        actors.ask("hang-up")?;
        let close_wait = |listed: &crate::support::net::Listed| listed.state == "CLOSE_WAIT";
        let left = ss(actors.port)?.into_iter().filter(close_wait).count();
        assert_eq!(left, 12, "the premise: it has not closed them");
        if how == "exit" {
            actors.ask("exit")?;
        } else {
            actors.program.signal(Signal::SIGKILL)?;
        }
        wait_for("its sockets to be closed", || {
            let listed = ss(actors.port)?;
            Ok((!listed.iter().any(close_wait)).then_some(()))
        })?;
        let report = watch.interrupt()?.json()?;
        for name in ["live", "leaked", "stuck"] {
            assert_eq!(total(&report, name)?, 0, "{how}: {report}");
        }
        assert_eq!(total(&report, "closed")?, 24, "{how}: {report}");
    }
    Ok(())
}

/// Growth takes the longest of all signs to be sure of: 15 s.
#[test]
fn start_technologies_3211_idle_sockets_with_keepalive_are_found() -> Result<()> {
    let nginx = Nginx::start()?;
    let port = nginx.port;
    let watch = Tcpleak::watching(&format!("leaks --port {port} --for 18s --format json"))?;
    let growth = Program::start("growth", &format!("{port} 4 keepalive"))?;
    let report = watch.finish()?.json()?;
    let group = group_of(&report, growth.pid(), "client")?;
    assert_eq!(group["verdict"]["class"], "leak", "{group}");
    assert_eq!(group["live"], group["opened"]);
    assert_eq!(group["states"]["ESTABLISHED"], group["live"], "{group}");
    Ok(())
}

#[test]
fn stackrox_collector_356_file_closes_make_no_records() -> Result<()> {
    let mut actors = Actors::start("")?;
    let pid = actors.client;
    let watch = Tcpleak::watching(&format!("leaks --pid {pid} --for 5m --format json"))?;
    actors.ask("churn 10")?;
    actors.ask("files 100000")?;
    let loss = watch.interrupt()?.json()?["loss"].clone();
    let generated = loss["events_generated"].as_u64();
    let generated = generated.with_context(|| format!("no count in {loss}"))?;
    // A connection's end takes about ten.
    assert!((1..1_000).contains(&generated), "{loss}");
    Ok(())
}
