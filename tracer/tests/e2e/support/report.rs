//! Looks things up in what `tcpleak` printed.

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The elements of a list.
pub(crate) fn list<'a>(value: &'a Value, name: &str) -> Result<&'a [Value]> {
    let list = value[name].as_array();
    let list = list.with_context(|| format!("no list `{name}` in {value}"))?;
    Ok(list)
}

/// The groups of a process in a report of `leaks`.
pub(crate) fn groups_of(report: &Value, pid: u32) -> Result<Vec<&Value>> {
    let groups = list(report, "groups")?.iter();
    Ok(groups
        .filter(|group| group["owner"]["pid"] == pid)
        .collect())
}

/// A process's only group of that role.
pub(crate) fn group_of<'a>(report: &'a Value, pid: u32, role: &str) -> Result<&'a Value> {
    let groups = groups_of(report, pid)?.into_iter();
    only(groups.filter(|group| group["role"] == role))
        .with_context(|| format!("{role} groups of process {pid} in {report}"))
}

/// Its only one with live connections.
pub(crate) fn live_group_of<'a>(report: &'a Value, pid: u32, role: &str) -> Result<&'a Value> {
    let groups = groups_of(report, pid)?.into_iter();
    only(groups.filter(|group| group["role"] == role && group["live"] != 0))
        .with_context(|| format!("live {role} groups of process {pid} in {report}"))
}

fn only<'a>(mut groups: impl Iterator<Item = &'a Value>) -> Result<&'a Value> {
    let group = groups.next().context("there is none")?;
    match groups.next() {
        None => Ok(group),
        Some(other) => bail!(
            "there are several: of {} and {}",
            group["site"],
            other["site"]
        ),
    }
}

/// The file descriptors of a group's connections, sorted.
pub(crate) fn fds(group: &Value) -> Result<Vec<i64>> {
    let connections = list(group, "connections")?.iter();
    let fds = connections.map(|connection| connection["fd"].as_i64());
    let fds: Option<Vec<i64>> = fds.collect();
    let mut fds = fds.with_context(|| format!("one has no fd: {group}"))?;
    fds.sort_unstable();
    Ok(fds)
}

/// A list of whole numbers that a program said.
pub(crate) fn numbers(value: &Value, name: &str) -> Result<Vec<i64>> {
    let numbers = list(value, name)?.iter().map(Value::as_i64);
    numbers.collect::<Option<_>>().context("not a number")
}

/// The states of a connection's history.
pub(crate) fn states(connection: &Value) -> Result<Vec<&str>> {
    let history = list(connection, "history")?.iter();
    let states = history.map(|entry| entry["state"].as_str());
    states.collect::<Option<_>>().context("not a state")
}
