use super::*;
use crate::{
    model::{report::Loss, timeline::spans, untrusted::Untrusted},
    tcp::State,
    view::fixture::{connections, noon},
};

fn row(number: i64, history: &[(State, i64)], closed: Option<i64>) -> Row {
    let mut connection = connections("x").swap_remove(0);
    connection.local = format!("127.0.0.1:{}", 40_000 + number);
    connection.history = history
        .iter()
        .map(|&(state, ms)| (state, noon(ms)))
        .collect();
    connection.opened_at = history.first().map(|&(_, at)| noon(at));
    connection.state = history.last().map_or(State::Close, |&(state, _)| state);
    connection.app_closed_at = closed.map(noon);
    connection.closed_at = closed.map(noon);
    let is_open = closed.is_none();
    let mark = |ms| Mark {
        kind: MarkKind::AppClose,
        at: noon(ms),
    };
    Row {
        spans: spans(&connection, is_open, &[], (noon(0), noon(60_000))),
        marks: closed.into_iter().map(mark).collect(),
        verdict: is_open.then_some("missing-close"),
        connection,
        is_open,
    }
}

/// Three connections of a site, and so many more.
pub(in crate::view) fn example(many: i64) -> Timeline {
    use State::{Close, CloseWait, Established, SynSent};
    let mut rows = vec![
        row(
            1,
            &[(SynSent, 1_000), (Established, 5_000), (CloseWait, 30_000)],
            None,
        ),
        row(
            2,
            &[(SynSent, 10_000), (Established, 10_001), (Close, 59_000)],
            Some(59_000),
        ),
        row(
            3,
            &[(SynSent, 20_000), (Established, 20_001), (Close, 20_002)],
            Some(20_002),
        ),
    ];
    rows.extend((4..many).map(|number| {
        let at = number * 1_000;
        row(
            number,
            &[(Established, at), (Close, at + 9_000)],
            Some(at + 9_000),
        )
    }));
    Timeline {
        host: Untrusted::from("host"),
        window: (noon(0), noon(60_000)),
        sites: vec![Site {
            id: "5f3a9c".to_owned(),
            pid: Some(4_242),
            comm: Some(Untrusted::from("evil\u{1b}[2J")),
            role: Role::Client,
            end: ([127, 0, 0, 1], 8_099).into(),
            call_site: None,
            rows,
        }],
        left_out: 0,
        loss: Loss::default(),
    }
}

fn shown(of: &Timeline, format: TimelineFormat, all: bool) -> String {
    let mut out = Vec::new();
    let style = Style {
        width: 80,
        color: false,
    };
    timeline(&mut out, of, format, all, style).expect("memory");
    String::from_utf8(out).expect("text")
}

#[test]
fn a_few_are_bars() {
    insta::assert_snapshot!(shown(&example(0), TimelineFormat::Table, false));
}

#[test]
fn many_are_folded_unless_all_are_wanted() {
    insta::assert_snapshot!(shown(&example(20), TimelineFormat::Table, false));
    let all = shown(&example(20), TimelineFormat::Table, true);
    assert_eq!(all.matches(" ended\n").count(), 18);
}

#[test]
fn colour_changes_no_letter() {
    let bar = "..==  wwC";
    let painted = painted(bar, true);
    assert!(painted.contains("\u{1b}[31mww\u{1b}[0mC"), "{painted:?}");
    assert_eq!(console::strip_ansi_codes(&painted), bar);
    assert_eq!(super::painted(bar, false), bar);
}

#[test]
fn json_has_spans_and_marks() {
    let text = shown(&example(0), TimelineFormat::Json, false);
    let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let first = &document["sites"][0]["connections"][0];
    assert_eq!(first["spans"][2]["phase"], "close-wait");
    assert_eq!(first["spans"][2]["to"], document["window"]["to"]);
    assert_eq!(first["verdict"], "missing-close");
    let second = &document["sites"][0]["connections"][1];
    assert_eq!(second["marks"][0]["mark"], "app-close");
}

#[test]
fn no_line_is_wider_than_the_terminal_and_nothing_acts_on_it() {
    for all in [false, true] {
        let text = shown(&example(20), TimelineFormat::Table, all);
        for line in text.lines() {
            assert!(textwrap::core::display_width(line) <= 80, "{line}");
            assert!(!line.contains('\u{1b}'), "{line}");
        }
    }
}
