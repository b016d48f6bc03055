//! Where tracing costs more than it may, detail is left out, and that is said.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::support::{
    Netns, Program, Tcpleak,
    report::{list, states},
    tcpleak::unless_lossy,
    wait_for,
};

/// The least that can be allowed: less than any trace takes while something happens.
const LITTLE: &str = "--max-overhead 0.1";

#[test]
fn stacks_are_left_out_then_transitions_and_never_an_open_or_a_close() -> Result<()> {
    let finished = unless_lossy(|| {
        let netns = Netns::new()?;
        let mut ends = Program::start_in(&netns, "ends", "")?;
        ends.hear()?;
        let arguments = format!("trace {LITTLE} --netns {} --format jsonl", netns.name);
        let tcpleak = Tcpleak::watching(&arguments)?;
        let before = closed(&mut ends, &tcpleak)?;
        assert_eq!(
            states(&before)?[1..4],
            ["ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2"]
        );

        let churn = Program::start_in(&netns, "churn", "10")?;
        leaves_out(&tcpleak, &json!(["stacks"]))?;
        leaves_out(&tcpleak, &json!(["stacks", "transitions"]))?;
        drop(churn);
        // Where the FIN of the other end comes after its delayed ACK, the kernel keeps
        // FIN_WAIT2, and what becomes of that is not among the socket's states.
        let gone = wait_for("a FIN that comes in time", || {
            let gone = closed(&mut ends, &tcpleak)?;
            Ok((gone["lingers"] == "TIME_WAIT").then_some(gone))
        })?;
        assert_eq!(
            states(&gone)?,
            ["SYN_SENT", "ESTABLISHED", "TIME_WAIT", "CLOSE"]
        );
        assert_eq!(gone["known"], "observed", "{gone}");
        assert_eq!(gone["closed_by"], "local", "{gone}");
        tcpleak.interrupt()?.whole()
    })?;
    assert!(finished.repaired_nothing(), "{}", finished.stderr);
    Ok(())
}

#[test]
fn leaks_says_what_was_left_out_and_for_how_long() -> Result<()> {
    let (_churn, _) = super::loss::churn(10)?;
    let tcpleak = Tcpleak::watching(&format!("leaks {LITTLE} --for 10m --format json"))?;
    wait_for("something to be left out", || {
        Ok(tcpleak
            .said()?
            .contains("call stacks are left out")
            .then_some(()))
    })?;
    let report = tcpleak.interrupt_after(Duration::from_secs(2))?.json()?;
    let blind = list(&report, "blind")?.iter().filter_map(Value::as_str);
    let said = blind.filter(|sentence| sentence.contains("--max-overhead"));
    assert_eq!(said.count(), 1, "{report}");
    Ok(())
}

fn leaves_out(tcpleak: &Tcpleak, what: &Value) -> Result<Value> {
    let is_it = |event: &Value| event["event"] == "shed" && event["left_out"] == *what;
    tcpleak.wait_line(&format!("{what} to be left out"), is_it)
}

/// Has a connection opened and closed; what is told of the side that closed it.
fn closed(ends: &mut Program, tcpleak: &Tcpleak) -> Result<Value> {
    let client = ends.ask("close")?["client"].clone();
    tcpleak.wait_line("its end", |event| {
        event["event"] == "gone" && event["local"] == client
    })
}
