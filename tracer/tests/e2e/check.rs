//! `check`: test suites in Python, Go and Rust, with leaks and without; exactly the
//! command's processes; the command's own outcome.

mod compiled;

use std::{
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{
    Program,
    process::{Running, bound_to_us},
    report::list,
    tcpleak::program,
    temp::TempDir,
    wait_for,
};

/// Where the suites are.
fn suites() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/programs/suites")
}

/// What a run of `check` came to.
struct Checked {
    code: Option<i32>,
    /// Standard output: the command's.
    stdout: String,
    /// Standard error: the command's.
    stderr: String,
    /// The report.
    report: String,
}

impl Checked {
    fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.report).with_context(|| self.stderr.clone())
    }

    /// The findings that fail the run.
    fn failing(&self) -> Result<Vec<Value>> {
        let report = self.json()?;
        let findings = list(&report, "findings")?.iter();
        Ok(findings.filter(|f| f["fails"] == true).cloned().collect())
    }
}

/// Runs a command under `check`.
fn check(options: &str, command: &[&str], adapt: impl FnOnce(&mut Command)) -> Result<Checked> {
    let temp = TempDir::new()?;
    let report = temp.path().join("report");
    let mut checked = bound_to_us(program());
    checked.args(["check", "--max-overhead", "100", "--output"]);
    checked.arg(&report);
    checked.args(options.split_whitespace());
    if let Ok(plan) = env::var("TCPLEAK_PLAN") {
        checked.args(["--plan", &plan]);
    }
    checked.arg("--").args(command);
    checked
        .current_dir(suites())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    adapt(&mut checked);
    let output = checked.output()?;
    Ok(Checked {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout)?,
        stderr: String::from_utf8(output.stderr)?,
        // There is none where nothing was run.
        report: fs::read_to_string(report).unwrap_or_default(),
    })
}

fn python(options: &str, class: &str) -> Result<Checked> {
    let class = format!("test_client.{class}");
    check(
        options,
        &["/usr/bin/python3", "-m", "unittest", &class],
        |_| (),
    )
}

/// `FILE:LINE` of the line of a suite that holds this text.
fn line_of(file: &str, text: &str) -> Result<String> {
    let source = fs::read_to_string(suites().join(file))?;
    let line = source.lines().position(|line| line.contains(text));
    Ok(format!("{file}:{}", line.context("no such line")? + 1))
}

/// That one finding fails the run: this one.
fn assert_leak(checked: &Checked, code: &str, place: &str) -> Result<()> {
    assert_eq!(
        checked.code,
        Some(3),
        "{} {}",
        checked.stderr,
        checked.report
    );
    let failing = checked.failing()?;
    assert_eq!(failing.len(), 1, "{failing:?}");
    let leak = &failing[0];
    assert_eq!(leak["code"], code, "{leak}");
    assert_eq!(leak["site"]["place"], place, "{leak}");
    assert!(leak["test"].is_string(), "{leak}");
    assert_balance(checked)
}

/// That nothing fails the run, and so many connections are left to the exit.
fn assert_healthy(checked: &Checked, held: u64) -> Result<()> {
    assert_eq!(
        checked.code,
        Some(0),
        "{} {}",
        checked.stderr,
        checked.report
    );
    assert_eq!(
        checked.json()?["summary"]["held"],
        held,
        "{}",
        checked.report
    );
    // Something was to be seen.
    let seen = checked.json()?["summary"]["connections_seen"].as_u64();
    assert!(seen >= Some(2), "{}", checked.report);
    assert_balance(checked)
}

/// That every record is accounted for, and, where none was lost, every connection.
fn assert_balance(checked: &Checked) -> Result<()> {
    let report = checked.json()?;
    let number = |of: &str, name: &str| report[of][name].as_u64().context("no number");
    let lost = number("loss", "events_lost")?;
    let accounted = number("loss", "events_delivered")? + lost;
    assert_eq!(number("loss", "events_generated")?, accounted, "{report}");
    let mut sum = 0;
    for name in ["closed", "leaked", "stuck", "held", "allowed", "not_judged"] {
        sum += number("summary", name)?;
    }
    let seen = number("summary", "connections_seen")?;
    assert!(lost > 0 || sum == seen, "{}", report["summary"]);
    Ok(())
}

#[test]
fn python_that_leaks_is_named_by_line() -> Result<()> {
    let checked = python("--format json", "Leaking")?;
    assert_leak(
        &checked,
        "missing-close",
        &line_of("test_client.py", "# LEAK")?,
    )?;
    assert!(checked.stderr.contains("Ran 2 tests"), "{}", checked.stderr);
    Ok(())
}

#[test]
fn python_that_passes_connections_over_leaks() -> Result<()> {
    let checked = python("--format json", "PassedOver")?;
    let place = line_of("test_client.py", "# PASSED OVER")?;
    assert_leak(&checked, "unbounded-growth", &place)
}

#[test]
fn python_that_keeps_a_connection_alive_does_not_leak() -> Result<()> {
    // Both ends of it.
    assert_healthy(&python("--format json", "Healthy")?, 2)?;
    let strict = python("--format json --strict", "Healthy")?;
    assert_eq!(strict.code, Some(3), "{}", strict.report);
    assert_eq!(strict.failing()?.len(), 2, "{}", strict.report);
    Ok(())
}

#[test]
fn what_is_allowed_passes() -> Result<()> {
    for pattern in ["test_client.py:*", "127.0.0.1", "python3*", "missing-close"] {
        let checked = python(&format!("--format json --allow {pattern}"), "Leaking")?;
        assert_healthy(&checked, 0)?;
        assert_eq!(checked.json()?["findings"][0]["allowed_by"], pattern);
    }
    let other = python("--format json --allow 10.0.0.* --allow other.py", "Leaking")?;
    assert_eq!(other.code, Some(3));
    Ok(())
}

#[test]
fn a_longer_grace_lets_more_pass() -> Result<()> {
    assert_healthy(&python("--format json --grace 1m", "Leaking")?, 1)
}

#[test]
fn junit_and_sarif_can_be_read() -> Result<()> {
    let place = line_of("test_client.py", "# LEAK")?;
    let (_, line) = place.split_once(':').context("no line")?;

    let checked = python("--format junit", "Leaking")?;
    assert_eq!(checked.code, Some(3), "{}", checked.stderr);
    let document = roxmltree::Document::parse(&checked.report)?;
    let case = |node: &roxmltree::Node<'_, '_>| node.has_tag_name("testcase");
    let failed = |node: &roxmltree::Node<'_, '_>| {
        case(node) && node.children().any(|child| child.has_tag_name("failure"))
    };
    let case = document.descendants().find(failed).context("no failure")?;
    assert_eq!(
        case.attribute("name"),
        Some(&*format!("missing-close at {place}"))
    );
    assert_eq!(case.attribute("line"), Some(line));
    let suite = document
        .descendants()
        .find(|node| node.has_tag_name("testsuite"));
    assert_eq!(
        suite.and_then(|suite| suite.attribute("failures")),
        Some("1")
    );

    let sarif = python("--format sarif", "Leaking")?.json()?;
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!(
        (&result["ruleId"], &result["level"]),
        (&"missing-close".into(), &"error".into())
    );
    let location = &result["locations"][0]["physicalLocation"];
    assert_eq!(location["artifactLocation"]["uri"], "test_client.py");
    assert_eq!(location["region"]["startLine"].to_string(), line);
    Ok(())
}

#[test]
fn the_command_keeps_its_own_outcome() -> Result<()> {
    let failing = python("--format json", "Failing")?;
    assert_eq!(failing.code, Some(1), "{}", failing.report);
    assert!(failing.stderr.contains("as it shall"), "{}", failing.stderr);
    for (script, code) in [("exit 7", 7), ("kill -9 $$", 137), ("echo out; cat >&2", 0)] {
        let checked = check("", &["sh", "-c", script], |_| ())?;
        assert_eq!(checked.code, Some(code), "{script}: {}", checked.stderr);
        assert_eq!(checked.stdout, if code == 0 { "out\n" } else { "" });
        assert_eq!(checked.stderr, "", "{script}");
    }
    Ok(())
}

#[test]
fn what_cannot_be_run_is_said() -> Result<()> {
    let checked = check("", &["/nonexistent/command"], |_| ())?;
    assert_eq!(checked.code, Some(1));
    assert_eq!(
        checked.stderr,
        "tcpleak: cannot run '/nonexistent/command': No such file or directory (os error 2)\n"
    );
    Ok(())
}

#[test]
fn a_process_that_left_its_parents_is_followed() -> Result<()> {
    let checked = python("--format json", "Daemon")?;
    assert_leak(
        &checked,
        "missing-close",
        &line_of("test_client.py", "= fetch(address)")?,
    )
}

#[test]
fn the_first_thing_is_seen_and_nothing_of_others() -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    // Hangs up at once.
    thread::spawn(move || listener.incoming().for_each(drop));
    let other = Program::start("half_closed", "3")?;
    other.hear()?;
    let script = format!(
        "import socket, time; kept = socket.create_connection(('127.0.0.1', {})); time.sleep(0.5)",
        address.port()
    );
    let command = ["/usr/bin/python3", "-c", &script];
    let checked = check("--format json", &command, |_| ())?;
    assert_eq!(checked.code, Some(3), "{}", checked.report);
    let report = checked.json()?;
    assert_eq!(report["summary"]["connections_seen"], 1, "{report}");
    assert_eq!(
        report["findings"][0]["remote"],
        address.to_string(),
        "{report}"
    );
    assert_eq!(
        report["findings"][0]["owner"]["comm"], "python3",
        "{report}"
    );
    Ok(())
}

#[test]
fn a_python_that_has_its_own_start_keeps_it() -> Result<()> {
    let own = TempDir::new()?;
    fs::write(
        own.path().join("sitecustomize.py"),
        "import sys; sys.own = 7\n",
    )?;
    let script = "import sys, sitecustomize; print(sys.own, sitecustomize.__file__)";
    let checked = check("", &["/usr/bin/python3", "-c", script], |command| {
        command.env("PYTHONPATH", own.path());
    })?;
    let file = own.path().join("sitecustomize.py");
    assert_eq!(
        checked.stdout,
        format!("7 {}\n", file.display()),
        "{}",
        checked.stderr
    );
    Ok(())
}

#[test]
fn ended_before_the_command_began_it_leaves_nothing() -> Result<()> {
    let temp = TempDir::new()?;
    let mut checked = bound_to_us(program());
    checked
        .args(["check", "--", "/usr/bin/touch", "began"])
        .current_dir(temp.path())
        .env("TMPDIR", temp.path());
    let mut running = Running::start(&mut checked)?;
    let entries = || anyhow::Ok(fs::read_dir(temp.path())?.count());
    wait_for(
        "its temporary folder",
        || Ok((entries()? > 0).then_some(())),
    )?;
    running.signal(Signal::SIGTERM)?;
    let status = running.wait()?;
    assert_eq!((status.code(), entries()?), (Some(1), 0));
    Ok(())
}
