//! Filters let through what was asked for, whole, and nothing else, while other
//! traffic goes on.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::support::{
    Netns, Program, Tcpleak,
    report::{groups_of, list, states},
    wait_for,
};

/// Connections made in each test, after the first one that was seen.
const CONNECTIONS: usize = 10;

/// Two programs alike, of which one is asked for.
struct Two {
    wanted: Program,
    port: u64,
    other: Program,
}

impl Two {
    fn start(source: &str) -> Result<Self> {
        let wanted = Program::start("ends", source)?;
        let other = Program::start("ends", "")?;
        other.hear()?;
        let port = wanted.hear()?["port"].as_u64().context("no port")?;
        Ok(Self {
            wanted,
            port,
            other,
        })
    }

    /// Makes connections of both until the ends of the wanted one with these
    /// roles are told, which takes a first snapshot; then some more. Returns
    /// everything told of the latter, and asserts that nothing was of the other.
    fn traffic(&mut self, arguments: &str, roles: &[&str]) -> Result<Vec<Value>> {
        let tcpleak = Tcpleak::watching(&format!("trace --format jsonl {arguments}"))?;
        let exchange = |two: &mut Self| {
            two.other.ask("close")?;
            two.wanted.ask("close")
        };
        let (mut read, mut lines) = (0, Vec::new());
        let followed = wait_for("tcpleak to follow", || {
            exchange(self)?;
            lines.extend(tcpleak.lines_after(&mut read)?);
            let told = |role: &&str| {
                lines
                    .iter()
                    // One whose opening was not let through yet is not observed.
                    .any(|e| e["event"] == "gone" && e["role"] == *role && e["known"] == "observed")
            };
            Ok(roles.iter().all(told).then_some(()))
        });
        followed.with_context(|| {
            format!(
                "of {} lines the last are {:#?}",
                lines.len(),
                lines.iter().rev().take(3)
            )
        })?;
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            let said = exchange(self)?;
            clients.push(said["client"].as_str().context("no address")?.to_owned());
        }
        let ours = |event: &Value| {
            let end = |name: &str| event[name].as_str().unwrap_or_default().replace(']', "");
            let ends = [end("local"), end("remote")];
            clients.iter().any(|c| ends.iter().any(|e| e.ends_with(c)))
        };
        let expected = CONNECTIONS * roles.len();
        wait_for("their ends", || {
            let lines = tcpleak.lines()?;
            let gone = lines.iter().filter(|e| e["event"] == "gone" && ours(e));
            Ok((gone.count() >= expected).then_some(()))
        })?;
        let events = tcpleak.interrupt()?.lines()?;
        for event in &events {
            assert_ne!(event["pid"], self.other.pid(), "{event}");
        }
        Ok(events.into_iter().filter(ours).collect())
    }
}

/// Asserts that these are whole lifecycles of these roles, and of them alone.
fn are_whole(events: &[Value], roles: &[&str], pid: u32) -> Result<()> {
    for role in roles {
        let of_role = || events.iter().filter(|event| event["role"] == *role);
        let count = |name: &str| of_role().filter(|event| event["event"] == name).count();
        for name in ["open", "established", "gone"] {
            assert_eq!(count(name), CONNECTIONS, "{name} of a {role}");
        }
        for gone in of_role().filter(|event| event["event"] == "gone") {
            let first = if *role == "client" {
                "SYN_SENT"
            } else {
                "SYN_RECV"
            };
            assert_eq!(states(gone)?[0], first, "{gone}");
            assert_eq!(gone["known"], "observed");
            assert_eq!(gone["pid"], pid, "{gone}");
        }
    }
    let others = events.iter().find(|event| {
        let role = event["role"].as_str().unwrap_or_default();
        !roles.contains(&role)
    });
    assert_eq!(others, None);
    Ok(())
}

#[test]
fn a_process() -> Result<()> {
    let mut two = Two::start("")?;
    let pid = two.wanted.pid();
    let roles = ["client", "server"];
    let events = two.traffic(&format!("--pid {pid}"), &roles)?;
    are_whole(&events, &roles, pid)
}

#[test]
fn a_port() -> Result<()> {
    let mut two = Two::start("")?;
    let arguments = format!("--port {}", two.port);
    let roles = ["client", "server"];
    let events = two.traffic(&arguments, &roles)?;
    are_whole(&events, &roles, two.wanted.pid())
}

#[test]
fn a_remote_network_with_mapped_addresses() -> Result<()> {
    let mut two = Two::start("127.93.0.7")?;
    let events = two.traffic("--remote 127.93.0.0/16", &["server"])?;
    for event in &events {
        let remote = event["remote"].as_str().context("no remote")?;
        assert!(remote.starts_with("[::ffff:127.93.0.7]:"), "{event}");
    }
    are_whole(&events, &["server"], two.wanted.pid())
}

#[test]
fn a_network_namespace() -> Result<()> {
    let netns = Netns::new()?;
    let wanted = Program::start_in(&netns, "ends", "")?;
    let other = Program::start("ends", "")?;
    other.hear()?;
    let port = wanted.hear()?["port"].as_u64().context("no port")?;
    let mut two = Two {
        wanted,
        port,
        other,
    };
    let roles = ["client", "server"];
    let events = two.traffic(&format!("--netns {}", netns.name), &roles)?;
    let inode = netns.inode()?;
    assert!(events.iter().all(|event| event["netns"] == inode));
    are_whole(&events, &roles, two.wanted.pid())
}

/// `ip netns add` makes a namespace that no process is in.
#[test]
fn a_network_namespace_that_was_empty_at_the_start() -> Result<()> {
    let netns = Netns::new()?;
    let arguments = format!("leaks --for 10m --netns {} --format json", netns.name);
    let tcpleak = Tcpleak::watching(&arguments)?;
    let mut inside = Program::start_in(&netns, "ends", "")?;
    inside.hear()?;
    inside.ask("hold 3")?;
    let report = tcpleak.interrupt()?.json()?;
    let groups = groups_of(&report, inside.pid())?;
    assert_eq!(groups.len(), 2, "both ends: {report}");
    for group in groups {
        assert_eq!(group["live"], 3, "{group}");
        for connection in list(group, "connections")? {
            // Only a snapshot of the namespace can tell.
            assert_eq!(connection["recv_q"], 0, "{connection}");
        }
    }
    Ok(())
}
