use super::{ALL, SECTIONS, nearest, of};
use crate::diagnosis::{rules::CODES, runtime::Runtime};

/// Terminals are at least this wide.
const COLUMNS: usize = 80;

/// Fewer words explain nothing.
const WORDS: usize = 12;

#[test]
fn every_verdict_has_its_text() {
    let explained: Vec<_> = ALL.iter().map(|text| text.code).collect();
    assert_eq!(explained, CODES);
}

#[test]
fn every_text_is_whole() {
    for text in ALL {
        let code = text.code;
        assert!(text.text.starts_with(&format!("# {code}: ")), "{code}");
        assert!(
            !text.title().is_empty() && !text.title().ends_with('.'),
            "{code}"
        );
        let headings = text
            .text
            .lines()
            .filter_map(|line| line.strip_prefix("## "));
        assert!(headings.eq(SECTIONS), "{code}: other headings");
        for heading in SECTIONS {
            let words = text.section(heading).split_whitespace().count();
            assert!(words >= WORDS, "{code}: {heading} has {words} words");
        }
        assert!(
            text.text.ends_with('\n') && !text.text.ends_with("\n\n"),
            "{code}"
        );
        for line in text.text.lines() {
            assert!(line.is_ascii() && line.len() <= COLUMNS, "{code}: {line}");
            assert!(!line.ends_with(' '), "{code}: {line}");
        }
    }
}

#[test]
fn fixes_are_written_for_known_runtimes() {
    for text in ALL {
        let fix = text.section("Fix");
        let items = fix.lines().filter_map(|line| line.strip_prefix("- "));
        let mut last = None;
        for item in items {
            let name = item.split(": ").next().unwrap_or_default();
            let runtime = Runtime::ALL.iter().find(|r| r.name() == name);
            assert!(runtime.is_some(), "{}: {item}", text.code);
            assert!(last < runtime, "{}: {name} out of order", text.code);
            last = runtime;
        }
    }
}

#[test]
fn what_the_program_must_mend_says_how_in_every_language() {
    let languages = [
        Runtime::Go,
        Runtime::Java,
        Runtime::Python,
        Runtime::Node,
        Runtime::Rust,
    ];
    for code in [
        "missing-close",
        "response-not-finished",
        "inherited-fd",
        "dead-fd",
        "half-closed-held",
        "client-per-request",
        "pool-exhausted",
        "idle-growth",
        "unbounded-growth",
        "half-open-peer",
        "timeout-not-passed",
        "time-wait-churn",
    ] {
        let text = of(code).expect("a text");
        let general = text.fix(Runtime::Unknown);
        assert!(general.split(' ').count() >= WORDS, "{code}: {general}");
        for runtime in languages {
            assert_ne!(text.fix(runtime), general, "{code} in {runtime}");
        }
    }
}

#[test]
fn a_slip_of_the_pen_finds_its_code() {
    assert_eq!(nearest("missing_close"), "missing-close");
    assert_eq!(nearest("deadfd"), "dead-fd");
    assert_eq!(
        nearest("HEALTHY-POOL".to_lowercase().as_str()),
        "healthy-pool"
    );
    assert_eq!(nearest("time-wait"), "time-wait-churn");
    assert!(of("nonsense").is_none());
    // Any word has one, however long.
    assert!(of(nearest(&"x".repeat(100_000))).is_some());
}
