//! Network namespaces that come and go while tcpleak runs.

use std::fs;

use anyhow::{Context, Result};

use crate::support::{
    Netns, Program, Tcpleak,
    report::{groups_of, list},
    wait_for,
};

#[test]
fn sockets_in_a_namespace_made_after_the_start_have_state_and_holders() -> Result<()> {
    let tcpleak = Tcpleak::watching("leaks --for 12s --format json")?;
    let netns = Netns::new()?;
    let mut inside = Program::start_in(&netns, "ends", "")?;
    inside.hear()?;
    inside.ask("hold 4")?;
    inside.ask("drop 1")?;
    let report = tcpleak.finish()?.json()?;
    let groups = groups_of(&report, inside.pid())?;
    let connections: Vec<_> = groups
        .iter()
        .map(|group| list(group, "connections"))
        .collect::<Result<Vec<_>>>()?
        .concat();
    assert_eq!(connections.len(), 6, "both ends of three: {report}");
    for connection in &connections {
        assert_eq!(connection["netns"], netns.inode()?, "{connection}");
        assert_eq!(connection["known"], "observed", "{connection}");
        let holders = list(connection, "holders")?;
        let first = holders.first().context("nobody holds it")?;
        assert_eq!(first["pid"], inside.pid(), "{connection}");
        assert!(connection["recv_q"].is_u64(), "{connection}");
    }
    let blind = report["blind"].to_string();
    assert!(blind.contains("made after the start"), "{blind}");
    Ok(())
}

#[test]
fn a_namespace_that_is_removed_is_let_go() -> Result<()> {
    let netns = Netns::new()?;
    // A link between namespaces goes when either of them does.
    let link = format!("v{}", std::process::id() % 100_000);
    let veth = [
        "link", "add", &link, "type", "veth", "peer", "name", "peer", "netns",
    ];
    crate::support::process::output(std::process::Command::new("ip").args(veth).arg(&netns.name))?;
    let shown = format!("/sys/class/net/{link}");
    let tcpleak = Tcpleak::watching("trace --format jsonl")?;
    assert!(fs::exists(&shown)?);
    drop(netns);
    wait_for("the namespace to go", || {
        Ok((!fs::exists(&shown)?).then_some(()))
    })?;
    let finished = tcpleak.interrupt()?;
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    Ok(())
}
