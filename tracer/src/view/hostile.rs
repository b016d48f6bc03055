//! No process can write through a view, whatever it calls itself.

use clap::ValueEnum;
use proptest::prelude::*;

use super::{
    Format, TableFormat, Trace, fixture, json, ps, tables,
    tests::{ALL, NARROW, WIDE, doctor_text, everything, leaks_text, text, trace_text},
};
use crate::model::{
    connection::Connection,
    event::{Event, EventName},
    untrusted::{Untrusted, is_harmless, spelled_out},
};

/// Texts that a process might choose to write to our reader's terminal, page
/// or spreadsheet.
pub(super) const HOSTILE: [&str; 25] = [
    "\x1b]0;owned\x07",
    "\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\",
    "\x1b]52;c;ZXZpbA==\x07",
    "\x1b[2J\x1b[H",
    "\x1b[31mred\x1b[0m",
    "\x1bP+q544e\x1b\\",
    "\u{9b}2J",
    "\u{9d}0;owned\u{9c}",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"; DROP TABLE x; --",
    "=cmd|' /C calc'!A0",
    "\u{202e}gnp.exe",
    "\u{2066}a\u{2069}",
    "\u{61c}\u{200e}\u{200f}",
    "zero\u{200b}width\u{200d}joined\u{feff}",
    "tag\u{e0041}\u{e007f}",
    "variation\u{fe0f}\u{e0100}",
    "line\nbreak\r\nand\u{85}more\u{2028}and\u{2029}end",
    "\\u{1b}[31m",
    "trailing \\",
    "\"quoted\", 'and', comma",
    "{\"json\": true}",
    "a\tb\x08\x7f",
    "pile\u{301}\u{302}\u{303}\u{334}up",
];

/// Every two bytes.
fn pairs() -> impl Iterator<Item = [u8; 2]> {
    (0..=u8::MAX).flat_map(|a| (0..=u8::MAX).map(move |b| [a, b]))
}

/// Every two bytes, 256 pairs a text.
fn texts_of_pairs() -> Vec<String> {
    let pairs: Vec<_> = pairs().collect();
    let text = |pairs: &[[u8; 2]]| Untrusted::from_bytes(pairs.as_flattened()).raw().to_owned();
    pairs.chunks(256).map(text).collect()
}

/// A harmless text that takes the same room: only blanks fold lines.
fn as_wide_as(shown: &str) -> String {
    let tame = |c| if c == ' ' { ' ' } else { 'x' };
    shown.chars().map(tame).collect()
}

fn lines(text: &str) -> usize {
    text.bytes().filter(|&byte| byte == b'\n').count()
}

/// That `output` can do nothing to a terminal, and has so many lines.
pub(super) fn assert_tame(output: &str, expected_lines: usize, what: &str) {
    let bad = output.chars().find(|&c| c != '\n' && !is_harmless(c));
    assert_eq!(bad, None, "{what}:\n{output}");
    assert!(
        output.bytes().all(|byte| byte == b'\n' || byte >= b' '),
        "{what}"
    );
    assert_eq!(lines(output), expected_lines, "{what}:\n{output}");
}

#[test]
fn hostile_text() {
    for name in HOSTILE {
        let tame = as_wide_as(&Untrusted::from(name).to_string());
        let tame_quote = as_wide_as(&spelled_out(name));
        for &format in Format::value_variants() {
            let expected = everything(&tame, &tame_quote, format, NARROW);
            for (output, expected) in everything(name, name, format, NARROW).iter().zip(expected) {
                assert_tame(output, lines(&expected), &format!("{name:?} in {format:?}"));
            }
        }
    }
}

/// What goes into Parquet is not for a terminal.
const TEXT_TABLES: [TableFormat; 2] = [TableFormat::Csv, TableFormat::Jsonl];

#[test]
fn hostile_text_in_tables() {
    let hostile = HOSTILE.map(str::to_owned).into_iter();
    for name in hostile.chain(texts_of_pairs()) {
        for format in TEXT_TABLES {
            let expected = tables::tests::texts("x", format);
            let told = tables::tests::texts(&name, format);
            for (output, expected) in told.iter().zip(expected) {
                assert_tame(output, lines(&expected), &format!("{name:?} in {format:?}"));
            }
        }
        let told = tables::tests::texts(&name, TableFormat::Jsonl);
        let value: serde_json::Value = told[0]
            .lines()
            .next()
            .and_then(|line| serde_json::from_str(line).ok())
            .expect("JSON");
        assert_eq!(value["comm"], name.as_str());
    }
}

#[test]
fn no_cell_of_a_table_is_a_formula() {
    for output in tables::tests::texts("=cmd|' /C calc'!A0", TableFormat::Csv) {
        assert!(
            !output.contains(",=") && !output.contains(",\"="),
            "{output}"
        );
    }
}

#[test]
fn hostile_pairs_in_reports() {
    let report = |name: &str, quote: &str, format| {
        let mut report = fixture::leaks(name);
        report.groups.truncate(1);
        report.groups[0].connections.truncate(1);
        [
            leaks_text(&report, format, NARROW, ALL),
            doctor_text(&fixture::doctor(quote), format, NARROW),
        ]
    };
    for name in texts_of_pairs() {
        let tame = as_wide_as(&Untrusted::from(name.as_str()).to_string());
        let tame_quote = as_wide_as(&spelled_out(&name));
        for &format in Format::value_variants() {
            let expected = report(&tame, &tame_quote, format);
            for (output, expected) in report(&name, &name, format).iter().zip(expected) {
                assert_tame(output, lines(&expected), &format!("{name:?} in {format:?}"));
            }
        }
    }
}

/// Every two bytes in a name of three, which no column clips: `aba` holds both
/// `ab` and `ba`.
#[test]
fn hostile_pairs_in_rows() {
    let named = |comm| Connection {
        comm: Some(comm),
        ..fixture::close_wait("", 7)
    };
    let hostile: Vec<_> = pairs()
        .filter(|[a, b]| a <= b)
        .map(|[a, b]| named(Untrusted::from_bytes(&[a, b, a])))
        .collect();
    let rows = hostile.len() / 128;
    assert_eq!(hostile.len() % rows, 0, "chunks of one length");
    let tame = vec![named(Untrusted::from("xxx")); rows];
    let show = |connections: &[Connection], format| {
        let ps = text(|out| ps(out, connections, &fixture::LOSS, format, NARROW));
        let trace = text(|out| {
            let mut trace = Trace::new(format, WIDE);
            connections.iter().try_for_each(|connection| {
                let event = Event {
                    name: EventName::Open,
                    at: fixture::noon(0),
                    connection: connection.clone(),
                };
                trace.event(out, &event)
            })
        });
        [ps, trace]
    };
    for &format in Format::value_variants() {
        let expected = show(&tame, format).map(|output| lines(&output));
        for connections in hostile.chunks_exact(rows) {
            for (output, expected) in show(connections, format).iter().zip(expected) {
                assert_tame(output, expected, &format!("pairs in {format:?}"));
            }
        }
    }
}

#[test]
fn json_gives_hostile_text_back() {
    for name in HOSTILE
        .map(str::to_owned)
        .into_iter()
        .chain(texts_of_pairs())
    {
        let page = leaks_text(&fixture::leaks(&name), Format::Json, NARROW, ALL);
        let value: serde_json::Value = serde_json::from_str(&page).expect("JSON");
        let group = &value["groups"][0];
        for key in ["comm", "exe", "cgroup", "container"] {
            assert_eq!(group["owner"][key], name.as_str());
        }
        assert_eq!(group["site"]["frames"][1], format!("{name} {name}:42"));
        assert_eq!(group["connections"][0]["comm"], name.as_str());
        let trace = trace_text(&name, Format::Jsonl, NARROW);
        let first = trace.lines().next().unwrap_or_default();
        let value: serde_json::Value = serde_json::from_str(first).expect("JSON");
        assert_eq!(value["comm"], name.as_str());
    }
}

proptest! {
    #[test]
    fn untrusted_display_is_harmless_and_unambiguous(a in ".*", b in any::<String>()) {
        let (shown_a, shown_b) = (Untrusted::from(a.as_str()).to_string(), Untrusted::from(b.as_str()).to_string());
        prop_assert!(shown_a.chars().chain(shown_b.chars()).all(is_harmless));
        prop_assert_eq!(a == b, shown_a == shown_b);
    }

    #[test]
    fn any_bytes_make_text(bytes: Vec<u8>) {
        prop_assert!(Untrusted::from_bytes(&bytes).to_string().chars().all(is_harmless));
    }

    #[test]
    fn json_round_trips(name: String) {
        let page = text(|out| json::line(out, &name));
        prop_assert!(page.trim_end().chars().all(is_harmless));
        prop_assert_eq!(serde_json::from_str::<String>(&page).expect("JSON"), name);
    }
}
