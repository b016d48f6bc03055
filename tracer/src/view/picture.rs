//! A timeline as one SVG picture.

use std::io::{self, Write};

use askama::Template;

use super::{
    drawn::{Bar, Drawn, Percent},
    table::clock,
    text::{clip, count, loss_sentence},
    timeline::mark_letter,
};
use crate::model::timeline::{MarkKind, Phase, Timeline};

/// Rows of a picture; more are no picture.
const ROWS: usize = 2_000;

/// Units of the picture: pixels, unless it is scaled.
const WIDTH: usize = 1_200;
const LEFT: usize = 220;
const BARS: usize = 860;
const ROW: usize = 16;
const HEADING: usize = 26;
/// What stands above the first site.
const TOP: usize = 64;
/// Characters that fit over the width.
const LINE: usize = 165;
/// Characters that fit left of a bar.
const END: usize = 27;
/// Parts that the axis is divided into.
const TICKS: usize = 5;

/// Writes it.
///
/// # Errors
/// As `out` fails.
pub fn picture(out: &mut dyn Write, timeline: &Timeline) -> io::Result<()> {
    let drawn = Drawn::new(timeline, ROWS);
    let (from, to) = timeline.window;
    let mut y = TOP;
    let mut down = |by: usize| {
        y += by;
        y
    };
    let sites = drawn.sites.iter().map(|site| Block {
        y: down(HEADING) - 8,
        heading: clip(&site.heading, LINE),
        is_found: site.verdict.is_some(),
        rows: site.rows.iter().map(|bar| (down(ROW) - ROW, bar)).collect(),
    });
    let sites: Vec<Block<'_>> = sites.collect();
    let ticks = (0..=TICKS).map(|tick| {
        let part = i32::try_from(tick).unwrap_or(0);
        let whole = i32::try_from(TICKS).unwrap_or(1);
        let at = from + to.duration_since(from) * part / whole;
        (LEFT + BARS * tick / TICKS, clock(at))
    });
    let mut notes = vec![format!(
        "{} on {}, {from:.0} to {to:.0}. {}",
        count(drawn.rows() as u64, "connection"),
        timeline.host,
        loss_sentence(&timeline.loss)
    )];
    if drawn.left_out > 0 {
        notes.push(format!(
            "{} that ended are not drawn: select less (--pid, --port, --remote).",
            count(drawn.left_out, "connection")
        ));
    }
    let picture = Picture {
        ticks: ticks.collect(),
        bottom: y,
        height: y + 50,
        notes,
        sites,
    };
    picture.write_into(out)
}

#[derive(Template)]
#[template(path = "timeline.svg")]
struct Picture<'a> {
    sites: Vec<Block<'a>>,
    ticks: Vec<(usize, String)>,
    /// Where the last row ends.
    bottom: usize,
    height: usize,
    notes: Vec<String>,
}

struct Block<'a> {
    y: usize,
    heading: String,
    is_found: bool,
    /// Each with where it is.
    rows: Vec<(usize, &'a Bar<'a>)>,
}

impl Picture<'_> {
    /// Where a share of the window lies.
    fn x(at: &Percent) -> String {
        format!("{:.1}", Self::number(LEFT) + at.of(Self::number(BARS)))
    }

    /// How long a share of the window is; never too short to be seen.
    fn width(of: &Percent) -> String {
        format!("{:.1}", of.of(Self::number(BARS)).max(1.0))
    }

    fn number(units: usize) -> f64 {
        u32::try_from(units).map_or(0.0, f64::from)
    }

    fn end(bar: &Bar<'_>) -> String {
        clip(bar.end, END)
    }
}
