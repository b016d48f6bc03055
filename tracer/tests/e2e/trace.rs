//! `trace` tells each connection once per side, whole and with the right owner.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::support::{
    Nginx, Program, Tcpleak,
    random::number,
    report::{numbers, states},
    tcpleak::{Finished, unless_lossy},
    wait_for,
};

/// Requests, one after the other; `TCPLEAK_REQUESTS` makes it another number.
const REQUESTS: usize = 300;

#[test]
fn each_connection_is_told_once_on_each_side() -> Result<()> {
    let requests = number("TCPLEAK_REQUESTS")?.unwrap_or(REQUESTS);
    let nginx = Nginx::start()?;
    let other = Nginx::start()?;
    let (finished, pids) = unless_lossy(|| traced_curls(&nginx, &other, requests))?;
    let port = nginx.port;
    let events = finished.lines()?;
    let gone = events.iter().filter(|e| e["event"] == "gone").count();
    assert_eq!(gone, 2 * requests, "one `gone` for each side");

    let worker = i64::from(nginx.worker()?);
    let mut connections: HashMap<&str, Vec<&Value>> = HashMap::new();
    for event in &events {
        let id = event["id"].as_str().context("no id")?;
        connections.entry(id).or_default().push(event);
    }
    assert_eq!(connections.len(), 2 * requests);

    // The kernel may use a port again after a second (tcp_tw_reuse), so the same
    // ends may come twice.
    let mut clients = BTreeMap::new();
    let mut servers = Vec::new();
    for events in connections.values() {
        let last = in_order(events)?;
        let ends = |from: &str, to: &str| (last[from].to_string(), last[to].to_string());
        match last["role"].as_str() {
            Some("client") => {
                is_curls_side(last, port)?;
                let pid = last["pid"].as_i64().context("no pid")?;
                assert_eq!(clients.insert(pid, ends("local", "remote")), None, "{last}");
            }
            Some("server") => {
                is_nginx_side(last, worker)?;
                servers.push(ends("remote", "local"));
            }
            _ => panic!("neither side: {last}"),
        }
    }
    assert_eq!(clients.keys().copied().collect::<BTreeSet<_>>(), pids);
    let mut mirrored: Vec<_> = clients.into_values().collect();
    mirrored.sort();
    servers.sort();
    assert_eq!(mirrored, servers);
    Ok(())
}

/// Traces so many requests to `nginx`, and others to `other` that are not to be seen.
/// Also returns the pids of those who asked.
fn traced_curls(
    nginx: &Nginx,
    other: &Nginx,
    requests: usize,
) -> Result<(Finished, BTreeSet<i64>)> {
    let port = nginx.port;
    let tcpleak = Tcpleak::watching(&format!("trace --port {port} --format jsonl"))?;
    let noise = Program::start("curls", &format!("{} 0", other.port))?;
    let curls = Program::start("curls", &format!("{port} {requests}"))?;
    let pids = numbers(&curls.hear()?, "pids")?.into_iter().collect();
    let is_gone = |line: &&Value| line["event"] == "gone";
    wait_for("all connections to be gone", || {
        let gone = tcpleak.lines()?.iter().filter(is_gone).count();
        Ok((gone >= 2 * requests).then_some(()))
    })?;
    noise.finish()?;
    Ok((tcpleak.interrupt()?.whole()?, pids))
}

/// The events of one connection: first `open`, then `established`, last `gone`,
/// times never going back. Returns the last.
fn in_order<'a>(events: &[&'a Value]) -> Result<&'a Value> {
    let names: Vec<_> = events.iter().map(|e| e["event"].as_str()).collect();
    assert_eq!(names[..2], [Some("open"), Some("established")], "{names:?}");
    let count = |name| names.iter().filter(|n| **n == Some(name)).count();
    for once in ["open", "established", "app-close", "gone"] {
        assert_eq!(count(once), 1, "{once} in {names:?}");
    }
    let last = events.last().context("no event")?;
    assert_eq!(last["event"], "gone");
    // RFC 3339 in UTC with six digits: sorts as text.
    assert!(
        events.is_sorted_by_key(|event| event["at"].as_str()),
        "{events:?}"
    );
    let history = last["history"].as_array().context("no history")?;
    assert!(history.is_sorted_by_key(|entry| entry["at"].as_str()));
    assert_eq!(last["opened_at"], history[0]["at"]);
    assert_eq!(last["known"], "observed");
    assert!(last["age_ms"].is_u64(), "{last}");
    Ok(last)
}

fn is_curls_side(last: &Value, port: u16) -> Result<()> {
    assert_eq!(last["comm"], "curl");
    assert_eq!(last["remote"], format!("127.0.0.1:{port}"));
    assert_eq!(last["closed_by"], "local", "{last}");
    assert!(last["fd"].is_i64(), "{last}");
    let states = states(last)?;
    let (start, end) = states.split_at(3.min(states.len()));
    assert_eq!(start, ["SYN_SENT", "ESTABLISHED", "FIN_WAIT1"], "{last}");
    // Where the server closes at the same moment, the FINs cross.
    let usual = [
        &["FIN_WAIT2", "TIME_WAIT", "CLOSE"][..],
        &["FIN_WAIT2", "CLOSE"],
        &["CLOSING", "TIME_WAIT", "CLOSE"],
        &["CLOSING", "CLOSE"],
    ];
    assert!(usual.contains(&end), "{states:?}");
    Ok(())
}

fn is_nginx_side(last: &Value, worker: i64) -> Result<()> {
    assert_eq!(last["pid"], worker, "{last}");
    assert_eq!(last["comm"], "nginx");
    assert_eq!(last["closed_by"], "peer", "{last}");
    assert_eq!(
        states(last)?,
        ["SYN_RECV", "ESTABLISHED", "CLOSE_WAIT", "LAST_ACK", "CLOSE"]
    );
    Ok(())
}
