//! The two charts of a finding: how many there were, and how long they lived.

use askama::Template;

use crate::{
    model::report::{Count, Group},
    table::ages::Ages,
    view::{
        table::clock,
        text::{count, duration},
    },
};

/// Width and height of what is drawn, in the units of the picture.
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 90.0;

/// Opened and live in the course of the watch.
#[derive(Template)]
#[template(path = "curve.html")]
pub(super) struct Curve {
    /// Points of a line: `x,y x,y`.
    opened: String,
    live: String,
    most: u64,
    begins: String,
    ends: String,
    /// The picture in words.
    words: String,
}

impl Curve {
    /// `None` with fewer than two points.
    pub(super) fn new(curve: &[Count]) -> Option<Self> {
        let [first, .., last] = curve else {
            return None;
        };
        let most = curve.iter().map(|point| point.opened.max(point.live)).max();
        let most = most.unwrap_or(0).max(1);
        let span = last.at.duration_since(first.at).as_secs_f64().max(1e-3);
        let line = |of: fn(&Count) -> u64| {
            let points = curve.iter().map(|point| {
                let x = point.at.duration_since(first.at).as_secs_f64() / span * WIDTH;
                let y = HEIGHT - share(of(point), most) * HEIGHT;
                format!("{x:.1},{y:.1}")
            });
            points.collect::<Vec<_>>().join(" ")
        };
        Some(Self {
            opened: line(|point| point.opened),
            live: line(|point| point.live),
            most,
            begins: clock(first.at),
            ends: clock(last.at),
            words: format!(
                "Live went from {} to {}, opened from {} to {}.",
                first.live, last.live, first.opened, last.opened
            ),
        })
    }
}

/// How old the live ones are, and how old the ended ones became.
#[derive(Template)]
#[template(path = "ages.html")]
pub(super) struct AgesChart {
    bars: Vec<AgeBar>,
    most: u64,
    words: String,
}

/// From one age to twice that.
struct AgeBar {
    x: String,
    live: Pillar,
    ended: Pillar,
    label: Option<String>,
    title: String,
}

/// One of its pillars, in tenths of units.
struct Pillar {
    x: String,
    y: String,
    width: String,
    height: String,
}

impl Pillar {
    fn new(x: f64, width: f64, share: f64) -> Self {
        let tenth = |number: f64| format!("{number:.1}");
        let height = share * HEIGHT;
        Self {
            x: tenth(x),
            y: tenth(HEIGHT - height),
            width: tenth(width),
            height: tenth(height),
        }
    }
}

/// As many labels fit below the bars.
const LABELS: usize = 5;

impl AgesChart {
    /// `None` where nothing is known of any.
    pub(super) fn new(group: &Group) -> Option<Self> {
        let live = group.connections.iter();
        let live: Ages = live.filter_map(|connection| connection.age_ms).collect();
        let before = group.connections.len() as u64 - live.total();
        let lives = &group.lives;
        let (live_counts, ended_counts) = (live.octaves(), lives.octaves());
        let mut octaves: Vec<(u64, u64, u64)> = Vec::new();
        for (ours, theirs) in live_counts.iter().zip(&ended_counts) {
            octaves.push((ours.0, ours.1, theirs.1));
        }
        let is_used = |&(_, live, ended): &(u64, u64, u64)| live + ended > 0;
        let first = octaves.iter().position(is_used)?;
        let last = octaves.iter().rposition(is_used)?;
        let used = &octaves[first..=last];
        let most = used.iter().map(|&(_, live, ended)| live.max(ended)).max()?;
        let width = (WIDTH / f64::from(u32::try_from(used.len()).ok()?)).min(60.0);
        let step = used.len().div_ceil(LABELS);
        let bars = used
            .iter()
            .enumerate()
            .map(|(index, &(from, live, ended))| {
                let to = octaves.get(first + index + 1).map(|&(to, ..)| duration(to));
                let range = match to {
                    Some(to) => format!("{} to {to}", duration(from)),
                    None => format!("{} or more", duration(from)),
                };
                let x = width * f64::from(u32::try_from(index).unwrap_or(0));
                AgeBar {
                    x: format!("{x:.1}"),
                    live: Pillar::new(x + width * 0.08, width * 0.4, share(live, most)),
                    ended: Pillar::new(x + width * 0.52, width * 0.4, share(ended, most)),
                    label: (index % step == 0).then(|| duration(from)),
                    title: format!("{range}: {live} live, {ended} ended"),
                }
            });
        let quantile = |ages: &Ages| ages.quantile_ms(50).map(duration);
        let mut words = Vec::new();
        if let Some(middle) = quantile(&live) {
            words.push(format!("Half of the live ones are younger than {middle}."));
        }
        if let Some(middle) = quantile(lives) {
            words.push(format!("Half of the ended ones lived less than {middle}."));
        }
        if before > 0 {
            words.push(format!(
                "{} from before the watch.",
                count(before, "connection")
            ));
        }
        Some(Self {
            bars: bars.collect(),
            most,
            words: words.join(" "),
        })
    }
}

/// `part` of `whole`, which is not 0.
#[expect(clippy::cast_precision_loss, reason = "for the eye")]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}
