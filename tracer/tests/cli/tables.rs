//! A recording as tables says what its report says, in every form.

use std::{
    collections::BTreeMap,
    fs::{self, read_to_string},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::support::{Temp, assert_one_line, run, tcpleak, text};

const TABLES: [&str; 4] = ["connections", "transitions", "sites", "verdicts"];

fn package(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn v1() -> String {
    package("tests/recordings/v1.tcpleak").display().to_string()
}

fn export(format: &str, folder: &Path, more: &str) -> Result<()> {
    let (from, to) = (v1(), folder.display());
    let told = run(&format!(
        "export --from {from} --format {format} -o {to} {more}"
    ))?;
    ensure!(told.status.success(), "{}", text(&told.stderr)?);
    Ok(())
}

/// The rows of a table that was exported as JSON lines.
fn rows(folder: &Path, table: &str) -> Result<Vec<Value>> {
    let lines = read_to_string(folder.join(format!("{table}.jsonl")))?;
    let rows = lines.lines().map(serde_json::from_str);
    Ok(rows.collect::<Result<_, _>>()?)
}

fn report(more: &str) -> Result<Value> {
    let told = run(&format!("leaks --format json --from {} {more}", v1()))?;
    ensure!(told.status.success(), "{}", text(&told.stderr)?);
    Ok(serde_json::from_slice(&told.stdout)?)
}

/// `docs/tables.md` holds what the code says, which `TCPLEAK_WRITE_DOCS=1` writes there.
#[test]
fn the_document_is_what_the_code_says() -> Result<()> {
    const BEGIN: &str = "<!-- From here on by the code: see tests/cli/tables.rs. -->\n";
    let path = package("../docs/tables.md");
    let whole = read_to_string(&path)?;
    let (before, columns) = whole.split_once(BEGIN).context("no columns")?;
    let told = format!("\n{}\n", tracer::view::document().trim_end());
    if std::env::var_os("TCPLEAK_WRITE_DOCS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{told}"))?;
    } else {
        assert!(columns == told, "run this test with TCPLEAK_WRITE_DOCS=1");
    }
    Ok(())
}

#[test]
fn tables_say_what_the_report_says() -> Result<()> {
    let folder = Temp::new()?;
    export("jsonl", &folder.0, "")?;
    let report = report("")?;
    let groups = report["groups"].as_array().context("no groups")?;
    let [connections, transitions, sites, verdicts] = TABLES.map(|table| rows(&folder.0, table));
    let (connections, transitions) = (connections?, transitions?);
    let (sites, verdicts) = (sites?, verdicts?);
    let summary = &report["summary"];
    assert_eq!(summary["connections_seen"], connections.len());
    let open = connections.iter().filter(|row| row["is_open"] == true);
    assert_eq!(summary["live"], open.clone().count());
    assert_eq!((sites.len(), verdicts.len()), (groups.len(), groups.len()));

    for (number, (group, (site, verdict))) in
        (1..).zip(groups.iter().zip(sites.iter().zip(&verdicts)))
    {
        assert_eq!(
            (&site["site_no"], &verdict["site_no"]),
            (&number.into(), &number.into())
        );
        assert_eq!(site["site"], group["site"]["id"]);
        for name in [
            "live",
            "opened",
            "closed",
            "inherited",
            "remote",
            "oldest_age_ms",
        ] {
            assert_eq!(site[name], group[name], "{name}");
        }
        for name in ["pid", "comm", "exe", "runtime", "fds_used"] {
            assert_eq!(
                site[format!("owner_{name}")],
                group["owner"][name],
                "{name}"
            );
        }
        for name in ["code", "class", "confidence", "fault", "why", "fix"] {
            assert_eq!(verdict[name], group["verdict"][name], "{name}");
        }
        for (told, whole) in [
            (&site["frames"], &group["site"]["frames"]),
            (&site["states"], &group["states"]),
            (&verdict["evidence"], &group["verdict"]["evidence"]),
        ] {
            let told: Value = serde_json::from_str(told.as_str().context("no text")?)?;
            assert_eq!(&told, whole);
        }
        // Each connection is where it was counted.
        let own = connections.iter().filter(|row| row["site_no"] == number);
        let (live, ended): (Vec<_>, Vec<_>) = own.partition(|row| row["is_open"] == true);
        assert_eq!(
            (&group["live"], &group["closed"]),
            (&live.len().into(), &ended.len().into())
        );
        assert!(live.iter().all(|row| row["verdict"] == verdict["code"]));
        assert!(ended.iter().all(|row| row["verdict"].is_null()));
        assert!(
            live.iter()
                .chain(&ended)
                .all(|row| row["site"] == site["site"])
        );
    }

    let mut histories: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for row in &transitions {
        let of = row["connection"].as_str().context("no id")?;
        let history = histories.entry(of).or_default();
        history.push(row);
        assert_eq!(row["number"], history.len());
    }
    for row in groups
        .iter()
        .filter_map(|group| group["connections"].as_array())
        .flatten()
    {
        let id = row["id"].as_str().context("no id")?;
        let told = connections
            .iter()
            .find(|told| told["id"] == id)
            .context("not told")?;
        for (name, value) in row.as_object().context("no object")? {
            if !["history", "holders"].contains(&name.as_str()) {
                assert_eq!(told[name], *value, "{name}");
            }
        }
        let history = row["history"].as_array().context("no history")?;
        let entered = &histories[id];
        assert_eq!(entered.len(), history.len());
        for (told, entry) in entered.iter().zip(history) {
            assert_eq!(
                (&told["state"], &told["entered_at"]),
                (&entry["state"], &entry["at"])
            );
        }
    }
    Ok(())
}

#[test]
fn what_is_asked_for_is_told() -> Result<()> {
    let all = Temp::new()?;
    export("jsonl", &all.0, "")?;
    let one = Temp::new()?;
    let first = rows(&all.0, "connections")?.swap_remove(0);
    let pid = first["pid"].as_u64().context("no pid")?;
    export("jsonl", &one.0, &format!("--pid {pid}"))?;
    let expected = rows(&all.0, "connections")?;
    let expected = expected.iter().filter(|row| row["pid"] == pid);
    assert_eq!(rows(&one.0, "connections")?.len(), expected.count());
    let none = Temp::new()?;
    export("jsonl", &none.0, "--comm nobody")?;
    for table in TABLES {
        assert!(rows(&none.0, table)?.is_empty(), "{table}");
    }
    Ok(())
}

#[test]
fn nothing_is_overwritten_or_left_half_written() -> Result<()> {
    let folder = Temp::new()?;
    export("csv", &folder.0, "")?;
    let listed = || -> Result<Vec<_>> {
        let entries = fs::read_dir(&folder.0)?;
        let mut names = entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<Vec<_>>>()?;
        names.sort_unstable();
        Ok(names)
    };
    let mut expected = TABLES.map(|table| format!("{table}.csv"));
    expected.sort_unstable();
    assert_eq!(listed()?, expected);
    let before = fs::read(folder.0.join("sites.csv"))?;
    fs::remove_file(folder.0.join("connections.csv"))?;
    let (from, to) = (v1(), folder.0.display());
    let told = run(&format!("export --from {from} --format csv -o {to}"))?;
    assert_one_line(&told, 1, "a table is there")?;
    let said = text(&told.stderr)?;
    assert!(
        said.contains("is there already") && said.contains("-o"),
        "{said}"
    );
    assert_eq!(listed()?, expected[1..]);
    assert_eq!(fs::read(folder.0.join("sites.csv"))?, before);

    let file = folder.0.join("sites.csv");
    let told = run(&format!(
        "export --from {from} --format csv -o {}",
        file.display()
    ))?;
    assert_one_line(&told, 1, "a file")?;
    assert!(text(&told.stderr)?.contains("is no folder"));
    let told = run(&format!("export --from /dev/null --format csv -o {to}/new"))?;
    assert_one_line(&told, 1, "no recording")?;
    assert!(!folder.0.join("new").exists());
    Ok(())
}

#[test]
fn csv_has_the_rows_of_json() -> Result<()> {
    let folder = Temp::new()?;
    export("csv", &folder.0, "")?;
    export("jsonl", &folder.0, "")?;
    for table in TABLES {
        let csv = read_to_string(folder.0.join(format!("{table}.csv")))?;
        let objects = rows(&folder.0, table)?;
        let names: Vec<&String> = objects[0]
            .as_object()
            .context("no object")?
            .keys()
            .collect();
        assert!(
            csv.lines()
                .next()
                .context("no header")?
                .split(',')
                .eq(names)
        );
        assert!(csv.lines().count() > objects.len(), "{table}");
    }
    Ok(())
}

#[test]
fn tables_are_listed_without_a_recording() -> Result<()> {
    let told = run("query --list")?;
    assert_eq!(told.status.code(), Some(0));
    let list = text(&told.stdout)?;
    for name in TABLES
        .into_iter()
        .chain(["tx_bytes", "owner_comm", "evidence"])
    {
        assert!(list.contains(name), "{name}");
    }
    Ok(())
}

#[cfg(not(any(feature = "query", feature = "tables")))]
#[test]
fn what_was_left_out_is_said() -> Result<()> {
    let from = v1();
    let query = tcpleak(&format!("query --from {from} x")).output()?;
    for told in [
        query,
        run(&format!(
            "export --from {from} --format parquet -o /nonexistent"
        ))?,
    ] {
        assert_one_line(&told, 1, "without the feature")?;
        let said = text(&told.stderr)?;
        assert!(said.contains("without the feature `"), "{said}");
        assert!(said.contains("--format csv"), "{said}");
    }
    Ok(())
}

#[cfg(feature = "query")]
mod query;
