//! When something runs out, if it goes on like this. Pure.

use serde::Serialize;

use crate::{
    clock::BootTime,
    diagnosis::{
        signs::SEVERAL,
        statistics::{real, theil_sen},
    },
    table::site::Tally,
};

/// What is further away than this many hours need not be told.
const SOON_HOURS: f64 = 7.0 * 24.0;

/// Nor is what is used to less than this share, in percent, if it does not grow.
const TIGHT_PERCENT: u64 = 80;

const MS_PER_HOUR: f64 = 3_600_000.0;

/// Something of which there is only so much.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Supply {
    /// In use now.
    pub used: u64,
    /// All there is.
    pub limit: u64,
    /// How fast its use grows; 0 where it does not.
    pub growth_per_hour: f64,
    /// Hours until nothing is left; `None` where its use does not grow.
    pub hours_left: Option<f64>,
}

/// What an owner runs out of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Forecast {
    /// The owner's file descriptors, of `RLIMIT_NOFILE`.
    pub fds: Option<Supply>,
    /// Local ports for connections to one destination, of all programs
    /// (`net.ipv4.ip_local_port_range`).
    pub ports: Option<Supply>,
}

impl Supply {
    /// From what is used, and the live connections that use it over time.
    #[must_use]
    pub fn new(used: u64, limit: u64, tally: &Tally) -> Self {
        let first = tally.curve.first().map_or(BootTime::default(), |p| p.at);
        let point = |at: BootTime, live: u64| (real(at.ms_since(first)), real(live));
        let points: Vec<_> = tally.curve.iter().map(|p| point(p.at, p.live)).collect();
        let slope = theil_sen(&points).unwrap_or(0.0);
        let span = points.last().map_or(0.0, |last| last.0);
        // Less than a few over the whole watch is noise.
        let grows = slope * span >= real(SEVERAL as u64);
        let growth_per_hour = if grows { slope * MS_PER_HOUR } else { 0.0 };
        Self {
            used,
            limit,
            growth_per_hour,
            hours_left: grows.then(|| real(limit.saturating_sub(used)) / growth_per_hour),
        }
    }

    /// Whether it runs out soon, or is nearly used up.
    #[must_use]
    pub fn matters(&self) -> bool {
        let is_soon = self.hours_left.is_some_and(|hours| hours <= SOON_HOURS);
        is_soon || self.used.saturating_mul(100) >= self.limit.saturating_mul(TIGHT_PERCENT)
    }
}

#[cfg(test)]
mod tests {
    use super::Supply;
    use crate::{
        clock::BootTime,
        table::site::{Point, Tally},
    };

    fn supply(used: u64, live: impl Fn(u64) -> u64) -> Supply {
        let curve = (0..32).map(|i| Point {
            at: BootTime::from_ns(0).minus_ms(0) + std::time::Duration::from_secs(2 * i),
            opened: 0,
            live: live(i),
        });
        let tally = Tally {
            curve: curve.collect(),
            ..Tally::default()
        };
        Supply::new(used, 1_024, &tally)
    }

    #[test]
    fn a_steady_leak_has_an_hour() {
        let leak = supply(124, |i| i);
        assert!((leak.growth_per_hour - 1_800.0).abs() < 1.0, "{leak:?}");
        assert_eq!(
            leak.hours_left.map(|hours| (hours * 10.0).round()),
            Some(5.0)
        );
        assert!(leak.matters());
    }

    #[test]
    fn a_level_with_noise_or_a_burst_has_none() {
        for level in [
            supply(100, |_| 50),
            supply(100, |i| 50 + i % 3),
            supply(100, |i| if (10..14).contains(&i) { 500 } else { 50 }),
        ] {
            assert_eq!((level.hours_left, level.growth_per_hour), (None, 0.0));
            assert!(!level.matters());
        }
        assert!(supply(900, |_| 50).matters(), "nearly used up");
    }
}
