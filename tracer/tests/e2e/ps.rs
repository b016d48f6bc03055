//! `ps` agrees with `ss` on sockets of every kind.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::support::{
    Netns, Program,
    net::{Listed, ss},
    report::list,
    tcpleak, wait_for,
};

/// The listeners of `zoo.py`.
const LISTENERS: [&str; 4] = ["v4", "v6", "dual", "other"];

#[test]
fn agrees_with_ss_on_every_kind_of_socket() -> Result<()> {
    let zoo = Program::start("zoo", "")?;
    let ports = zoo.hear()?;
    for listener in LISTENERS {
        let port = u16::try_from(ports[listener].as_u64().context("no port")?)?;
        // Queues may be on the move for an instant: compare what stands still.
        wait_for("ps and ss to agree", || {
            let before = ss(port)?;
            let ours = ps(&format!("--port {port}"))?;
            if before != ss(port)? {
                return Ok(None);
            }
            assert_eq!(listed(&ours)?, sorted(before), "{listener}");
            Ok(Some(()))
        })?;
    }
    Ok(())
}

#[test]
fn the_zoo_is_not_empty() -> Result<()> {
    let zoo = Program::start("zoo", "")?;
    let port = u16::try_from(zoo.hear()?["v4"].as_u64().context("no port")?)?;
    // The peers acknowledge some of the FINs only after a while.
    let ours = wait_for("every end to be acknowledged", || {
        let ours = listed(&ps(&format!("--port {port}"))?)?;
        let is_settled = ours.iter().all(|s| s.state != "FIN_WAIT1");
        Ok(is_settled.then_some(ours))
    })?;
    let count = |state: &str, held: bool| {
        let same = |s: &&Listed| s.state == state && s.pid.is_some() == held;
        ours.iter().filter(same).count()
    };
    assert_eq!(count("LISTEN", true), 1, "{ours:#?}");
    assert_eq!(count("CLOSE_WAIT", true), 2);
    assert_eq!(count("FIN_WAIT2", true), 1, "held after shutdown");
    assert_eq!(count("FIN_WAIT2", false), 1, "an orphan");
    assert_eq!(count("ESTABLISHED", false), 1, "never accepted");
    assert_eq!(count("ESTABLISHED", true), 7);
    assert!(ours.iter().any(|s| s.recv_q == 8));
    assert!(ours.iter().any(|s| s.send_q > 65_536));
    Ok(())
}

#[test]
fn shows_what_is_asked_for_only() -> Result<()> {
    let zoo = Program::start("zoo", "")?;
    let _second = Program::start("zoo", "")?;
    zoo.hear()?;
    let pid = zoo.pid();
    // Held by the zoo: 4 listeners, 6 pairs, 2 pairs with data, CLOSE_WAIT,
    // 2 half closed, 1 whose other end nobody accepted.
    const HELD: usize = 4 + 12 + 4 + 1 + 2 + 1;

    let of_pid = ps(&format!("--pid {pid}"))?;
    assert_eq!(of_pid.len(), HELD, "{of_pid:#?}");
    assert!(of_pid.iter().all(|c| c["pid"] == pid));

    let remote = ps(&format!("--pid {pid} --remote 127.77.0.0/16"))?;
    assert_eq!(remote.len(), 1, "the client's end: {remote:#?}");
    let mapped = ps(&format!("--pid {pid} --remote 127.0.0.0/8"))?;
    assert!(
        mapped
            .iter()
            .any(|c| c["remote"].as_str().is_some_and(|r| r.contains("ffff"))),
        "an IPv4-mapped end is in an IPv4 network: {mapped:#?}"
    );
    let v6 = ps(&format!("--pid {pid} --remote ::1"))?;
    assert_eq!(v6.len(), 4, "both ends of two: {v6:#?}");

    let of_name = ps("--comm python3")?;
    let ours = of_name.iter().filter(|c| c["pid"] == pid).count();
    assert_eq!(ours, HELD);
    assert!(of_name.iter().all(|c| c["comm"] == "python3"));
    assert!(ps("--comm python")?.is_empty(), "names match whole");
    Ok(())
}

#[test]
fn looks_into_other_network_namespaces() -> Result<()> {
    let netns = Netns::new()?;
    let inside = Program::start_in(&netns, "zoo", "")?;
    let outside = Program::start("zoo", "")?;
    inside.hear()?;
    outside.hear()?;
    let inode = netns.inode()?;
    for name in [&netns.name, &inode.to_string()] {
        let ours = ps(&format!("--netns {name}"))?;
        assert!(ours.iter().all(|c| c["netns"] == inode), "{ours:#?}");
        assert!(ours.iter().any(|c| c["pid"] == inside.pid()));
        assert!(ours.iter().all(|c| c["pid"] != outside.pid()));
    }
    Ok(())
}

fn ps(filters: &str) -> Result<Vec<Value>> {
    let document = tcpleak::run(&format!("ps --format json {filters}"))?.json()?;
    assert_eq!(document["schema"], "tcpleak.ps/1");
    Ok(list(&document, "connections")?.to_vec())
}

/// What `ps` says, in the terms of `ss`.
fn listed(connections: &[Value]) -> Result<Vec<Listed>> {
    let one = |c: &Value| {
        let text = |name: &str| c[name].as_str().context("no text").map(str::to_owned);
        Ok(Listed {
            state: text("state")?,
            // `ss` prints 0 for a mini-socket, which has no queue.
            recv_q: c["recv_q"].as_u64().unwrap_or(0),
            send_q: c["send_q"].as_u64().unwrap_or(0),
            local: text("local")?,
            remote: text("remote")?,
            pid: c["pid"].as_u64(),
        })
    };
    Ok(sorted(connections.iter().map(one).collect::<Result<_>>()?))
}

fn sorted(mut sockets: Vec<Listed>) -> Vec<Listed> {
    for socket in &mut sockets {
        // `ss` writes `*` for every address of both families.
        for end in [&mut socket.local, &mut socket.remote] {
            *end = end.replace("[::]:", "*:");
        }
    }
    sockets.sort();
    sockets
}
