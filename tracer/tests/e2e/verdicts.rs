//! Each verdict has a program that deserves it, and the healthy ones get none.
//!
//! All programs run through one watch: it takes long enough for the slowest
//! sign, and they must not be taken for each other.

use std::{collections::BTreeMap, sync::OnceLock, thread, time::Duration};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;

use crate::support::{
    Netns, Nginx, Program, Tcpleak,
    process::output,
    report::{fds, group_of, groups_of, list, numbers},
    tcpleak,
};

/// Growth needs 15 s; a half-closed connection 10 s after its start, and half
/// of the watch.
const WATCH: Duration = Duration::from_secs(18);
/// So far into it there is a burst of work, and a process ends.
const MIDDLE: Duration = Duration::from_secs(6);

/// What one watch saw of everybody.
struct Scene {
    report: Value,
    pids: BTreeMap<&'static str, u32>,
    said: BTreeMap<&'static str, Value>,
}

impl Scene {
    fn group(&self, program: &str, role: &str) -> Result<&Value> {
        group_of(&self.report, self.pids[program], role)
    }

    /// A program's group with this verdict: code, class, fault.
    fn judged(&self, program: &str, role: &str, verdict: [&str; 3]) -> Result<&Value> {
        let group = self.group(program, role)?;
        let said = &group["verdict"];
        let got = [&said["code"], &said["class"], &said["fault"]];
        assert_eq!(got.map(Value::as_str), verdict.map(Some), "{group}");
        Ok(group)
    }

    fn is_innocent(&self, program: &str) -> Result<()> {
        for group in groups_of(&self.report, self.pids[program])? {
            let class = group["verdict"]["class"].as_str();
            assert!(matches!(class, Some("healthy" | "unknown")), "{group}");
        }
        Ok(())
    }
}

/// The watch; the first test that asks makes it for all.
fn scene() -> Result<&'static Scene> {
    static SCENE: OnceLock<Result<Scene>> = OnceLock::new();
    let scene = SCENE.get_or_init(play);
    scene.as_ref().map_err(|error| anyhow!("{error:#}"))
}

fn play() -> Result<Scene> {
    let nginx = Nginx::start()?;
    let port = nginx.port;
    let netns = Netns::new()?;
    for rule in [
        "add table inet e2e",
        "add chain inet e2e input { type filter hook input priority 0; }",
        "add rule inet e2e input tcp dport 4242 drop",
    ] {
        output(netns.command("nft").arg(rule))?;
    }
    // Somebody at home: a namespace without a process is another matter.
    let _resident = Program::start_in(&netns, "no_accept", "1")?;
    let tcpleak = Tcpleak::watching("leaks --for 1m --format json")?;
    let mut programs = vec![
        ("half-closed", Program::start("half_closed", "4")?),
        ("dead", Program::start("dead_fds", "4")?),
        (
            "dropped",
            Program::start_in(&netns, "connecting", "3 4242")?,
        ),
        ("stalled", Program::start("no_accept", "64")?),
        ("full", Program::start("no_accept", "0")?),
        ("churn", Program::start("churn", "200")?),
    ];
    let mut said = BTreeMap::new();
    for (name, program) in &programs {
        said.insert(*name, program.hear()?);
    }
    programs.extend([
        ("growth", Program::start("growth", &format!("{port} 4"))?),
        ("bursts", Program::start("bursts", &format!("{port} 5 30"))?),
        ("worker", Program::start("worker", &format!("{port} 20"))?),
        ("waiting", clients_of(&said["stalled"], 5)?),
        ("refused", clients_of(&said["full"], 4)?),
    ]);
    thread::sleep(MIDDLE);
    for (name, program) in &mut programs {
        match *name {
            "bursts" => drop(program.ask("burst")?),
            "worker" => drop((program.hear()?, program.ask("end")?)),
            _ => {}
        }
    }
    let report = tcpleak.interrupt_after(WATCH - MIDDLE)?.json()?;
    let pids = programs.iter().map(|(name, p)| (*name, p.pid())).collect();
    Ok(Scene { report, pids, said })
}

/// `connecting.py` to the port that another program said.
fn clients_of(said: &Value, count: usize) -> Result<Program> {
    Program::start("connecting", &format!("{count} {}", said["port"]))
}

#[test]
fn half_closed_and_held() -> Result<()> {
    let scene = scene()?;
    let verdict = ["half-closed-held", "leak", "local-app"];
    let group = scene.judged("half-closed", "client", verdict)?;
    assert_eq!(group["live"], 4);
    assert_eq!(fds(group)?, numbers(&scene.said["half-closed"], "fds")?);
    Ok(())
}

#[test]
fn dead_connections_whose_descriptor_is_kept() -> Result<()> {
    let scene = scene()?;
    let group = scene.judged("dead", "client", ["dead-fd", "leak", "local-app"])?;
    assert_eq!(group["live"], 4);
    assert_eq!(fds(group)?, numbers(&scene.said["dead"], "fds")?);
    for connection in list(group, "connections")? {
        assert_eq!(connection["closed_by"], "reset", "{connection}");
    }
    Ok(())
}

#[test]
fn connects_that_a_firewall_drops() -> Result<()> {
    let scene = scene()?;
    let group = scene.judged("dropped", "client", ["connect-stuck", "stuck", "network"])?;
    assert_eq!(group["live"], 3);
    assert_eq!(group["states"], serde_json::json!({"SYN_SENT": 3}));
    assert_eq!(group["remote"], "127.0.0.1:4242");
    assert_eq!(fds(group)?, numbers(&scene.said["dropped"], "fds")?);
    Ok(())
}

#[test]
fn connects_to_a_full_accept_queue() -> Result<()> {
    let scene = scene()?;
    // One connection fits into a queue of none; the other three wait.
    let group = scene.judged("refused", "client", ["connect-stuck", "stuck", "peer"])?;
    assert_eq!(group["live"], 4);
    let states = serde_json::json!({"ESTABLISHED": 1, "SYN_SENT": 3});
    assert_eq!(group["states"], states);
    // Who does not accept them.
    let others = list(group, "other_ends")?;
    assert_eq!(others.len(), 1, "{group}");
    assert_eq!(others[0]["pid"], scene.pids["full"]);
    assert_eq!(others[0]["connections"], 4);
    Ok(())
}

#[test]
fn a_listener_that_does_not_accept() -> Result<()> {
    let scene = scene()?;
    let verdict = ["accept-stalled", "stuck", "local-app"];
    let group = scene.judged("stalled", "server", verdict)?;
    assert_eq!(group["live"], 5);
    assert_eq!(group["local_port"], scene.said["stalled"]["port"]);
    // With a full queue a single one says enough.
    assert_eq!(scene.judged("full", "server", verdict)?["live"], 1);
    // Their clients cannot know.
    scene.is_innocent("waiting")
}

#[test]
fn churn_that_uses_up_ports() -> Result<()> {
    let scene = scene()?;
    let verdict = ["time-wait-churn", "churn", "local-app"];
    let group = scene.judged("churn", "client", verdict)?;
    assert!(group["opened"].as_u64() > Some(1_000), "{group}");
    // The servers' ends.
    let served = scene.group("churn", "server")?;
    assert_eq!(served["verdict"]["class"], "healthy", "{served}");
    Ok(())
}

#[test]
fn growth_without_bound() -> Result<()> {
    let verdict = ["unbounded-growth", "leak", "local-app"];
    let group = scene()?.judged("growth", "client", verdict)?;
    assert_eq!(group["live"], group["opened"]);
    assert_eq!(group["closed"], 0);
    Ok(())
}

#[test]
fn a_pool_under_a_burst_is_healthy() -> Result<()> {
    let scene = scene()?;
    let group = scene.group("bursts", "client")?;
    assert_eq!(group["verdict"]["class"], "healthy", "{group}");
    assert_eq!(group["live"], 5);
    assert_eq!(
        (&group["opened"], &group["closed"]),
        (&35.into(), &30.into())
    );
    Ok(())
}

#[test]
fn a_worker_that_ends_leaks_nothing() -> Result<()> {
    let scene = scene()?;
    // It has left nothing, so it goes by its name only.
    assert!(groups_of(&scene.report, scene.pids["worker"])?.is_empty());
    Ok(())
}

#[test]
fn a_short_watch_does_not_judge() -> Result<()> {
    let nginx = Nginx::start()?;
    let pool = Program::start("pool", &format!("{} 10", nginx.port))?;
    let arguments = format!("leaks --for 100ms --pid {} --format json", pool.pid());
    let report = tcpleak::run(&arguments)?.json()?;
    let [from, to] = ["from", "to"].map(|at| report["window"][at].as_str().map(str::parse));
    let [from, to]: [jiff::Timestamp; 2] = [from.context("no start")??, to.context("no end")??];
    let watched = to.duration_since(from);
    ensure!(
        watched.as_secs() < 5,
        "watched for {watched}: too slow to tell"
    );
    let group = group_of(&report, pool.pid(), "client")?;
    assert_eq!(group["verdict"]["code"], "not-enough-data", "{group}");
    assert_eq!(group["verdict"]["class"], "unknown");
    assert_eq!(report["summary"]["leaked"], 0);
    Ok(())
}
