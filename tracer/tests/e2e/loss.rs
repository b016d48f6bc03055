//! What is lost is said, and does no harm to what is told afterwards.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::support::{Program, Tcpleak, net::ss, report::groups_of};

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
    assert_eq!(loss["events_lost"], loss["ring_full"]);

    let client = ends.ask("close")?["client"].clone();
    let after = tcpleak.wait_line("a connection after the loss", |event| {
        event["event"] == "gone" && event["local"] == client
    })?;
    assert_eq!(after["known"], "observed", "{after}");
    assert_eq!(after["closed_by"], "local", "{after}");
    let finished = tcpleak.interrupt()?;
    assert_eq!(finished.code, Some(0));
    assert!(
        !finished.stderr.contains(" 0 records lost"),
        "{}",
        finished.stderr
    );
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
