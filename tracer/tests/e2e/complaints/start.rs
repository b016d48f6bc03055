//! What is under way when the trace starts, and the order in which things are told.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Actors, ROLES, by_id, ended, is_whole, names, of, total};
use crate::support::{
    Program, Tcpleak,
    report::{numbers, states},
    tcpleak::unless_lossy,
    wait_for,
};

/// Connections in each test.
const COUNT: usize = 6;

#[test]
fn scope_2689_opened_before_and_closed_after_the_start_is_one() -> Result<()> {
    const HELD: usize = 200;
    let (events, actors, watch) = unless_lossy(|| {
        let mut actors = Actors::start("")?;
        actors.ask(&format!("open {HELD}"))?;
        let (tcpleak, watch) = (actors.trace()?, actors.watch()?);
        actors.ask("close client")?;
        Ok((ended(tcpleak, 2 * HELD)?, actors, watch))
    })?;
    for told in by_id(&events)?.values() {
        let names = names(told);
        let gone = told.last().context("no event")?;
        assert_eq!(gone["event"], "gone", "{told:#?}");
        assert_eq!(gone["known"], "inherited", "{gone}");
        assert!(!names.contains(&"open"), "{told:#?}");
        for once in ["app-close", "gone"] {
            let count = names.iter().filter(|name| **name == once).count();
            assert_eq!(count, 1, "{told:#?}");
        }
    }
    assert_eq!(of(&events, "gone", "server").count(), HELD);
    events.iter().try_for_each(|event| actors.is_owned(event))?;
    let report = watch.interrupt()?.json()?;
    let totals = ["connections_seen", "closed", "live"].map(|name| total(&report, name));
    let [seen, closed, live] = totals;
    let both = 2 * HELD as u64;
    assert_eq!((seen?, closed?, live?), (both, both, 0), "{report}");
    Ok(())
}

#[test]
fn scope_2700_churn_at_the_start_is_told_at_most_once() -> Result<()> {
    let churn = Program::start("churn", "300")?;
    let port = churn.hear()?["port"].clone();
    let filter = format!("--port {port}");
    // Both start in the middle of it.
    let watch = Tcpleak::watching(&format!("leaks {filter} --for 5m --format json"))?;
    let tcpleak = Tcpleak::watching(&format!("trace {filter} --format jsonl"))?;
    wait_for("some connections", || {
        let told = tcpleak.lines()?;
        Ok((of(&told, "gone", "server").count() >= 50).then_some(()))
    })?;
    churn.finish()?;
    let events = tcpleak.interrupt()?.lines()?;
    for told in by_id(&events)?.values() {
        if told[0]["role"] == "listener" {
            continue;
        }
        // What ended while the hooks were being attached may not be told as gone.
        let last = told.last().context("no event")?;
        assert_eq!(last["state"], "CLOSE", "{told:#?}");
        let names = names(told);
        let gone = names.iter().position(|name| *name == "gone");
        assert!(gone.is_none_or(|gone| gone + 1 == names.len()), "{told:#?}");
    }
    let report = watch.interrupt()?.json()?;
    assert_eq!(total(&report, "live")?, 0, "a phantom: {report}");
    let totals = ["connections_seen", "closed"].map(|name| total(&report, name));
    let [seen, closed] = totals;
    assert_eq!(seen?, closed?);
    Ok(())
}

#[test]
fn scope_3645_accepted_after_the_start_what_was_made_before() -> Result<()> {
    unless_lossy(|| {
        let mut actors = Actors::start("")?;
        actors.ask(&format!("connect {COUNT}"))?;
        let tcpleak = actors.trace()?;
        let accepted = numbers(&actors.ask(&format!("accept {COUNT}"))?, "server")?;
        actors.ask("close client")?;
        let events = ended(tcpleak, 2 * COUNT)?;
        let gone: Vec<&Value> = of(&events, "gone", "server").collect();
        assert_eq!(gone.len(), COUNT, "{gone:#?}");
        gone.iter().try_for_each(|gone| actors.is_owned(gone))?;
        let fds: BTreeSet<i64> = gone.iter().filter_map(|gone| gone["fd"].as_i64()).collect();
        assert_eq!(fds, accepted.into_iter().collect());
        Ok(())
    })
}

#[test]
fn scope_2650_events_of_a_connection_come_in_order() -> Result<()> {
    unless_lossy(|| {
        let mut actors = Actors::start("pinned")?;
        let tcpleak = actors.trace()?;
        actors.ask("churn 100")?;
        let events = ended(tcpleak, 200)?;
        let ends = by_id(&events)?;
        assert_eq!(ends.len(), 200);
        for told in ends.values() {
            is_whole(told);
            let history = states(told.last().context("no event")?)?;
            let odd = history.windows(2).find(|step| !follows(step[0], step[1]));
            assert_eq!(odd, None, "{history:?}");
        }
        Ok(())
    })
}

/// Whether the protocol (RFC 9293, figure 5) or the kernel leads from one state to the
/// other, in a connection that neither side resets.
fn follows(from: &str, to: &str) -> bool {
    let next: &[&str] = match from {
        "SYN_SENT" | "SYN_RECV" => &["ESTABLISHED"],
        "ESTABLISHED" => &["FIN_WAIT1", "CLOSE_WAIT"],
        "FIN_WAIT1" => &["FIN_WAIT2", "CLOSING"],
        "FIN_WAIT2" | "CLOSING" => &["TIME_WAIT", "CLOSE"],
        "CLOSE_WAIT" => &["LAST_ACK"],
        "LAST_ACK" | "TIME_WAIT" => &["CLOSE"],
        _ => &[],
    };
    next.contains(&to)
}

#[test]
fn scope_3561_no_close_comes_before_its_open() -> Result<()> {
    unless_lossy(|| {
        let mut actors = Actors::start("pinned")?;
        let (tcpleak, watch) = (actors.trace()?, actors.watch()?);
        actors.ask("churn 200")?;
        let events = ended(tcpleak, 400)?;
        for told in by_id(&events)?.values() {
            let position = |name: &str| names(told).iter().position(|told| *told == name);
            let (open, close) = (position("open"), position("app-close"));
            assert!(open.is_some() && open < close, "{told:#?}");
            assert!(close < position("gone"), "{told:#?}");
        }
        for role in ROLES {
            let count = |name| of(&events, name, role).count();
            assert_eq!((count("open"), count("gone")), (200, 200), "{role}");
        }
        // A close without its open would leave an open without its close.
        let report = watch.interrupt()?.json()?;
        assert_eq!(total(&report, "live")?, 0, "{report}");
        Ok(())
    })
}

#[test]
fn tetragon_4623_mapped_addresses_match_ipv4_filters() -> Result<()> {
    unless_lossy(|| {
        // Its listener takes both families: the server's ends are IPv4-mapped.
        let mut wanted = Program::start("ends", "127.94.0.7")?;
        let mut other = Program::start("ends", "127.95.0.7")?;
        wanted.hear()?;
        other.hear()?;
        let tcpleak = Tcpleak::watching("trace --remote 127.94.0.0/16 --format jsonl")?;
        other.ask("close")?;
        let name = wanted.ask("close")?["client"].clone();
        let events = ended(tcpleak, 1)?;
        assert_eq!(by_id(&events)?.len(), 1, "{events:#?}");
        let told: Vec<&Value> = events.iter().collect();
        is_whole(&told);
        let client = name.as_str().context("no name")?;
        let (address, port) = client.split_once(':').context("no port")?;
        assert_eq!(told[0]["remote"], format!("[::ffff:{address}]:{port}"));
        Ok(())
    })
}
