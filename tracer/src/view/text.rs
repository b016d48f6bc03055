//! Words for people: wrapped, coloured and with human units.

use std::{
    fmt::Display,
    io::{self, Write},
};

use textwrap::{Options, WordSplitter, core::display_width};

use super::Style;
use crate::model::{report::Loss, untrusted::spelled_out};

/// Below this, lines may be longer than the terminal is wide: a table of one
/// letter a line would help nobody.
const MIN_WIDTH: usize = 40;

/// ANSI colours; the words beside them say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    Red = 31,
    Green = 32,
    Yellow = 33,
    Blue = 34,
    Grey = 90,
}

/// Where a view for people goes.
pub(super) struct Page<'a> {
    pub(super) out: &'a mut dyn Write,
    pub(super) style: Style,
}

impl<'a> Page<'a> {
    pub(super) fn new(out: &'a mut dyn Write, style: Style) -> Self {
        let width = style.width.max(MIN_WIDTH);
        Self {
            out,
            style: Style { width, ..style },
        }
    }

    pub(super) fn blank(&mut self) -> io::Result<()> {
        self.out.write_all(b"\n")
    }

    /// A paragraph, its further lines under the first.
    pub(super) fn text(&mut self, text: impl Display) -> io::Result<()> {
        self.hanging("", 0, None, text)
    }

    /// A paragraph beside a label.
    pub(super) fn labelled(&mut self, label: &str, text: impl Display) -> io::Result<()> {
        self.hanging(label, display_width(label), None, text)
    }

    /// A coloured paragraph.
    pub(super) fn coloured(&mut self, colour: Colour, text: impl Display) -> io::Result<()> {
        self.hanging("", 3, Some(colour), text)
    }

    /// A paragraph after `first`, its further lines set in by `indent`.
    pub(super) fn hanging(
        &mut self,
        first: &str,
        indent: usize,
        colour: Option<Colour>,
        text: impl Display,
    ) -> io::Result<()> {
        let text = text.to_string();
        let indent = " ".repeat(indent);
        // A code or a path cut at a hyphen cannot be searched for.
        let options = Options::new(self.style.width)
            .initial_indent(first)
            .subsequent_indent(&indent)
            .word_splitter(WordSplitter::NoHyphenation);
        for line in textwrap::wrap(&spelled_out(&text), options) {
            let line = line.trim_end();
            match colour.filter(|_| self.style.color) {
                Some(colour) => writeln!(self.out, "\x1b[1;{}m{line}\x1b[0m", colour as u8)?,
                None => writeln!(self.out, "{line}")?,
            }
        }
        Ok(())
    }
}

/// `text` in at most `max` columns; what is cut off shows as `…`.
pub(super) fn clip(text: &str, max: usize) -> String {
    if display_width(text) <= max {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        if display_width(&kept) + display_width(c.encode_utf8(&mut [0; 4])) >= max {
            break;
        }
        kept.push(c);
    }
    kept + "…"
}

/// A span in its two largest units: `950 ms`, `1m 12s`, `3d 4h`.
#[must_use]
pub fn duration(ms: u64) -> String {
    const UNITS: [(&str, u64); 4] = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
    ];
    let Some(largest) = UNITS.iter().position(|&(_, unit)| ms >= unit) else {
        return format!("{ms} ms");
    };
    let (name, unit) = UNITS[largest];
    let whole = format!("{}{name}", ms / unit);
    match UNITS.get(largest + 1) {
        Some(&(next, next_unit)) if ms % unit >= next_unit => {
            format!("{whole} {}{next}", ms % unit / next_unit)
        }
        Some(_) => whole,
        // Tenths of seconds below a minute.
        None => format!("{}.{}s", ms / unit, ms % unit / 100),
    }
}

/// As [`duration`], between two instants.
pub(super) fn between(from: jiff::Timestamp, to: jiff::Timestamp) -> String {
    duration(u64::try_from(to.duration_since(from).as_millis()).unwrap_or(0))
}

/// A span of microseconds: `250 us`, `1.5 ms`, then as `duration`.
pub(super) fn microseconds(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..1_000_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        _ => duration(us / 1_000),
    }
}

/// A size: `78 B`, `1.5 KiB`.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let Some(power) = (0..UNITS.len())
        .rev()
        .find(|power| count >> (10 * (power + 1)) > 0)
    else {
        return format!("{count} B");
    };
    let (whole, rest) = (count >> (10 * (power + 1)), count >> (10 * power) & 1023);
    format!("{whole}.{} {}", rest * 10 / 1024, UNITS[power])
}

/// `1 connection`, `2 connections`.
pub(super) fn count(n: u64, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}

/// What was lost and mended, also when it is nothing.
pub(super) fn loss_sentence(loss: &Loss) -> String {
    let repaired = match loss.repaired {
        0 => String::new(),
        n => format!(" {} repaired from a snapshot.", count(n, "connection")),
    };
    if loss.events_lost == 0 {
        let what = match loss.is_damaged {
            true => "Nothing lost of what is left of the recording.",
            false => "Nothing lost.",
        };
        return format!("{what}{repaired}");
    }
    let cause = if loss.ring_full > 0 {
        " A larger --ring-size loses less."
    } else {
        ""
    };
    format!(
        "{} lost ({}).{repaired}{cause}",
        count(loss.events_lost, "event"),
        loss_reasons(loss),
    )
}

/// How many were lost for which reason; the rare ones only where it happened.
pub(super) fn loss_reasons(loss: &Loss) -> String {
    let rare = [
        (loss.undecodable, "unreadable"),
        (loss.unrecorded, "not recorded"),
        (loss.unwritten, "unwritten"),
    ];
    let usual = [
        (loss.ring_full, "ring full"),
        (loss.hook_missed, "hook missed"),
    ];
    let happened = rare.into_iter().filter(|&(count, _)| count > 0);
    let all = usual.into_iter().chain(happened);
    let all: Vec<String> = all.map(|(count, why)| format!("{count} {why}")).collect();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::{bytes, clip, duration, microseconds};

    #[test]
    fn spans_are_short() {
        let shown: Vec<_> = [
            0,
            950,
            1_000,
            12_345,
            60_000,
            72_999,
            3_600_000,
            90_061_000,
            u64::MAX,
        ]
        .map(duration)
        .into();
        assert_eq!(
            shown,
            [
                "0 ms",
                "950 ms",
                "1.0s",
                "12.3s",
                "1m",
                "1m 12s",
                "1h",
                "1d 1h",
                "213503982334d 14h"
            ]
        );
        assert_eq!(
            [0, 999, 1_520, 2_000_000].map(microseconds),
            ["0 us", "999 us", "1.5 ms", "2.0s"]
        );
    }

    #[test]
    fn sizes_are_binary() {
        assert_eq!(
            [0, 1023, 1024, 1536, 10 << 20, u64::MAX].map(bytes),
            [
                "0 B", "1023 B", "1.0 KiB", "1.5 KiB", "10.0 MiB", "15.9 EiB"
            ]
        );
    }

    #[test]
    fn clipping_counts_columns() {
        assert_eq!(clip("nginx", 5), "nginx");
        assert_eq!(clip("nginx: worker", 5), "ngin…");
        assert_eq!(clip("名前名前", 5), "名前…");
    }
}
