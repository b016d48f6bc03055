//! `leaks` names the process that leaks, with the right numbers, and nobody else.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::support::{
    Nginx, Program, Tcpleak,
    report::{fds, group_of, groups_of, list, numbers},
};

/// Requests after which the leaking program forgets to close.
const LEAKED: usize = 12;
/// Connections of the well-behaved pool.
const POOL: usize = 10;

#[test]
fn only_the_program_that_forgets_to_close_leaks() -> Result<()> {
    let nginx = Nginx::start()?;
    let port = nginx.port;
    let tcpleak = Tcpleak::watching("leaks --for 10m --format json --fail-on leak")?;
    let leaking = Program::start("missing_close", &format!("{port} {LEAKED} 6"))?;
    let pool = Program::start("pool", &format!("{port} {POOL}"))?;
    let curls = Program::start("curls", &format!("{port} 0"))?;
    let forgotten = leaking.hear()?;

    let finished = tcpleak.interrupt_after(Duration::from_secs(4))?;
    let (leaker, pooling) = (leaking.pid(), pool.pid());
    let curl_pids = numbers(&curls.finish()?.context("no curl ran")?, "pids")?;
    assert_eq!(finished.code, Some(3), "{}", finished.stderr);
    let report: Value = serde_json::from_str(&finished.stdout)?;

    let leak = group_of(&report, leaker, "client")?;
    assert_eq!(leak["verdict"]["code"], "missing-close", "{leak}");
    assert_eq!(leak["verdict"]["class"], "leak");
    assert_eq!(leak["verdict"]["fault"], "local-app");
    assert_eq!(leak["remote"], format!("127.0.0.1:{port}"));
    assert_eq!(leak["live"], LEAKED);
    assert_eq!(leak["opened"], LEAKED);
    assert_eq!(leak["closed"], 0);
    assert_eq!(leak["states"], serde_json::json!({"CLOSE_WAIT": LEAKED}));
    assert_eq!(fds(leak)?, numbers(&forgotten, "fds")?);
    // Others may leak on this host meanwhile.
    let leaked = report["summary"]["leaked"].as_u64().context("no count")?;
    assert!(leaked >= LEAKED as u64, "{}", report["summary"]);

    let healthy = group_of(&report, pooling, "client")?;
    assert_eq!(healthy["verdict"]["class"], "healthy", "{healthy}");
    assert_eq!(healthy["live"], POOL);

    let worker = nginx.worker()?;
    let ours = format!("127.0.0.1:{port}");
    for group in list(&report, "groups")? {
        if group["remote"] == ours && group != leak {
            let class = group["verdict"]["class"].as_str();
            assert!(
                !matches!(class, Some("leak" | "stuck" | "churn")),
                "{group}"
            );
        }
        if group["local_port"] == port && group["role"] == "server" {
            assert_eq!(group["owner"]["pid"], worker, "{group}");
            assert_eq!(group["verdict"]["class"], "healthy", "{group}");
        }
    }
    // Each curl that has ended left nothing: those are one group, by name. The last
    // may have been at work at the end.
    for pid in curl_pids {
        for group in groups_of(&report, u32::try_from(pid)?)? {
            assert_eq!(group["owner"]["comm"], "curl", "{group}");
            assert_ne!(group["verdict"]["class"], "leak", "{group}");
            assert_ne!(group["verdict"]["class"], "stuck", "{group}");
        }
    }
    Ok(())
}
