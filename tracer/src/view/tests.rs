//! Every view in every format: what it looks like, that it fits, and that no
//! process can write through it.

use std::io::{self, Write};

use clap::ValueEnum;
use textwrap::core::display_width;

use super::{Format, LeaksOptions, Style, Trace, doctor, fixture, leaks, ps};
use crate::{
    course::shed::Shed,
    model::report::{Doctor, Leaks, Loss},
};

pub(super) const NARROW: Style = Style {
    width: 80,
    color: false,
};
pub(super) const WIDE: Style = Style {
    width: 120,
    color: false,
};
pub(super) const ALL: LeaksOptions = LeaksOptions {
    all: true,
    verbose: true,
};
const PLAIN: LeaksOptions = LeaksOptions {
    all: false,
    verbose: false,
};

pub(super) fn text(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).expect("a Vec takes all");
    String::from_utf8(out).expect("views write UTF-8")
}

pub(super) fn leaks_text(
    report: &Leaks,
    format: Format,
    style: Style,
    options: LeaksOptions,
) -> String {
    text(|out| leaks(out, report, format, style, options))
}

fn ps_text(name: &str, format: Format, style: Style) -> String {
    text(|out| {
        ps(
            out,
            &fixture::connections(name),
            &fixture::LOSS,
            format,
            style,
        )
    })
}

pub(super) fn trace_text(name: &str, format: Format, style: Style) -> String {
    text(|out| {
        let mut trace = Trace::new(format, style);
        trace.header(out)?;
        for event in fixture::events(name) {
            trace.event(out, &event)?;
        }
        trace.shed(out, fixture::noon(98), Shed::Transitions)?;
        trace.loss(out, fixture::noon(99), &fixture::LOSS)
    })
}

pub(super) fn doctor_text(report: &Doctor, format: Format, style: Style) -> String {
    text(|out| doctor(out, report, format, style))
}

/// Every view's output in this format and style, with `name` for what
/// processes choose, and `quote` in text of ours that may quote them.
pub(super) fn everything(name: &str, quote: &str, format: Format, style: Style) -> Vec<String> {
    vec![
        leaks_text(&fixture::leaks(name), format, style, ALL),
        leaks_text(&fixture::leaks(name), format, style, PLAIN),
        ps_text(name, format, style),
        trace_text(name, format, style),
        doctor_text(&fixture::doctor(quote), format, style),
    ]
}

/// Snapshots of a view: tables in both widths, the other formats once.
macro_rules! snapshots {
    ($view:literal, |$format:ident, $style:ident| $text:expr) => {
        for &$format in Format::value_variants() {
            let styles = if $format == Format::Table {
                &[NARROW, WIDE][..]
            } else {
                &[NARROW]
            };
            for &$style in styles {
                let name = format!("{}-{:?}-{}", $view, $format, $style.width).to_lowercase();
                insta::assert_snapshot!(name, $text);
            }
        }
    };
}

#[test]
fn leaks_in_every_format() {
    let report = fixture::leaks("python3");
    snapshots!("leaks", |format, style| leaks_text(
        &report, format, style, PLAIN
    ));
    insta::assert_snapshot!(
        "leaks-verbose",
        leaks_text(&report, Format::Table, NARROW, ALL)
    );
}

#[test]
fn ps_in_every_format() {
    snapshots!("ps", |format, style| ps_text("python3", format, style));
}

#[test]
fn trace_in_every_format() {
    snapshots!("trace", |format, style| trace_text(
        "python3", format, style
    ));
}

#[test]
fn doctor_in_every_format() {
    snapshots!("doctor", |format, style| doctor_text(
        &fixture::doctor("6.18"),
        format,
        style
    ));
}

#[test]
fn without_findings_a_report_says_what_to_do() {
    let page = [fixture::no_leak(), fixture::too_early(), fixture::silence()]
        .map(|report| leaks_text(&report, Format::Table, NARROW, PLAIN))
        .join("\n");
    insta::assert_snapshot!("leaks-none", page);
}

#[test]
fn without_connections_ps_says_so() {
    let page = text(|out| ps(out, &[], &Loss::default(), Format::Table, NARROW));
    assert_eq!(
        page,
        "No connection is open, as far as the filters and this user can see.\n"
    );
}

#[test]
fn a_host_that_cannot_be_traced_is_told_why() {
    let report = Doctor {
        plan: None,
        ..fixture::doctor("6.18")
    };
    let page = doctor_text(&report, Format::Table, WIDE);
    assert_eq!(
        page.lines().last(),
        Some("tcpleak cannot trace on kernel 6.18.0: first, pass --btf FILE.")
    );
}

#[test]
fn every_line_fits() {
    for width in [60, 80, 100, 120, 200] {
        for page in everything(
            "a-name-15-bytes",
            "a-name-15-bytes",
            Format::Table,
            Style {
                width,
                color: false,
            },
        ) {
            for line in page.lines() {
                assert!(display_width(line) <= width, "{width}: {line}\n{page}");
            }
        }
    }
}

#[test]
fn colour_adds_nothing_but_colour() {
    for (plain, coloured) in everything("nginx", "nginx", Format::Table, WIDE)
        .into_iter()
        .zip(everything(
            "nginx",
            "nginx",
            Format::Table,
            Style {
                color: true,
                ..WIDE
            },
        ))
    {
        assert!(!plain.contains('\x1b'));
        assert!(coloured.contains('\x1b'));
        let stripped = textwrap::core::display_width(&coloured.replace('\n', ""));
        assert_eq!(stripped, display_width(&plain.replace('\n', "")));
    }
}

#[test]
fn csv_has_as_many_cells_in_every_row() {
    for output in everything("a,\"b\"", "a,\"b\"", Format::Csv, NARROW) {
        let rows: Vec<_> = csv::Reader::from_reader(output.as_bytes())
            .into_records()
            .collect::<Result<_, _>>()
            .expect("rows as long as the header");
        assert!(!rows.is_empty());
    }
}

/// The contract's names, at the places where scripts look for them.
#[test]
fn json_has_the_contracts_shape() {
    let page = leaks_text(&fixture::leaks("nginx"), Format::Json, NARROW, PLAIN);
    let value: serde_json::Value = serde_json::from_str(&page).expect("JSON");
    for pointer in [
        "/schema",
        "/host",
        "/kernel",
        "/plan",
        "/blind/0",
        "/window/from",
        "/window/to",
        "/loss/events_lost",
        "/loss/repaired",
        "/summary/connections_seen",
        "/summary/live",
        "/summary/leaked",
        "/summary/stuck",
        "/groups/0/verdict/code",
        "/groups/0/verdict/class",
        "/groups/0/verdict/confidence",
        "/groups/0/verdict/fault",
        "/groups/0/verdict/why",
        "/groups/0/verdict/fix",
        "/groups/0/verdict/evidence/0/fact",
        "/groups/0/verdict/evidence/0/value",
        "/groups/0/owner/pid",
        "/groups/0/role",
        "/groups/0/remote",
        "/groups/0/local_port",
        "/groups/0/site/id",
        "/groups/0/live",
        "/groups/0/opened",
        "/groups/0/closed",
        "/groups/0/oldest_age_ms",
        "/groups/0/states/CLOSE_WAIT",
        "/groups/0/connections/0/history/0/state",
        "/groups/0/connections/0/history/0/at",
    ] {
        assert!(
            value.pointer(pointer).is_some_and(|value| !value.is_null()),
            "{pointer}"
        );
    }
    assert_eq!(value["schema"], "tcpleak.leaks/1");
    assert_eq!(value["window"]["from"], "2026-01-02T11:59:00.000000Z");
    assert!(value["groups"][0]["connections"][0]["closed_at"].is_null());
}
