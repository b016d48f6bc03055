//! A trace that starts in the middle of much that is open and comes and goes.

use std::collections::HashMap;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::support::{
    Program, Tcpleak, Witness,
    random::number,
    report::{fds, group_of, list, numbers},
    wait_for,
    witness::ordered,
};

/// Connections open before the start; `TCPLEAK_MIDDLE` makes it another number.
const OPEN: usize = 5_000;

#[test]
fn all_that_was_open_is_inherited_once_with_its_owner() -> Result<()> {
    let open = number("TCPLEAK_MIDDLE")?.unwrap_or(OPEN);
    let mut crowd = Program::start("crowd", &open.to_string())?;
    let said = crowd.hear()?;
    let port = u16::try_from(said["port"].as_u64().context("no port")?)?;
    let witness = Witness::new()?;
    let tcpleak = Tcpleak::watching(&format!("trace --port {port} --format jsonl"))?;
    crowd.ask("close")?;

    // By role and the client's port: the process and the fd.
    let mut expected = HashMap::new();
    for connection in list(&said, "fds")? {
        let three = connection.as_array().context("no list")?;
        let [at, client, server] = &three[..] else {
            anyhow::bail!("not three: {three:?}");
        };
        let at = u16::try_from(at.as_u64().context("no port")?)?;
        expected.insert(("client", at), (&said["client"], client));
        expected.insert(("server", at), (&said["server"], server));
    }
    assert_eq!(expected.len(), 2 * open);
    let mut read = 0;
    let mut ends: HashMap<_, Vec<Value>> = HashMap::new();
    wait_for("all ends to be told", || {
        for event in tcpleak.lines_after(&mut read)? {
            // Ports that are free again may be another program's next.
            let is_anothers = event["pid"].is_u64()
                && ![&said["client"], &said["server"]].contains(&&event["pid"]);
            if event["event"] == "gone"
                && !is_anothers
                && let Some(key) = key(&event)
                && expected.contains_key(&key)
            {
                ends.entry(key).or_default().push(event);
            }
        }
        Ok((ends.len() == expected.len()).then_some(()))
    })?;
    let finished = tcpleak.interrupt()?;
    // Whose end was lost is gone like the others, but nobody knows by whom.
    let mut unheard = 0;
    let hidden = witness.hidden()?;
    for (key, ends) in ends {
        let [end] = &ends[..] else {
            panic!("{key:?} is gone several times: {ends:?}");
        };
        let (role, at) = key;
        if hidden.contains(&ordered(port, at)) {
            continue;
        }
        let by = if role == "client" { "local" } else { "peer" };
        let (pid, fd) = expected[&key];
        assert_eq!(end["known"], "inherited", "{end}");
        assert_eq!((&end["pid"], &end["fd"]), (pid, fd), "{end}");
        if end["closed_by"].is_null() {
            unheard += 1;
        } else {
            assert_eq!(end["closed_by"], by, "{end}");
        }
    }
    let lost = finished.lost()?;
    assert!(unheard <= lost, "{unheard} of {}", finished.stderr);
    Ok(())
}

/// The role and the client's port.
fn key(event: &Value) -> Option<(&'static str, u16)> {
    let (role, end) = match event["role"].as_str()? {
        "client" => ("client", "local"),
        "server" => ("server", "remote"),
        _ => return None,
    };
    let (_, at) = event[end].as_str()?.rsplit_once(':')?;
    Some((role, at.parse().ok()?))
}

/// Opened and accepted by io_uring: no system call names the fds, but snapshots do.
#[test]
fn what_io_uring_opened_has_its_owner_and_fds() -> Result<()> {
    const COUNT: usize = 5;
    let tcpleak = Tcpleak::watching("leaks --for 1h --all --format json")?;
    let uring = Program::start("uring", &COUNT.to_string())?;
    let said = uring.hear()?;
    let report = tcpleak.interrupt()?.json()?;
    for (role, name) in [("client", "clients"), ("server", "servers")] {
        let group = group_of(&report, uring.pid(), role)?;
        assert_eq!(fds(group)?, numbers(&said, name)?);
        for connection in list(group, "connections")? {
            assert_eq!(connection["known"], "observed", "{connection}");
        }
    }
    Ok(())
}
