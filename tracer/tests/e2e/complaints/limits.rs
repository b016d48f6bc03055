//! Every table has an end. What does not fit is counted and said, and harms nothing
//! else.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Actors, ROLES, by_id, ended, is_whole, of, texts, total, unless_lossy};
use crate::support::{
    Program, Tcpleak,
    net::ss,
    patience,
    report::{fds, group_of, list, live_group_of, numbers},
    tcpleak::run,
    wait_for,
};

/// Sockets that the kernel side follows under `--pid`, in these tests.
const FOLLOWED: usize = 16;

#[test]
fn tcptracer_bpf_21_a_full_map_does_not_end_the_trace() -> Result<()> {
    unless_lossy(|| {
        let mut actors = Actors::start("")?;
        let filter = format!("--pid {} --max-followed {FOLLOWED}", actors.client);
        let watch = Tcpleak::watching(&format!("leaks {filter} --for 5m --format json"))?;
        let tcpleak = Tcpleak::watching(&format!("trace {filter} --format jsonl"))?;
        let first = actors.ask(&format!("open {}", 2 * FOLLOWED))?;
        let report = watch.interrupt()?.json()?;
        let unfollowed = format!("{FOLLOWED} sockets");
        assert!(
            texts(&report, "blind")?
                .iter()
                .any(|b| b.contains(&unfollowed)),
            "{report}"
        );
        assert_eq!(total(&report, "leaked")?, 0, "{report}");

        // Once these are gone there is room again.
        actors.ask("close client")?;
        let second = actors.ask("open 4")?;
        actors.ask("close client")?;
        let events = ended(tcpleak, FOLLOWED + 4)?;
        by_id(&events)?.values().for_each(|told| is_whole(told));
        let told = of(&events, "gone", "client").filter_map(|gone| gone["local"].as_str());
        let told: BTreeSet<&str> = told.collect();
        let (first, second) = (texts(&first, "names")?, texts(&second, "names")?);
        let expected = first[..FOLLOWED].iter().chain(&second).copied();
        assert_eq!(told, expected.collect());
        Ok(())
    })
}

#[test]
fn tcptracer_bpf_21_nor_does_a_map_that_is_full_at_the_start() -> Result<()> {
    let mut actors = Actors::start("")?;
    let opened = actors.ask(&format!("open {}", 2 * FOLLOWED))?;
    let pid = actors.program.pid();
    let arguments = format!("leaks --pid {pid} --max-followed {FOLLOWED} --for 1s --format json");
    let report = run(&arguments)?.json()?;
    let group = group_of(&report, pid, "client")?;
    assert_eq!(fds(group)?, numbers(&opened, "client")?);
    let says_so = texts(&report, "blind")?
        .iter()
        .any(|blind| blind.contains("followed"));
    assert!(says_so, "{report}");
    Ok(())
}

#[test]
fn inspektor_gadget_1572_what_ends_makes_room() -> Result<()> {
    unless_lossy(|| {
        const COUNT: usize = 10 * FOLLOWED;
        let mut actors = Actors::start("")?;
        let filter = format!("--pid {} --max-followed {FOLLOWED}", actors.client);
        let tcpleak = Tcpleak::watching(&format!("trace {filter} --format jsonl"))?;
        let said = actors.ask(&format!("churn {COUNT}"))?;
        let events = ended(tcpleak, COUNT)?;
        let ends = by_id(&events)?;
        assert_eq!(ends.len(), COUNT);
        ends.values().for_each(|told| is_whole(told));
        let told: BTreeSet<&str> = of(&events, "gone", "client")
            .filter_map(|gone| gone["local"].as_str())
            .collect();
        assert_eq!(told, texts(&said, "names")?.into_iter().collect());
        Ok(())
    })
}

#[test]
fn skywalking_rover_136_tasks_killed_in_connect_leave_no_entry() -> Result<()> {
    let mut blocked = Program::start("blocked", "")?;
    let port = blocked.hear()?["port"].as_u64().context("no port")?;
    let tcpleak = Tcpleak::watching("trace --max-calls 8 --format jsonl")?;
    blocked.ask("block 16")?;
    let port = u16::try_from(port)?;
    wait_for("all to wait for an answer", || {
        let waiting = ss(port)?.into_iter().filter(|s| s.state == "SYN_SENT");
        Ok((waiting.count() == 16).then_some(()))
    })?;
    blocked.ask("kill")?;
    // Other tasks of the host may be in a call for a while; those killed are for good.
    wait_for("a connect to be remembered", || {
        let said = blocked.ask("connect")?;
        let gone = tcpleak.wait_line("its end", |event| {
            event["event"] == "gone" && event["local"] == said["name"]
        })?;
        Ok((gone["fd"] == said["fd"] && gone["connect_errno"] == 0).then_some(()))
    })
}

/// Has `tcpleak` sleep while so much happens that its ring overflows.
fn flood(tcpleak: &Tcpleak, actors: &mut Actors, meanwhile: &str) -> Result<Value> {
    tcpleak.signal(Signal::SIGSTOP)?;
    actors.ask("churn 100")?;
    let said = actors.ask(meanwhile)?;
    tcpleak.signal(Signal::SIGCONT)?;
    Ok(said)
}

#[test]
fn datadog_agent_18783_after_a_flood_the_trace_goes_on() -> Result<()> {
    let mut actors = Actors::start("")?;
    let port = actors.port;
    let arguments = format!("trace --port {port} --ring-size 64KiB --format jsonl");
    let tcpleak = Tcpleak::watching(&arguments)?;
    let losses = || {
        let lines = tcpleak.lines()?;
        anyhow::Ok(lines.iter().filter(|e| e["event"] == "loss").count())
    };
    for _ in 0..2 {
        let before = losses()?;
        flood(&tcpleak, &mut actors, "churn 1")?;
        wait_for("the loss", || Ok((losses()? > before).then_some(())))?;
        let name = actors.ask("churn 1")?["names"][0].clone();
        for (role, end) in [("client", "local"), ("server", "remote")] {
            let gone = tcpleak.wait_line("the end of what came after", |event| {
                event["event"] == "gone" && event["role"] == role && event[end] == name
            })?;
            actors.is_owned(&gone)?;
            let lines = tcpleak.lines()?;
            let told: Vec<&Value> = lines.iter().filter(|e| e["id"] == gone["id"]).collect();
            is_whole(&told);
        }
    }
    Ok(())
}

#[test]
fn bcc_3476_loss_is_said() -> Result<()> {
    let mut actors = Actors::start("")?;
    for command in ["trace", "leaks --for 5m"] {
        let port = actors.port;
        let tcpleak = Tcpleak::watching(&format!("{command} --port {port} --ring-size 64KiB"))?;
        flood(&tcpleak, &mut actors, "churn 1")?;
        let finished = tcpleak.interrupt()?;
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        let said = finished.stdout;
        assert!(
            said.contains(" lost (") && !said.contains("Nothing lost"),
            "{said}"
        );
    }
    Ok(())
}

#[test]
fn retis_128_the_count_of_what_was_lost_is_exact() -> Result<()> {
    let mut actors = Actors::start("")?;
    let port = actors.port;
    let arguments = format!("leaks --port {port} --ring-size 64KiB --for 5m --format json");
    let watch = Tcpleak::watching(&arguments)?;
    flood(&watch, &mut actors, "open 1")?;
    let loss = watch.interrupt()?.json()?["loss"].clone();
    let count = |name: &str| {
        let count = loss[name].as_u64();
        count.with_context(|| format!("no `{name}` in {loss}"))
    };
    let lost = count("ring_full")? + count("hook_missed")? + count("undecodable")?;
    assert!(lost > 0, "{loss}");
    assert_eq!(count("events_lost")?, lost, "{loss}");
    let (generated, delivered) = (count("events_generated")?, count("events_delivered")?);
    assert_eq!(generated, delivered + lost, "{loss}");
    Ok(())
}

#[test]
fn kguardian_1489_an_open_that_was_lost_is_found_again() -> Result<()> {
    let mut actors = Actors::start("")?;
    // Folded, an open would not be lost.
    let watch = Tcpleak::watching(&format!(
        "leaks --ring-size 64KiB --for 5m --format json --fold-above {}",
        u32::MAX
    ))?;
    let held = flood(&watch, &mut actors, "open 5")?;
    // A socket is announced in SYN_SENT before it is listed: that one of the flood is
    // gone, whose end was lost, shows after a second (`HASHED_MS`, reconcile). Five seconds
    // are enough; where all is slow, twice that.
    let report = watch.interrupt_after(patience() / 12)?.json()?;
    for role in ROLES {
        // What was heard of the flood has a call site, and is gone.
        let group = live_group_of(&report, u32::try_from(actors.pid(role))?, role)?;
        assert_eq!(fds(group)?, numbers(&held, role)?, "{group}");
        for connection in list(group, "connections")? {
            assert_ne!(connection["known"], "observed", "{connection}");
        }
    }
    Ok(())
}
