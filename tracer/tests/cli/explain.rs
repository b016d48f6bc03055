//! `explain`: every verdict, for anybody, in texts that fit.

use anyhow::Result;

use crate::{
    COLUMNS,
    support::{assert_one_line, run, text},
};

fn codes() -> Result<Vec<String>> {
    let list = run("explain --list")?;
    assert_eq!(list.status.code(), Some(0));
    let codes = text(&list.stdout)?.lines();
    Ok(codes
        .filter_map(|line| line.split("  ").next())
        .map(str::to_owned)
        .collect())
}

#[test]
fn all_verdicts_are_listed_and_explained() -> Result<()> {
    let codes = codes()?;
    assert!(codes.len() >= 22, "{codes:?}");
    for code in codes {
        let page = run(&format!("explain {code}"))?;
        assert_eq!(page.status.code(), Some(0), "{code}");
        let page = text(&page.stdout)?;
        assert!(page.starts_with(&format!("# {code}: ")), "{code}");
        for line in page.lines() {
            assert!(line.chars().count() <= COLUMNS, "{code}: {line}");
        }
    }
    let list = run("explain --list")?;
    for line in text(&list.stdout)?.lines() {
        assert!(line.chars().count() <= COLUMNS, "{line}");
    }
    Ok(())
}

#[test]
fn a_slip_of_the_pen_is_put_right() -> Result<()> {
    for (word, code) in [
        ("mising-close", "missing-close"),
        ("time_wait_churn", "time-wait-churn"),
        ("half-open", "half-open-peer"),
    ] {
        let refused = run(&format!("explain {word}"))?;
        assert_one_line(&refused, 2, word)?;
        let said = text(&refused.stderr)?;
        assert!(said.contains(&format!("'{code}'")), "{said}");
        assert!(said.contains("--list"), "{said}");
    }
    Ok(())
}
