//! `timeline`: what it marks is what happened.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::support::{
    Netns, Program, Tcpleak, process::output, report::list, tcpleak::unless_lossy, wait_for,
};

/// What was marked on each client's connection, by its local end.
fn marks(timeline: &Value) -> Result<BTreeMap<String, Vec<(String, String)>>> {
    let mut marks = BTreeMap::new();
    for site in list(timeline, "sites")? {
        for row in list(site, "connections")? {
            if row["role"] != "client" {
                continue;
            }
            let local = row["local"].as_str().context("no end")?;
            let text = |mark: &Value, name: &str| mark[name].as_str().map(str::to_owned);
            let each = list(row, "marks")?.iter();
            let each = each.map(|mark| Some((text(mark, "mark")?, text(mark, "at")?)));
            let each = each.collect::<Option<Vec<_>>>().context("not a mark")?;
            marks.insert(local.to_owned(), each);
        }
    }
    Ok(marks)
}

#[test]
fn marks_are_what_happened() -> Result<()> {
    unless_lossy(|| {
        let netns = Netns::new()?;
        let mut fates = Program::start_in(&netns, "fates", "")?;
        let server = fates.hear()?["port"].clone();
        let pid = fates.pid();
        let tcpleak = Tcpleak::watching(&format!(
            "timeline --pid {pid} --port {server} --for 1h --format json"
        ))?;
        let said = fates.ask("open")?;
        let end = |name: &str| said[name].as_str().context("no end");
        // Nobody hears the one, which says so again and again.
        let port = end("unheard")?.rsplit_once(':').context("no port")?.1;
        let drop = format!("add rule inet e2e input tcp sport {port} drop");
        for rule in [
            "add table inet e2e",
            "add chain inet e2e input { type filter hook input priority 0; }",
            &drop,
        ] {
            output(netns.command("nft").arg(rule))?;
        }
        fates.ask("send")?;
        wait_for("segments to be sent again", || {
            let listed =
                output(
                    netns
                        .command("ss")
                        .args(["-tin", "sport", "=", &format!(":{port}")]),
                )?;
            Ok(listed.contains("retrans:").then_some(()))
        })?;
        fates.ask("act")?;
        let kept = fates.ask("exec")?;
        assert_eq!(kept["kept"], said["kept"], "it has the connection still");
        fates.ask("exit")?;
        fates.finish()?;
        let finished = tcpleak.interrupt_after(Duration::from_secs(1))?;
        let timeline = finished.json()?;
        assert_eq!(timeline["loss"]["events_lost"], 0, "{}", timeline["loss"]);
        let marks = marks(&timeline)?;
        let names = |of: &str| -> Result<Vec<&str>> {
            let marks = marks
                .get(end(of)?)
                .with_context(|| format!("no {of}: {marks:?}"))?;
            assert!(marks.is_sorted_by_key(|(_, at)| at), "{marks:?}");
            Ok(marks.iter().map(|(mark, _)| &**mark).collect())
        };
        assert_eq!(names("closed")?, ["app-close"]);
        assert_eq!(names("reset")?[0], "reset");
        assert_eq!(names("kept")?, ["exec", "exit", "app-close"]);
        assert!(names("unheard")?.contains(&"retransmit"), "{timeline}");
        Ok(())
    })
}
