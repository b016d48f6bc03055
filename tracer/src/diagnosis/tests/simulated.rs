//! Programs under traffic: no pool is ever called a leak, and a leak is found.

use proptest::{option, prelude::*};

use crate::diagnosis::{
    Class,
    rules::{client_per_request, pool_exhausted, response_not_finished, unbounded_growth},
    testing::{Leak, Pool, Traffic, World},
};

/// A few hundred programs each; `PROPTEST_CASES` at build time makes more.
fn cases() -> u32 {
    let wanted = option_env!("PROPTEST_CASES");
    wanted.and_then(|n| n.parse().ok()).unwrap_or(400)
}

/// A default watch.
const WATCH_MS: u64 = 60_000;

fn any_traffic() -> impl Strategy<Value = Traffic> {
    let rate = || prop_oneof![0.05..2.0_f64, 2.0..40.0_f64];
    prop_oneof![
        rate().prop_map(Traffic::Steady),
        (rate(), rate()).prop_map(|(first, last)| Traffic::Ramp(first, last)),
        (0.0..2.0_f64, 5.0..100.0_f64, 0..WATCH_MS, 500..20_000_u64)
            .prop_map(|(usual, high, start, ms)| Traffic::Burst(usual, high, [start, start + ms])),
        (rate(), 2_000..90_000_u64).prop_map(|(mean, period)| Traffic::Waves(mean, period)),
        (2.0..100.0_f64, 1_000..30_000_u64)
            .prop_map(|(rate, period)| Traffic::Pulses(rate, period)),
        (rate(), 0..WATCH_MS).prop_map(|(rate, end)| Traffic::Ends(rate, end)),
    ]
}

fn any_pool() -> impl Strategy<Value = Pool> {
    let timeout = option::of(500..120_000_u64);
    (1..120_usize, 1..120_usize, any::<[bool; 2]>(), timeout).prop_map(
        |(cap, max_idle, [last_first, reads], idle_ms)| Pool {
            cap,
            max_idle,
            last_first,
            idle_ms,
            reads,
        },
    )
}

fn any_answer() -> impl Strategy<Value = [u64; 2]> {
    (1..400_u64, prop_oneof![4 => 0..400_u64, 1 => 0..8_000_u64])
        .prop_map(|(least, more)| [least, least + more])
}

fn any_world() -> impl Strategy<Value = World> {
    let peer = option::of(prop_oneof![Just(2_000_u64), Just(5_000), 1_000..90_000_u64]);
    (
        any::<u64>(),
        0..90_000_u64,
        any_traffic(),
        any_answer(),
        any_pool(),
        peer,
    )
        .prop_map(
            |(seed, before_ms, traffic, answer_ms, pool, peer_idle_ms)| World {
                seed,
                watch_ms: WATCH_MS,
                before_ms,
                traffic,
                answer_ms,
                pool: Some(pool),
                leak: None,
                peer_idle_ms,
            },
        )
}

fn leak(percent: u64) -> Leak {
    Leak {
        percent,
        unread: false,
        borrowed: false,
        reads: true,
        collected_ms: None,
    }
}

/// Busy enough that so many percent of its requests make thirty leaks in the time
/// after which they can be told.
fn busy(percent: u64) -> World {
    let rate = f64::from(u32::try_from(3_000 / percent).expect("small")) / 40.0;
    World {
        seed: 1,
        watch_ms: WATCH_MS,
        before_ms: 0,
        traffic: Traffic::Steady(rate),
        answer_ms: [5, 60],
        pool: None,
        leak: Some(leak(percent)),
        peer_idle_ms: None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn no_pool_is_a_leak(world in any_world()) {
        let verdict = world.site().judge();
        let is_accused = matches!(verdict.class, Class::Leak | Class::Stuck);
        prop_assert!(!is_accused, "{}: {}", verdict.code, verdict.why);
    }

    #[test]
    fn short_lived_connections_are_no_leak(mut world in any_world()) {
        world.pool = None;
        let verdict = world.site().judge();
        let is_accused = matches!(verdict.class, Class::Leak | Class::Stuck);
        prop_assert!(!is_accused, "{}: {}", verdict.code, verdict.why);
    }

    #[test]
    fn a_leak_is_found_whatever_its_share(
        seed: u64,
        percent in 5..=100_u64,
        has_pool: bool,
        faster in 1..4_u32,
        before_ms in 0..60_000_u64,
    ) {
        let mut world = World { seed, before_ms, ..busy(percent) };
        if let Traffic::Steady(rate) = world.traffic {
            world.traffic = Traffic::Steady(rate * f64::from(faster));
        }
        world.pool = has_pool.then_some(Pool {
            cap: 20,
            max_idle: 20,
            last_first: true,
            idle_ms: None,
            reads: true,
        });
        let verdict = world.site().judge();
        prop_assert_eq!(verdict.class, Class::Leak, "{}: {}", verdict.code, verdict.why);
    }
}

#[test]
fn a_twentieth_is_told_as_a_twentieth() {
    let verdict = busy(5).site().judge();
    assert_eq!(verdict.code, unbounded_growth::CODE, "{}", verdict.why);
    let told = verdict.why.split(['(', ')']).nth(1).unwrap_or_default();
    assert!(
        ["4.8 %", "4.9 %", "5 %", "5.1 %"].contains(&told),
        "{}",
        verdict.why
    );
}

#[test]
fn a_client_for_each_request() {
    let world = World {
        traffic: Traffic::Steady(2.0),
        leak: Some(leak(100)),
        peer_idle_ms: Some(5_000),
        ..busy(100)
    };
    assert_eq!(world.site().code(), client_per_request::CODE);
    // A garbage collector is quicker than the peer at times: one of Java's.
    let collected = World {
        leak: Some(Leak {
            collected_ms: Some(19_000),
            ..leak(100)
        }),
        peer_idle_ms: Some(8_000),
        traffic: Traffic::Steady(12.0),
        ..world
    };
    assert_eq!(collected.site().code(), client_per_request::CODE);
    // The peer's timeout is longer than the watch.
    let patient = World {
        peer_idle_ms: Some(75_000),
        ..world
    };
    assert_eq!(patient.site().code(), unbounded_growth::CODE);
}

/// A cron job's burst every ten seconds: the peer ends all before the next.
#[test]
fn a_pool_that_is_asked_in_bursts() {
    let world = World {
        traffic: Traffic::Pulses(60.0, 9_700),
        answer_ms: [300, 900],
        pool: Some(Pool {
            cap: 100,
            max_idle: 100,
            last_first: true,
            idle_ms: None,
            reads: true,
        }),
        leak: None,
        peer_idle_ms: Some(5_000),
        ..busy(100)
    };
    for seed in 0..40 {
        let verdict = World { seed, ..world }.site().judge();
        assert_eq!(verdict.class, Class::Healthy, "{}", verdict.why);
    }
}

#[test]
fn answers_left_unread() {
    let unread = Leak {
        unread: true,
        reads: false,
        ..leak(100)
    };
    for peer_idle_ms in [None, Some(5_000), Some(75_000)] {
        let world = World {
            leak: Some(unread),
            peer_idle_ms,
            ..busy(100)
        };
        assert_eq!(world.site().code(), response_not_finished::CODE);
    }
}

#[test]
fn a_pool_that_never_gets_them_back() {
    let pool = Pool {
        cap: 10,
        max_idle: 10,
        last_first: true,
        idle_ms: None,
        reads: true,
    };
    let world = World {
        traffic: Traffic::Steady(1.0),
        pool: Some(pool),
        leak: Some(Leak {
            borrowed: true,
            ..leak(100)
        }),
        ..busy(100)
    };
    assert_eq!(world.site().code(), pool_exhausted::CODE);
    // At a size that nobody sets it may be anything.
    let odd = World {
        pool: Some(Pool { cap: 13, ..pool }),
        ..world
    };
    assert_ne!(odd.site().code(), pool_exhausted::CODE);
}
