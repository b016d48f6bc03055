//! Pages and pictures, in the browser that people open them with.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result};
use fantoccini::key::Key;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{Program, Tcpleak, browser::Browser, wait_for};

/// Both ends of so many are open in the end, and of so many more have ended.
const OPEN: usize = 200;
const ENDED: usize = 800;

/// In which they come, so far apart: all of them have their call stacks, of which a
/// process has 1,000 a second, so that they are of few groups and the longest leads.
const WAVES: usize = 2;
const WAVE: Duration = Duration::from_millis(1_100);

/// A page is loaded so often: one load on a busy host says nothing of the page.
const LOADS: usize = 40;

/// In which one load of 2,000 connections must be done, in milliseconds.
const QUICK_MS: f64 = 1_000.0;

/// What `--html` and `--svg` write of 2,000 connections, each end counted.
struct Pages {
    folder: TempDir,
}

impl Pages {
    fn write() -> Result<Self> {
        let folder = TempDir::new()?;
        let mut ends = Program::start("ends", "")?;
        let port = ends.hear()?["port"].as_u64().context("no port")?;
        let path = |name| folder.path().join(name).display().to_string();
        let tcpleak = Tcpleak::watching(&format!(
            "timeline --port {port} --for 1h --html {} --svg {}",
            path("timeline.html"),
            path("timeline.svg")
        ))?;
        ends.ask(&format!("hold {OPEN}"))?;
        for _ in 0..WAVES {
            thread::sleep(WAVE);
            ends.ask(&format!("many {}", ENDED / WAVES))?;
        }
        let finished = tcpleak.interrupt()?;
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        drop(ends);
        Ok(Self { folder })
    }

    fn open(&self, name: &str) -> Result<Browser> {
        let browser = Browser::start()?;
        browser.open(&self.folder.path().join(name))?;
        Ok(browser)
    }
}

const SHOWN: &str = "[...document.querySelectorAll('.r')].filter(r => r.offsetParent).length";
const ALL: &str = "document.querySelectorAll('.r').length";

#[test]
fn a_page_of_2000_connections_works_by_mouse_and_keyboard() -> Result<()> {
    let pages = Pages::write()?;
    let browser = pages.open("timeline.html")?;
    let connections = 2 * (OPEN + ENDED);
    assert_eq!(browser.value(ALL)?, connections);
    assert_eq!(browser.value(SHOWN)?, connections);
    assert_eq!(
        browser.value("performance.getEntriesByType('resource').length")?,
        0,
        "nothing is fetched"
    );
    is_quick(&browser, &pages)?;
    filter(&browser)?;
    zoom(&browser)?;
    Ok(())
}

/// From the start of a load until all is laid out and painted, in milliseconds.
const PAINTED: &str = "Math.max(performance.getEntriesByType('navigation')[0].loadEventEnd, \
     performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? Infinity)";

/// A busy machine makes it wait: what counts is how quick it can be.
fn is_quick(browser: &Browser, pages: &Pages) -> Result<()> {
    let mut best = f64::INFINITY;
    for _ in 0..LOADS {
        if best < QUICK_MS {
            break;
        }
        browser.open(&pages.folder.path().join("timeline.html"))?;
        let painted = wait_for("the page to be painted", || {
            let painted = browser.value(PAINTED)?.as_f64();
            Ok(painted.filter(|&ms| ms > 0.0))
        })?;
        best = best.min(painted);
    }
    println!("loaded, laid out and painted in {best:.0} ms");
    assert!(best < QUICK_MS, "{best} ms, at the best of {LOADS}");
    Ok(())
}

fn filter(browser: &Browser) -> Result<()> {
    let count = || browser.text("document.getElementById('count').textContent");
    // From anywhere to the filter.
    browser.press("/")?;
    assert_eq!(browser.text("document.activeElement.id")?, "filter");
    browser.press("established client")?;
    assert_eq!(browser.value(SHOWN)?, OPEN + ENDED);
    browser.press(" fd-that-is-nowhere")?;
    assert_eq!(browser.value(SHOWN)?, 0);
    assert_eq!(count()?, "0 of 2000 connections");
    browser.press(&char::from(Key::Escape).to_string())?;
    assert_eq!(count()?, "2000 of 2000 connections");

    browser.value("document.getElementById('show').focus()")?;
    browser.press("open")?;
    assert_eq!(browser.value(SHOWN)?, 2 * OPEN);
    assert_eq!(count()?, "400 of 2000 connections");
    browser.press(&char::from(Key::Home).to_string())?;
    assert_eq!(count()?, "2000 of 2000 connections");
    browser.press(&char::from(Key::Escape).to_string())
}

/// The width of what is drawn, by that of what is seen.
const ZOOM: &str = "Number(document.getElementById('timeline').style.getPropertyValue('--z'))";
const FROM: &str = "Number(document.getElementById('timeline').style.getPropertyValue('--f'))";
const NUMBER: &str = "[...document.querySelectorAll('.r')].indexOf(document.activeElement)";

fn zoom(browser: &Browser) -> Result<()> {
    let view = || browser.value(&format!("[{ZOOM}, {FROM}]"));
    let key = |key: Key| browser.press(&char::from(key).to_string());
    browser.press("/")?;
    key(Key::Down)?;
    assert_eq!(browser.value(NUMBER)?, 0, "from the filter to the rows");
    key(Key::Down)?;
    key(Key::Down)?;
    key(Key::Up)?;
    assert_eq!(browser.value(NUMBER)?, 1);
    let tip = "document.getElementById('tip').textContent";
    assert!(
        browser.text(tip)?.contains("established"),
        "{}",
        browser.text(tip)?
    );
    key(Key::End)?;
    assert_eq!(browser.value(NUMBER)?, 2 * (OPEN + ENDED) - 1);
    key(Key::Home)?;

    assert_eq!(view()?, json!([1, 0]));
    browser.press("++")?;
    assert_eq!(view()?, json!([4, 37.5]));
    key(Key::Right)?;
    assert_eq!(view()?, json!([4, 42.5]));
    key(Key::Left)?;
    browser.press("-")?;
    assert_eq!(view()?, json!([2, 25]));
    browser.press("0")?;
    assert_eq!(view()?, json!([1, 0]));

    // The middle half of the first bar.
    let bar = |of: &str| {
        browser.number(&format!(
            "document.querySelector('.b').getBoundingClientRect().{of}"
        ))
    };
    let (left, width, y) = (bar("left")?, bar("width")?, bar("top")? + 8.0);
    let at = |part: f64| (width.mul_add(part, left), y);
    browser.drag(at(0.25), at(0.75))?;
    assert!(
        (browser.number(ZOOM)? - 2.0).abs() < 0.05,
        "{}",
        browser.number(ZOOM)?
    );
    assert!(
        (browser.number(FROM)? - 25.0).abs() < 0.5,
        "{}",
        browser.number(FROM)?
    );
    browser.point(at(0.9))?;
    assert!(
        browser.text(tip)?.starts_with("established for"),
        "{}",
        browser.text(tip)?
    );
    browser.press("0")
}

#[test]
fn a_picture_has_every_connection() -> Result<()> {
    let pages = Pages::write()?;
    let browser = pages.open("timeline.svg")?;
    assert_eq!(browser.text("document.documentElement.tagName")?, "svg");
    let groups = browser.value("document.querySelectorAll('g').length")?;
    assert_eq!(groups, 2 * (OPEN + ENDED));
    Ok(())
}
