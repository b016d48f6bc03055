//! What users of other tracers complained of, each as a test named after the
//! complaint: repository, number, and what must hold.

mod lifetimes;
mod limits;
mod owners;
mod start;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::support::{
    Program, Tcpleak,
    report::list,
    tcpleak::{Finished, unless_lossy},
    wait_for,
};

/// Both ends of a connection.
const ROLES: [&str; 2] = ["client", "server"];

/// The two processes of `actors.py`.
struct Actors {
    program: Program,
    client: u64,
    server: u64,
    port: u16,
    /// What tells their connections from all others of the host.
    filter: String,
    address: String,
}

impl Actors {
    fn start(arguments: &str) -> Result<Self> {
        let program = Program::start("actors", arguments)?;
        let said = program.hear()?;
        let number = |name: &str| said[name].as_u64().context("no number");
        let address = said["address"].as_str().context("no address")?;
        Ok(Self {
            address: address.to_owned(),
            filter: format!("--port {} --remote {address}", number("port")?),
            client: number("client")?,
            server: number("server")?,
            port: u16::try_from(number("port")?)?,
            program,
        })
    }

    /// Tells the client what to do, and returns which connections that were.
    fn ask(&mut self, command: &str) -> Result<Value> {
        self.program.ask(command)
    }

    /// A trace of their connections.
    fn trace(&self) -> Result<Tcpleak> {
        Tcpleak::watching(&format!("trace {} --format jsonl", self.filter))
    }

    /// A watch over their connections, to be interrupted.
    fn watch(&self) -> Result<Tcpleak> {
        let filter = &self.filter;
        Tcpleak::watching(&format!("leaks {filter} --for 5m --format json"))
    }

    /// The process on that side.
    fn pid(&self, role: &str) -> u64 {
        if role == "client" {
            self.client
        } else {
            self.server
        }
    }

    /// Asserts that an event names the right process and no other.
    fn is_owned(&self, event: &Value) -> Result<()> {
        let role = event["role"].as_str().context("no role")?;
        assert_eq!(event["pid"], self.pid(role), "{event}");
        assert_eq!(event["comm"], format!("actor-{role}"), "{event}");
        Ok(())
    }
}

/// The events of that name, of that side.
fn of<'a>(
    events: &'a [Value],
    name: &'a str,
    role: &'a str,
) -> impl Iterator<Item = &'a Value> + use<'a> {
    events
        .iter()
        .filter(move |event| event["event"] == name && event["role"] == role)
}

/// All events, once that many sockets are gone, of a trace that lost none.
fn ended(tcpleak: Tcpleak, sockets: usize) -> Result<Vec<Value>> {
    finished(tcpleak, sockets)?.whole()?.lines()
}

/// Waits until that many sockets are gone, and ends the trace.
fn finished(tcpleak: Tcpleak, sockets: usize) -> Result<Finished> {
    let (mut read, mut gone) = (0, 0);
    let waited = wait_for("all sockets to be gone", || {
        let events = tcpleak.lines_after(&mut read)?;
        gone += ROLES
            .map(|role| of(&events, "gone", role).count())
            .iter()
            .sum::<usize>();
        Ok((gone >= sockets).then_some(()))
    });
    let finished = tcpleak.interrupt()?;
    waited.with_context(|| {
        let events = finished.lines().unwrap_or_default();
        let ends = by_id(&events).unwrap_or_default();
        let last = ends.values().filter_map(|events| events.last());
        let left: Vec<_> = last.filter(|event| event["event"] != "gone").collect();
        format!("still there: {left:#?}, {}", finished.stderr)
    })?;
    Ok(finished)
}

/// The events of each connection's end, in the order in which they were told.
fn by_id(events: &[Value]) -> Result<BTreeMap<&str, Vec<&Value>>> {
    let mut ends: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for event in events.iter().filter(|event| event["event"] != "loss") {
        let id = event["id"].as_str().context("no id")?;
        ends.entry(id).or_default().push(event);
    }
    Ok(ends)
}

/// What happened, by name.
fn names<'a>(events: &[&'a Value]) -> Vec<&'a str> {
    let names = events.iter().filter_map(|event| event["event"].as_str());
    names.collect()
}

/// Asserts that these events of one end are a life from first to last, each step
/// of it once, and its times in order.
fn is_whole(events: &[&Value]) {
    let names = names(events);
    assert_eq!(names.first(), Some(&"open"), "{events:#?}");
    assert_eq!(names.get(1), Some(&"established"), "{events:#?}");
    assert_eq!(names.last(), Some(&"gone"), "{events:#?}");
    for once in ["open", "established", "app-close", "gone"] {
        let count = names.iter().filter(|name| **name == once).count();
        assert_eq!(count, 1, "{once}: {events:#?}");
    }
    // RFC 3339 in UTC with six digits: sorts as text.
    assert!(
        events.is_sorted_by_key(|event| event["at"].as_str()),
        "{events:#?}"
    );
}

/// A list of texts that a program said.
fn texts<'a>(said: &'a Value, name: &str) -> Result<Vec<&'a str>> {
    let texts = list(said, name)?.iter().map(Value::as_str);
    texts.collect::<Option<_>>().context("not a text")
}

/// A number of the report's summary.
fn total(report: &Value, name: &str) -> Result<u64> {
    let total = report["summary"][name].as_u64();
    total.with_context(|| format!("no `{name}` in {report}"))
}
