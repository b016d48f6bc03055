//! Call stacks: which code opens connections, and what hostile files cost.

mod compiled;

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use crate::support::{
    Program, Tcpleak,
    report::{group_of, list},
};

/// Long enough for all to be read and named.
const WATCH: Duration = Duration::from_secs(2);

/// Every plan takes stacks at connect and at accept, and copies those that frame
/// pointers do not show: Python's interpreter keeps none, and its `main` is found.
#[test]
fn each_plan_takes_the_stacks_of_connect_and_accept() -> Result<()> {
    takes_the_stacks("")
}

/// Where the first second of a connection comes in one record, this is known as well, and
/// while it is open.
#[test]
fn each_plan_takes_the_stacks_of_folded_ones_too() -> Result<()> {
    takes_the_stacks("--fold-above 0")
}

fn takes_the_stacks(options: &str) -> Result<()> {
    let arguments = format!("leaks --for 10m --all --format json {options}");
    let tcpleak = Tcpleak::watching(&arguments)?;
    let program = Program::start("half_closed", "3")?;
    program.hear()?;
    let report = tcpleak.interrupt_after(WATCH)?.json()?;
    for role in ["client", "server"] {
        let group = group_of(&report, program.pid(), role)?;
        let frames = list(&group["site"], "frames")?;
        let is_main = |frame: &Value| {
            let frame = frame.as_str().unwrap_or_default();
            frame.starts_with("Py_BytesMain")
        };
        assert!(frames.iter().any(is_main), "{frames:?}");
        assert_eq!(group["site"]["cut_short"], false, "{frames:?}");
        assert!(group["site"]["call_site"].is_string(), "{group}");
        assert_eq!(group["site"]["opened_before_start"], false, "{group}");
        let connections = list(group, "connections")?;
        assert!(
            connections.iter().all(|one| one["known"] == "observed"),
            "{group}"
        );
        assert_eq!(connections.len(), 3, "{group}");
    }
    program.finish()?;
    Ok(())
}

#[test]
fn without_stacks_there_are_none() -> Result<()> {
    let tcpleak = Tcpleak::watching("leaks --for 10m --format json --stacks off")?;
    let program = Program::start("half_closed", "3")?;
    program.hear()?;
    let report = tcpleak.interrupt_after(WATCH)?.json()?;
    for role in ["client", "server"] {
        let group = group_of(&report, program.pid(), role)?;
        assert!(list(&group["site"], "frames")?.is_empty(), "{group}");
        assert_eq!(group["site"]["opened_before_start"], false, "{group}");
    }
    Ok(())
}

/// A process that opens more than its share costs no more, and nobody else's stacks.
#[test]
fn a_flood_has_its_share_of_stacks_and_no_more() -> Result<()> {
    let tcpleak = Tcpleak::watching("leaks --for 10m --all --format json")?;
    let flood = Program::start("churn", "1000000")?;
    flood.hear()?;
    let bystander = Program::start("half_closed", "3")?;
    bystander.hear()?;
    let report = tcpleak.interrupt_after(2 * WATCH)?.json()?;
    let blind = list(&report, "blind")?.iter().filter_map(Value::as_str);
    let share = blind.filter(|line| line.contains("1000 a second are enough of one process"));
    assert_eq!(share.count(), 1, "{}", report["blind"]);
    for program in [&flood, &bystander] {
        let group = group_of(&report, program.pid(), "client")?;
        assert!(!list(&group["site"], "frames")?.is_empty(), "{group}");
    }
    Ok(())
}

#[test]
fn what_was_open_before_the_start_says_so() -> Result<()> {
    let program = Program::start("half_closed", "3")?;
    program.hear()?;
    let tcpleak = Tcpleak::watching("leaks --for 10m --format json")?;
    let report = tcpleak.interrupt_after(WATCH)?.json()?;
    let group = group_of(&report, program.pid(), "client")?;
    assert_eq!(group["site"]["opened_before_start"], true, "{group}");
    assert!(list(&group["site"], "frames")?.is_empty(), "{group}");
    Ok(())
}
