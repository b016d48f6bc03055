//! What was ever recorded is still read, and says the same: `tests/recordings` holds a
//! recording of each version of the form, and the report that it must give.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::support::{Temp, assert_one_line, run, text};

fn sample(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/recordings")
        .join(name)
}

/// Fields may be added to a report; what it had it still has.
fn assert_within(old: &Value, new: &Value, at: &str) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (name, value) in old {
                assert_within(value, &new[name], &format!("{at}.{name}"));
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (index, value) in old.iter().enumerate() {
                assert_within(value, &new[index], &format!("{at}[{index}]"));
            }
        }
        _ => assert_eq!(old, new, "{at}"),
    }
}

#[test]
fn recordings_of_all_versions_are_read() -> Result<()> {
    let mut read = 0;
    for entry in fs::read_dir(sample(""))? {
        let path = entry?.path();
        if path
            .extension()
            .is_none_or(|extension| extension != "tcpleak")
        {
            continue;
        }
        let told = run(&format!(
            "leaks --all --format json --from {}",
            path.display()
        ))?;
        ensure!(told.status.success(), "{}", text(&told.stderr)?);
        let old = fs::read(path.with_extension("json")).context("no report beside it")?;
        let old = serde_json::from_slice(&old)?;
        let new = serde_json::from_slice(&told.stdout)?;
        assert_within(&old, &new, "");
        read += 1;
    }
    assert!(read >= 1);
    Ok(())
}

#[test]
fn one_that_is_cut_off_says_where() -> Result<()> {
    let folder = Temp::new()?;
    let path = folder.0.join("cut.tcpleak");
    let whole = fs::read(sample("v1.tcpleak"))?;
    fs::write(&path, &whole[..whole.len() - 100])?;
    let told = run(&format!("leaks --all --from {}", path.display()))?;
    assert_eq!(told.status.code(), Some(0));
    assert!(text(&told.stderr)?.contains("cut off"));
    assert!(text(&told.stdout)?.contains("12 CLOSE_WAIT"));
    assert!(text(&told.stdout)?.contains("Nothing lost of what is left of the recording."));
    Ok(())
}

#[test]
fn none_is_written_over() -> Result<()> {
    let folder = Temp::new()?;
    let path = folder.0.join("kept.tcpleak");
    fs::copy(sample("v1.tcpleak"), &path)?;
    let kept = path.display();
    for command in [
        format!("leaks --from {kept} --output {kept}"),
        format!("timeline --from {kept} --html {kept}"),
        format!("record --output {kept}"),
        format!("leaks --for 1s --record {kept}"),
    ] {
        let told = run(&command)?;
        assert_one_line(&told, 1, "a recording that is there")?;
        assert!(
            text(&told.stderr)?.contains("holds a recording"),
            "{command}"
        );
    }
    assert_eq!(fs::read(&path)?, fs::read(sample("v1.tcpleak"))?);
    Ok(())
}

#[test]
fn what_was_open_at_an_instant_is_listed() -> Result<()> {
    let v1 = sample("v1.tcpleak");
    let ps = |at: &str| run(&format!("ps --format json --from {} {at}", v1.display()));
    let open = |at: &str| -> Result<usize> {
        let told = ps(at)?;
        ensure!(told.status.success(), "{}", text(&told.stderr)?);
        let list: Value = serde_json::from_slice(&told.stdout)?;
        let rows = list["connections"].as_array().context("no list")?;
        Ok(rows
            .iter()
            .filter(|row| row["state"] == "CLOSE_WAIT")
            .count())
    };
    let report: Value = serde_json::from_slice(&fs::read(sample("v1.json"))?)?;
    let to = report["window"]["to"].as_str().context("no end")?;
    let from = report["window"]["from"].as_str().context("no start")?;
    assert_eq!(open("")?, 12);
    assert_eq!(open(&format!("--at {to}"))?, 12);
    for (at, why) in [
        ("2020-01-01T00:00:00Z", "it begins at"),
        ("2036-01-01T00:00:00Z", "it goes from"),
        (from, "is not known yet"),
        ("noon", "write it like"),
    ] {
        let told = ps(&format!("--at {at}"))?;
        assert_one_line(&told, 1, "a recording")?;
        assert!(text(&told.stderr)?.contains(why), "{at}");
    }
    Ok(())
}

#[test]
fn what_a_recording_cannot_hold_is_said() -> Result<()> {
    let v1 = sample("v1.tcpleak");
    let told = run(&format!("leaks --port 80 --from {}", v1.display()))?;
    assert_one_line(&told, 1, "a recording")?;
    assert!(text(&told.stderr)?.contains("was recorded with --port 5432"));
    let told = run("leaks --from /dev/null")?;
    assert_one_line(&told, 1, "a recording")?;
    assert!(text(&told.stderr)?.contains("is no recording"));
    Ok(())
}

#[test]
fn what_each_connection_did_is_drawn() -> Result<()> {
    let v1 = sample("v1.tcpleak");
    let told = run(&format!("timeline --all --from {}", v1.display()))?;
    ensure!(told.status.success(), "{}", text(&told.stderr)?);
    let drawn = text(&told.stdout)?;
    assert_eq!(drawn.matches("w| CLOSE_WAIT\n").count(), 12, "{drawn}");
    assert_eq!(drawn.matches(" ended\n").count(), 36, "{drawn}");

    let told = run(&format!("timeline --format json --from {}", v1.display()))?;
    let document: Value = serde_json::from_slice(&told.stdout)?;
    let sites = document["sites"].as_array().context("no sites")?;
    let rows = sites
        .iter()
        .filter_map(|site| site["connections"].as_array());
    let mut count = 0;
    for row in rows.flatten() {
        // Each span begins where the one before ends.
        let spans = row["spans"].as_array().context("no spans")?;
        for pair in spans.windows(2) {
            assert_eq!(pair[0]["to"], pair[1]["from"], "{row}");
        }
        count += 1;
    }
    assert_eq!(count, 48);

    let folder = Temp::new()?;
    let path = folder.0.join("trace.json");
    run(&format!(
        "timeline --perfetto {} --from {}",
        path.display(),
        v1.display()
    ))?;
    let trace: Value = serde_json::from_slice(&fs::read(&path)?)?;
    let events = trace["traceEvents"].as_array().context("no events")?;
    let of = |name: &str| events.iter().filter(|event| event["name"] == name).count();
    assert_eq!((of("process_name"), of("thread_name")), (2, 48));
    assert_eq!(of("close-wait"), 24);
    assert!(
        events
            .iter()
            .all(|event| event["ph"] != "X" || event["dur"].is_u64())
    );
    Ok(())
}

#[test]
fn pages_and_pictures_are_the_same_each_time() -> Result<()> {
    let folder = Temp::new()?;
    let v1 = sample("v1.tcpleak");
    let path = |name: &str| folder.0.join(name);
    let write = |command: &str, option: &str, name: &str| -> Result<String> {
        let to = path(name);
        let line = format!(
            "{command} --from {} {option} {}",
            v1.display(),
            to.display()
        );
        let told = run(&line)?;
        ensure!(told.status.success(), "{}", text(&told.stderr)?);
        Ok(fs::read_to_string(to)?)
    };
    for (command, option) in [
        ("leaks", "--html"),
        ("timeline", "--html"),
        ("timeline", "--svg"),
    ] {
        let first = write(command, option, "first")?;
        assert_eq!(first, write(command, option, "second")?);
        assert!(first.contains("missing-close"), "{command} {option}");
        let each = if option == "--svg" {
            "<g id="
        } else {
            "<div class=\"r"
        };
        assert_eq!(first.matches(each).count(), 48, "{command} {option}");
    }
    Ok(())
}

#[test]
fn a_timeline_is_of_one_connection_or_of_one_piece_of_code() -> Result<()> {
    let v1 = sample("v1.tcpleak");
    let timeline = |of: &str| run(&format!("timeline --from {} {of}", v1.display()));
    let connections = |of: &str| -> Result<Vec<Value>> {
        let told = timeline(&format!("--format json {of}"))?;
        ensure!(told.status.success(), "{}", text(&told.stderr)?);
        let document: Value = serde_json::from_slice(&told.stdout)?;
        let sites = document["sites"].as_array().context("no list")?;
        let rows = sites
            .iter()
            .filter_map(|site| site["connections"].as_array());
        Ok(rows.flatten().cloned().collect())
    };
    let all = connections("")?;
    let of_code = connections("--site socketmodule.c:3253")?;
    assert_eq!((all.len(), of_code.len()), (48, 24));
    assert!(of_code.iter().all(|row| row["role"] == "client"));
    let id = all[7]["id"].as_str().context("no id")?;
    let one = connections(id)?;
    assert_eq!(one, [all[7].clone()]);
    assert_one_line(&timeline("feed.1")?, 1, "no such connection")?;
    assert_one_line(&timeline("--site nowhere.c:1")?, 1, "no such code")
}

#[test]
fn a_page_that_cannot_be_written_takes_nothing_from_the_report() -> Result<()> {
    let v1 = sample("v1.tcpleak");
    for command in ["leaks", "timeline"] {
        let line = format!("{command} --from {} --html /dev/full", v1.display());
        let told = run(&line)?;
        assert_eq!(told.status.code(), Some(1), "{command}");
        assert!(text(&told.stdout)?.contains("missing-close"), "{command}");
        let said = text(&told.stderr)?;
        assert!(said.contains("No space left"), "{command}: {said}");
    }
    Ok(())
}

#[test]
fn each_event_of_a_trace_is_one_line_in_a_pipe() -> Result<()> {
    let told = run(&format!("trace --from {}", sample("v1.tcpleak").display()))?;
    let lines = text(&told.stdout)?;
    assert!(lines.lines().count() > 12);
    for line in lines.lines().skip(1) {
        let time = line.split(' ').next().unwrap_or_default();
        assert_eq!(time.split(':').count(), 3, "{line}");
    }
    Ok(())
}
