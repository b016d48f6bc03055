//! What somebody without root reads, who has to find out what is missing.

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::support::{Unprivileged, assert_one_line, check, text};

#[test]
fn without_privileges_it_says_what_to_do() -> Result<()> {
    let user = Unprivileged::new()?;
    for line in [
        "leaks",
        "trace",
        "leaks --plan fentry",
        "leaks --format json",
    ] {
        let output = user.tcpleak(line).output()?;
        assert_one_line(&output, 1, line)?;
        let said = text(&output.stderr)?;
        assert!(
            said.contains("; run as root (sudo tcpleak ...), or grant"),
            "{said}"
        );
    }
    assert_eq!(user.tcpleak("ps").output()?.status.code(), Some(0));
    Ok(())
}

#[test]
fn doctor_without_privileges_names_each_lack_and_its_fix() -> Result<()> {
    let user = Unprivileged::new()?;
    for plan in ["auto", "fentry", "kprobe", "tracepoint"] {
        let output = user
            .tcpleak(&format!("doctor --format json --plan {plan}"))
            .output()?;
        assert_eq!((output.status.code(), text(&output.stderr)?), (Some(1), ""));
        let report: Value = serde_json::from_slice(&output.stdout)?;
        assert_eq!(report["schema"], "tcpleak.doctor/1");
        assert_eq!(report["plan"], Value::Null);
        for check in report["checks"].as_array().context("no checks")? {
            let is_ok = check["status"] == "ok";
            assert_eq!(is_ok, check["fix"].is_null(), "{check}");
            let fix = check["fix"].as_str().unwrap_or("-");
            assert!(!fix.is_empty() && !fix.contains('\n'), "{check}");
        }
        let bpf = check(&report, "CAP_BPF")?;
        assert_eq!(bpf["status"], "missing");
        assert!(
            bpf["fix"]
                .as_str()
                .is_some_and(|fix| fix.starts_with("run as root (sudo"))
        );
        for name in ["CAP_PERFMON", "CAP_SYS_PTRACE", "attach"] {
            assert_eq!(check(&report, name)?["fix"], "as for CAP_BPF", "{name}");
        }
    }
    let table = user.tcpleak("doctor").output()?;
    let said = text(&table.stdout)?;
    assert_eq!((table.status.code(), text(&table.stderr)?), (Some(1), ""));
    assert!(said.contains("tcpleak cannot trace on kernel") && !said.contains("Caused by"));
    Ok(())
}
