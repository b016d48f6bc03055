//! What the report of `check` looks like, that it fits, and that no process can write
//! through it.

use std::sync::Arc;

use clap::ValueEnum as _;
use textwrap::core::display_width;

use super::{CheckFormat, check};
use crate::{
    check::{
        report::{Counts, Ended, Finding, Run},
        rule::{HELD, Verdict},
        site::Site,
    },
    model::{
        frame::Frame,
        untrusted::{Untrusted, is_harmless},
    },
    tcp::Role,
    view::{
        Style,
        fixture::{LOSS, close_wait, noon},
        hostile::HOSTILE,
        tests::{NARROW, text},
    },
};

/// A leak in a test, one that is allowed, and what is left to the exit; `name` stands
/// wherever a process may choose the text.
fn run(name: &str) -> Run {
    let untrusted = || Untrusted::from(name);
    let frame = |function: &str, line| Frame {
        function: Some(Untrusted::from(format!("{function}{name}").as_str())),
        file: Some(untrusted()),
        line: Some(line),
        ..Frame::default()
    };
    let site = Site {
        frames: Arc::new([frame("lib.", 1), frame("app.", 2), frame("test.", 3)]),
        best: Some(1),
        test: Some(2),
        path: Some(Untrusted::from(format!("/src/tests/{name}").as_str())),
    };
    let leak = Finding {
        verdict: Verdict::Leak,
        code: "missing-close",
        why: "4 connections were never closed: the peer had hung up, up to 2 s before its \
              process ended"
            .to_owned(),
        fix: "Use `with` for the connection.".to_owned(),
        allowed_by: None,
        fails: true,
        comm: Some(untrusted()),
        pid: Some(4242),
        role: Role::Client,
        remote: "127.0.0.1:8099".to_owned(),
        local_port: 0,
        site: Arc::new(site),
        connections: (3..7).map(|fd| close_wait(name, fd)).collect(),
    };
    let allowed = Finding {
        allowed_by: Some("127.0.0.*".to_owned()),
        fails: false,
        remote: "*".to_owned(),
        pid: None,
        connections: vec![close_wait(name, 7)],
        ..leak.clone()
    };
    let held = Finding {
        verdict: Verdict::Held,
        code: HELD,
        allowed_by: None,
        comm: None,
        role: Role::Server,
        local_port: 8099,
        site: Arc::default(),
        ..allowed.clone()
    };
    Run {
        host: untrusted(),
        kernel: Untrusted::from("6.18.0"),
        plan: "tracepoint",
        blind: vec!["who accepts by io_uring".to_owned()],
        command: vec![Untrusted::from("pytest"), untrusted()],
        folder: Some(Untrusted::from("/src")),
        ended: Ended::Exited(0),
        window: (noon(-60_000), noon(0)),
        grace_ms: 250,
        strict: false,
        loss: LOSS,
        findings: vec![leak, allowed, held],
        counts: Counts {
            seen: 20,
            closed: 14,
            leaked: 4,
            held: 1,
            allowed: 1,
            ..Counts::default()
        },
    }
}

fn clean() -> Run {
    Run {
        ended: Ended::Killed(15),
        findings: Vec::new(),
        counts: Counts {
            seen: 14,
            closed: 14,
            ..Counts::default()
        },
        ..run("client.py")
    }
}

fn shown(run: &Run, format: CheckFormat, style: Style, verbose: bool) -> String {
    text(|out| check(out, run, format, style, verbose))
}

#[test]
fn check_in_every_format() {
    let run = run("client.py");
    for &format in CheckFormat::value_variants() {
        let name = format!("check-{format:?}").to_lowercase();
        let version = env!("CARGO_PKG_VERSION");
        let page = shown(&run, format, NARROW, false).replace(version, "VERSION");
        insta::assert_snapshot!(name, page);
    }
    insta::assert_snapshot!(
        "check-verbose",
        shown(&run, CheckFormat::Table, NARROW, true)
    );
    let none = [CheckFormat::Table, CheckFormat::Junit]
        .map(|format| shown(&clean(), format, NARROW, false))
        .join("\n");
    insta::assert_snapshot!("check-none", none);
}

#[test]
fn every_line_fits() {
    for width in [60, 80, 120] {
        let color = false;
        let page = shown(
            &run("a-name-15-bytes"),
            CheckFormat::Table,
            Style { width, color },
            true,
        );
        for line in page.lines() {
            assert!(display_width(line) <= width, "{width}: {line}\n{page}");
        }
    }
}

#[test]
fn hostile_text_is_tame_and_can_be_read() {
    for name in HOSTILE {
        for &format in CheckFormat::value_variants() {
            let page = shown(&run(name), format, NARROW, true);
            let bad = page.chars().find(|&c| c != '\n' && !is_harmless(c));
            assert_eq!(bad, None, "{name:?} in {format:?}:\n{page}");
            match format {
                CheckFormat::Table => {}
                CheckFormat::Junit => {
                    let document = roxmltree::Document::parse(&page).expect("XML");
                    let cases = document
                        .descendants()
                        .filter(|n| n.has_tag_name("testcase"));
                    assert_eq!(cases.count(), 3, "{name:?}:\n{page}");
                }
                CheckFormat::Json | CheckFormat::Sarif => {
                    let value: serde_json::Value = serde_json::from_str(&page).expect("JSON");
                    let place = match format {
                        CheckFormat::Json => "/findings/0/owner/comm",
                        _ => "/runs/0/results/0/locations/0/logicalLocations/0/fullyQualifiedName",
                    };
                    let found = value.pointer(place).and_then(|value| value.as_str());
                    assert!(found.is_some_and(|found| found.ends_with(name)), "{name:?}");
                }
            }
        }
    }
}

#[test]
fn a_path_becomes_a_reference() {
    let uri = |name| {
        let page = shown(&run(name), CheckFormat::Sarif, NARROW, false);
        let value: serde_json::Value = serde_json::from_str(&page).expect("JSON");
        let place = "/runs/0/results/0/locations/0/physicalLocation/artifactLocation/uri";
        value
            .pointer(place)
            .expect("a place")
            .as_str()
            .expect("text")
            .to_owned()
    };
    assert_eq!(uri("a b.py"), "tests/a%20b.py");
    let elsewhere = Run {
        folder: Some(Untrusted::from("/sr")),
        ..run("x.py")
    };
    let page = shown(&elsewhere, CheckFormat::Sarif, NARROW, false);
    assert!(page.contains("\"file:///src/tests/x.py\""), "{page}");
}
