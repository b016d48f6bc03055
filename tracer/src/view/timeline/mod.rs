//! `tcpleak timeline`: each connection a row, its states along it.

use std::{
    collections::BTreeSet,
    io::{self, Write},
};

use jiff::Timestamp;

use super::{
    Style, json,
    leaks::words::{process, side},
    table::clock,
    text::{Colour, Page, between, clip, count, loss_sentence},
};
use crate::{
    model::{
        connection::{Connection, endpoint},
        timeline::{Mark, MarkKind, Phase, Row, Site, Span, Timeline},
    },
    tcp::Role,
};

mod document;

use document::Document;

/// How to write a timeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum TimelineFormat {
    /// For people: a bar for each connection.
    #[default]
    Table,
    /// One JSON document.
    Json,
}

/// A site with more connections than this shows how many were open, and these few.
const FOLDED_PAST: usize = 12;
const SHOWN_OF_MANY: usize = 3;

/// Columns for the other end of a connection: an IPv4 address with its port.
const END_WIDTH: usize = 21;
const FD_WIDTH: usize = 4;
/// Columns for the state that it is in.
const STATE_WIDTH: usize = 11;
/// Bars are no shorter, however narrow the terminal.
const LEAST_BAR: usize = 16;

/// Writes it.
///
/// # Errors
/// As `out` fails.
pub fn timeline(
    out: &mut dyn Write,
    timeline: &Timeline,
    format: TimelineFormat,
    all: bool,
    style: Style,
) -> io::Result<()> {
    match format {
        TimelineFormat::Table => people(&mut Page::new(out, style), timeline, all),
        TimelineFormat::Json => json::document(out, &Document::new(timeline)),
    }
}

/// The letter of a phase.
const fn letter(phase: Phase) -> char {
    match phase {
        Phase::Connecting => '.',
        Phase::Established => '=',
        Phase::Active => '#',
        Phase::Idle => '-',
        Phase::CloseWait => 'w',
        Phase::FinWait2 => 'f',
        Phase::Closing => 'c',
        Phase::Dead => 'x',
        Phase::TimeWait => 't',
        Phase::Unknown => '?',
    }
}

/// The letter of a mark.
pub(in crate::view) const fn mark_letter(kind: MarkKind) -> char {
    match kind {
        MarkKind::AppClose => 'C',
        MarkKind::Reset => 'R',
        MarkKind::Retransmit => 'r',
        MarkKind::Exec => 'X',
        MarkKind::Exit => 'E',
    }
}

/// What waits for somebody to act stands out; the letters say the same.
const fn colour(letter: char) -> Option<Colour> {
    match letter {
        'w' | 'x' | 'R' => Some(Colour::Red),
        '.' | 'f' | 'c' => Some(Colour::Yellow),
        '=' | '#' => Some(Colour::Green),
        '-' | 't' | '?' => Some(Colour::Grey),
        _ => None,
    }
}

fn painted(bar: &str, is_coloured: bool) -> String {
    if !is_coloured {
        return bar.to_owned();
    }
    let mut painted = String::new();
    let mut now = None;
    for letter in bar.chars() {
        let wanted = colour(letter);
        if wanted != now {
            painted += &wanted.map_or_else(
                || "\u{1b}[0m".to_owned(),
                |colour| format!("\u{1b}[{}m", colour as u8),
            );
            now = wanted;
        }
        painted.push(letter);
    }
    if now.is_some() {
        painted += "\u{1b}[0m";
    }
    painted
}

/// Time along a bar.
struct Axis {
    from: Timestamp,
    ms: u64,
    columns: usize,
}

impl Axis {
    fn new((from, to): (Timestamp, Timestamp), width: usize) -> Self {
        let rest = width.saturating_sub(FD_WIDTH + END_WIDTH + STATE_WIDTH + 5);
        let ms = to.duration_since(from).as_millis().max(1);
        Self {
            from,
            ms: u64::try_from(ms).unwrap_or(1),
            columns: rest.max(LEAST_BAR),
        }
    }

    /// Thousandths of a column from the start.
    fn milli(&self, at: Timestamp) -> u64 {
        let ms = at.duration_since(self.from).as_micros();
        let us = u64::try_from(ms).unwrap_or(0).min(self.ms * 1_000);
        us * self.columns as u64 / self.ms
    }

    fn column(&self, at: Timestamp) -> usize {
        let column = usize::try_from(self.milli(at) / 1_000).unwrap_or(usize::MAX);
        column.min(self.columns - 1)
    }

    /// A connection's bar: in each column what it did there for longest, and what
    /// happened there. One that was short has a column all the same.
    fn bar(&self, row: &Row) -> String {
        let mut columns = vec![(0, ' '); self.columns];
        for &Span { phase, from, to } in &row.spans {
            let (begin, end) = (self.milli(from), self.milli(to));
            let (first, last) = (self.column(from), self.column(to));
            for (index, column) in columns[first..=last].iter_mut().enumerate() {
                let start = (first + index) as u64 * 1_000;
                let covered = end.min(start + 1_000).saturating_sub(begin.max(start));
                let is_short = column.1 == ' ' && begin >= start;
                if covered > column.0 || is_short {
                    *column = (covered, letter(phase));
                }
            }
        }
        for &Mark { kind, at } in &row.marks {
            columns[self.column(at)].1 = mark_letter(kind);
        }
        columns.into_iter().map(|(_, letter)| letter).collect()
    }

    /// How many of a site's were open in each column, in eighths of the most.
    fn crowd(&self, site: &Site) -> (String, usize) {
        const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let mut open = vec![0_usize; self.columns];
        for row in &site.rows {
            let (Some(first), Some(last)) = (row.spans.first(), row.spans.last()) else {
                continue;
            };
            // What lingers after it is not open.
            let ended = row.connection.closed_at.filter(|_| !row.is_open);
            let to = ended.map_or(last.to, |ended| ended.clamp(first.from, last.to));
            for column in &mut open[self.column(first.from)..=self.column(to)] {
                *column += 1;
            }
        }
        let most = open.iter().copied().max().unwrap_or(0).max(1);
        let bar = open
            .iter()
            .map(|&open| EIGHTHS[(open * 8).div_ceil(most).min(8)]);
        (bar.collect(), most)
    }
}

fn people(page: &mut Page<'_>, timeline: &Timeline, all: bool) -> io::Result<()> {
    let axis = Axis::new(timeline.window, page.style.width);
    let (from, to) = timeline.window;
    let begins = clock(from);
    let ends = clock(to);
    let gap = axis
        .columns
        .saturating_sub(begins.len() + ends.len())
        .max(1);
    let left = FD_WIDTH + END_WIDTH + 3;
    if !timeline.sites.is_empty() {
        writeln!(page.out, "{:left$}{begins}{:gap$}{ends}", "", "")?;
    }
    let mut used = BTreeSet::new();
    for site in &timeline.sites {
        page.blank()?;
        page.coloured(Colour::Blue, heading(site))?;
        let is_folded = !all && site.rows.len() > FOLDED_PAST;
        let mut shown: Vec<&Row> = site.rows.iter().collect();
        if is_folded {
            let (bar, most) = axis.crowd(site);
            writeln!(page.out, "{:left$}{bar} max {most}", "")?;
            // Those that stay are what is looked for.
            shown.sort_by_key(|row| !row.is_open);
            shown.truncate(SHOWN_OF_MANY);
        }
        for row in shown {
            used.extend(row.spans.iter().map(|span| span.phase));
            bar_of(page, &axis, row)?;
        }
        if is_folded {
            let more = site.rows.len() - SHOWN_OF_MANY;
            writeln!(page.out, "{:left$}… and {more} more (--all shows them)", "")?;
        }
    }
    page.blank()?;
    legend(page, &used)?;
    if timeline.left_out > 0 {
        page.text(format_args!(
            "{} that ended are not shown: select less (--pid, --port, --remote).",
            count(timeline.left_out, "connection")
        ))?;
    }
    let rows: usize = timeline.sites.iter().map(|site| site.rows.len()).sum();
    page.text(format_args!(
        "{} of {} in {}. {}",
        count(rows as u64, "connection"),
        count(timeline.sites.len() as u64, "site"),
        between(from, to),
        loss_sentence(&timeline.loss)
    ))
}

/// Who, to whom, by which code: how many, and what is said of them.
pub(in crate::view) fn heading(site: &Site) -> String {
    let owner = process(site.comm.as_ref(), site.pid, 1);
    let end = side(site.role, &endpoint(site.end), site.end.port());
    let code = site.call_site.as_ref();
    let code = code.map_or_else(String::new, |frame| format!(", at {frame}"));
    let open = site.rows.iter().filter(|row| row.is_open).count();
    let verdict = site.rows.iter().find_map(|row| row.verdict);
    let verdict = verdict.map_or_else(String::new, |verdict| format!("; {verdict}"));
    format!(
        "{owner}, {end}{code}: {}, {open} open{verdict}",
        count(site.rows.len() as u64, "connection")
    )
}

/// The end that tells a connection from the others of its site.
pub(in crate::view) fn own_end(connection: &Connection) -> &str {
    match connection.role {
        Role::Client => &connection.local,
        Role::Server | Role::Listener => &connection.remote,
    }
}

fn bar_of(page: &mut Page<'_>, axis: &Axis, row: &Row) -> io::Result<()> {
    let connection = &row.connection;
    let fd = connection
        .fd
        .map_or_else(|| "-".to_owned(), |fd| fd.to_string());
    let state = if row.is_open {
        connection.state.name()
    } else {
        "ended"
    };
    writeln!(
        page.out,
        "{fd:>FD_WIDTH$} {:END_WIDTH$} |{}| {state}",
        clip(own_end(connection), END_WIDTH),
        painted(&axis.bar(row), page.style.color),
    )
}

fn legend(page: &mut Page<'_>, used: &BTreeSet<Phase>) -> io::Result<()> {
    if used.is_empty() {
        return Ok(());
    }
    let phases = used
        .iter()
        .map(|&phase| format!("{} {phase}", letter(phase)));
    let marks = MarkKind::ALL.iter();
    let marks = marks.map(|&kind| format!("{} {kind}", mark_letter(kind)));
    let all: Vec<String> = phases.chain(marks).collect();
    page.text(all.join(", "))
}

#[cfg(test)]
pub(super) mod tests;
