//! Many durations in little room. Pure.

/// Buckets to an octave.
const QUARTERS: usize = 4;

/// Buckets: over 16 octaves.
const BUCKETS: usize = 16 * QUARTERS;

/// The first bucket ends above this, in milliseconds; the last one begins after
/// some 70 minutes.
const LEAST_MS: u64 = 64;

/// Buckets that count as one age: three span half an octave or more, so that a timer
/// checked once a second does not fall apart.
const CLUSTER: usize = 3;

/// A histogram of durations, exact to a fifth. Takes no room until it is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ages {
    counts: Option<Box<[u32; BUCKETS]>>,
}

/// Where most of the durations lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// At least so many milliseconds,
    pub from_ms: u64,
    /// and less than so many.
    pub to_ms: u64,
    /// How many lie there.
    pub count: u64,
}

impl FromIterator<u64> for Ages {
    fn from_iter<T: IntoIterator<Item = u64>>(all: T) -> Self {
        let mut ages = Self::default();
        for ms in all {
            ages.record(ms);
        }
        ages
    }
}

impl Ages {
    /// Counts a duration in milliseconds.
    pub fn record(&mut self, ms: u64) {
        let counts = self.counts.get_or_insert_with(|| Box::new([0; BUCKETS]));
        let count = &mut counts[bucket(ms)];
        *count = count.saturating_add(1);
    }

    /// Adds all of another's.
    pub fn absorb(&mut self, other: &Self) {
        let Some(theirs) = &other.counts else {
            return;
        };
        let ours = self.counts.get_or_insert_with(|| Box::new([0; BUCKETS]));
        for (ours, theirs) in ours.iter_mut().zip(theirs.iter()) {
            *ours = ours.saturating_add(*theirs);
        }
    }

    /// How many were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.each().map(|(_, count)| count).sum()
    }

    /// The duration that `percent` of them stay below, in milliseconds, rounded up
    /// to its bucket's end; `None` where there are none.
    #[must_use]
    pub fn quantile_ms(&self, percent: u64) -> Option<u64> {
        let wanted = self.total().saturating_mul(percent).div_ceil(100).max(1);
        let mut sum = 0;
        self.each().find_map(|(index, count)| {
            sum += count;
            (sum >= wanted).then(|| start_ms(index + 1))
        })
    }

    /// The shortest of them, rounded down to its bucket's start, in milliseconds.
    #[must_use]
    pub fn least_ms(&self) -> Option<u64> {
        let (index, _) = self.each().find(|(_, count)| *count > 0)?;
        Some(start_ms(index))
    }

    /// How many lie where `cluster` does.
    #[must_use]
    pub fn within(&self, cluster: Cluster) -> u64 {
        let is_in = |index: usize| (cluster.from_ms..cluster.to_ms).contains(&start_ms(index));
        let counts = self.each().filter(|(index, _)| is_in(*index));
        counts.map(|(_, count)| count).sum()
    }

    /// Where they lie closest together; `None` where there are none.
    #[must_use]
    pub fn cluster(&self) -> Option<Cluster> {
        let counts = self.counts.as_ref()?;
        let windows = counts.windows(CLUSTER).enumerate();
        let sums = windows.map(|(from, window)| {
            let count = window.iter().map(|&count| u64::from(count)).sum();
            (count, from)
        });
        // Of equals the first.
        let (count, from) = sums.rev().max_by_key(|&(count, _)| count)?;
        let used = |index: &usize| counts[*index] > 0;
        let first = (from..from + CLUSTER).find(used)?;
        let last = (from..from + CLUSTER).rfind(used)?;
        Some(Cluster {
            from_ms: start_ms(first),
            to_ms: start_ms(last + 1),
            count,
        })
    }

    /// How many lie in each octave: where it begins, in milliseconds, and their count.
    /// The first begins at 0, the last has no end.
    #[must_use]
    pub fn octaves(&self) -> [(u64, u64); BUCKETS / QUARTERS] {
        let mut octaves = std::array::from_fn(|octave| (start_ms(octave * QUARTERS), 0));
        for (index, count) in self.each() {
            octaves[index / QUARTERS].1 += count;
        }
        octaves
    }

    fn each(&self) -> impl Iterator<Item = (usize, u64)> {
        let counts = self.counts.as_deref().into_iter().flatten();
        counts.map(|&count| u64::from(count)).enumerate()
    }
}

fn bucket(ms: u64) -> usize {
    let ms = ms.max(LEAST_MS);
    let octave = ms.ilog2();
    let quarter = (ms >> (octave - 2)) & 3;
    let index = u64::from(octave - LEAST_MS.ilog2()) * 4 + quarter;
    usize::try_from(index).map_or(BUCKETS - 1, |index| index.min(BUCKETS - 1))
}

/// Where a bucket begins, in milliseconds.
fn start_ms(index: usize) -> u64 {
    let octave = index / 4;
    let quarter = (index % 4) as u64;
    if index == 0 {
        return 0;
    }
    (LEAST_MS << octave) / 4 * (4 + quarter)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Ages, BUCKETS, bucket, start_ms};

    #[test]
    fn buckets_span_from_a_moment_to_an_hour() {
        let cases = [
            (0, 0),
            (64, 0),
            (80, 1),
            (127, 3),
            (128, 4),
            (60_000, 39),
            (u64::MAX, BUCKETS - 1),
        ];
        for (ms, index) in cases {
            assert_eq!(bucket(ms), index, "{ms} ms");
        }
        assert_eq!(start_ms(BUCKETS - 1), 3_670_016);
    }

    #[test]
    fn most_lie_where_the_timer_is() {
        let mut ages = Ages::default();
        assert_eq!((ages.total(), ages.cluster()), (0, None));
        assert_eq!(ages.quantile_ms(99), None);
        for ms in [90, 5_000, 5_010, 5_400, 40_000] {
            ages.record(ms);
        }
        let cluster = ages.cluster().expect("some");
        assert_eq!((ages.total(), cluster.count), (5, 3));
        assert!(cluster.from_ms <= 5_000 && 5_400 < cluster.to_ms);
        let mut twice = ages.clone();
        twice.absorb(&ages);
        assert_eq!(twice.total(), 10);
        assert_eq!(twice.quantile_ms(50), ages.quantile_ms(50));
    }

    proptest! {
        #[test]
        fn a_bucket_holds_what_it_says(ms in 64..3_600_000_u64) {
            let index = bucket(ms);
            prop_assert!(start_ms(index) <= ms && ms < start_ms(index + 1));
            let mut ages = Ages::default();
            ages.record(ms);
            let most = ages.quantile_ms(99).expect("one");
            prop_assert!(ms < most && most <= ms + ms / 4 + 1);
        }
    }
}
