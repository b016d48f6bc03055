//! A kernel that refuses the first choice of an attach is served by the second,
//! and `doctor` says so. Played by handing in types in which the tracepoint has
//! another name: the kernel is the same, the attach through BTF cannot work.

use std::{collections::HashMap, fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::support::{
    Nginx, Program, Tcpleak,
    net::free_port,
    report::{fds, group_of, numbers, states},
    tcpleak::run,
    temp::TempDir,
    wait_for,
};

/// The type through which the state hook attaches, and a name of equal length
/// that no kernel has.
const TYPE: &[u8] = b"\0btf_trace_inet_sock_set_state\0";
const OTHER: &[u8] = b"\0btf_trace_inet_sock_set_xxxxx\0";

fn without_state_type(dir: &TempDir) -> Result<PathBuf> {
    let mut types = fs::read("/sys/kernel/btf/vmlinux")?;
    let at = types
        .windows(TYPE.len())
        .position(|window| window == TYPE)
        .context("this kernel has no type for inet_sock_set_state")?;
    types[at..at + TYPE.len()].copy_from_slice(OTHER);
    let path = dir.path().join("btf");
    fs::write(&path, types)?;
    Ok(path)
}

/// What `doctor` says of the hook of transitions.
fn state_hook(doctor: &str) -> Result<Value> {
    let report = run(doctor)?.json()?;
    let checks = report["checks"].as_array().context("no checks")?;
    let state = checks.iter().find(|check| check["name"] == "hook state");
    state.cloned().context("no line for the state hook")
}

#[test]
fn a_refused_attach_falls_back_and_tells_the_same_lifetimes() -> Result<()> {
    let dir = TempDir::new()?;
    let btf = without_state_type(&dir)?;
    let btf = btf.display();

    let state = state_hook("doctor --format json")?;
    // Without cookies, before 5.12, the second choice is the only one.
    let has_first = state["found"] == "tp_btf/inet_sock_set_state";
    let state = state_hook(&format!("doctor --format json --btf {btf}"))?;
    assert_eq!(state["status"] == "degraded", has_first, "{state}");
    let found = state["found"].as_str().context("nothing found")?;
    ensure!(found.starts_with("raw_tp/inet_sock_set_state"), "{found}");
    let names_first = found.contains("tp_btf/inet_sock_set_state");
    assert_eq!(names_first, has_first, "{found}");

    let port = free_port()?;
    let tcpleak = Tcpleak::watching(&format!("trace --port {port} --format jsonl --btf {btf}"))?;
    let echo = Program::start("closers", &format!("{port} 40"))?;
    echo.hear()?;
    let gone = |events: &[Value]| events.iter().filter(|e| e["event"] == "gone").count();
    wait_for("all connections to be gone", || {
        Ok((gone(&tcpleak.lines()?) >= 80).then_some(()))
    })?;
    let events = tcpleak.interrupt()?.lines()?;
    let mut roles = HashMap::new();
    for event in events.iter().filter(|event| event["event"] == "gone") {
        let role = event["role"].as_str().context("no role")?;
        *roles.entry(role).or_insert(0) += 1;
        assert_eq!(event["pid"], echo.pid(), "{event}");
        assert_eq!(event["known"], "observed", "{event}");
        let expected = if role == "client" {
            "SYN_SENT"
        } else {
            "SYN_RECV"
        };
        let states = states(event)?;
        assert_eq!(states.first(), Some(&expected), "{event}");
        assert_eq!(states.last(), Some(&"CLOSE"), "{event}");
    }
    assert_eq!(roles, HashMap::from([("client", 40), ("server", 40)]));
    Ok(())
}

#[test]
fn named_by_address_a_leak_is_the_same_leak() -> Result<()> {
    let dir = TempDir::new()?;
    let btf = without_state_type(&dir)?;
    let nginx = Nginx::start()?;
    let port = nginx.port;
    // Half of the leak is there before the watch starts.
    let before = Program::start("missing_close", &format!("{port} 6 0"))?;
    let before_fds = numbers(&before.hear()?, "fds")?;
    let arguments = format!(
        "leaks --for 10m --port {port} --format json --btf {}",
        btf.display()
    );
    let tcpleak = Tcpleak::watching(&arguments)?;
    let during = Program::start("missing_close", &format!("{port} 8 2"))?;
    let during_fds = numbers(&during.hear()?, "fds")?;

    let report = tcpleak.interrupt_after(Duration::from_secs(6))?.json()?;
    for (program, expected) in [(&before, before_fds), (&during, during_fds)] {
        let group = group_of(&report, program.pid(), "client")?;
        assert_eq!(group["verdict"]["code"], "missing-close", "{group}");
        assert_eq!(fds(group)?, expected);
    }
    Ok(())
}
