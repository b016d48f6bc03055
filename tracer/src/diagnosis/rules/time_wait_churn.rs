//! `time-wait-churn`: short connections, closed by us first and not reused.
//! Each leaves a TIME_WAIT that holds its local port for 60 s, and a
//! destination can have only so many.

use crate::{
    diagnosis::{
        Case, Class, Confidence, Evidence, Fault, Verdict,
        text::{place, program},
        trend::halves_by_time,
    },
    tcp::Role,
};

/// This verdict's name.
pub const CODE: &str = "time-wait-churn";

/// `TCP_TIMEWAIT_LEN`, a constant of the kernel, in milliseconds.
pub const TIME_WAIT_MS: u64 = 60_000;

/// A shorter watch cannot tell a rate from a burst, in milliseconds.
pub const WATCH_MS: u64 = 5_000;

/// Connections that live longer on average are not churn, in milliseconds.
pub const SHORT_LIFE_MS: u64 = 5_000;

/// The share of local ports from which on it is worth a word, in percent: a
/// fivefold burst would use up the rest.
pub const NOTABLE_PERCENT: u64 = 20;

/// The share from which on doubled traffic fails (EADDRNOTAVAIL), in percent.
pub const SEVERE_PERCENT: u64 = 50;

/// TIME_WAITs that the site would keep up: its rate in the slower half of the
/// watch, so that a burst that has ended does not count, times 60 s.
fn projected(case: &Case<'_>) -> u64 {
    let tally = case.tally;
    let keep_up =
        |count: u64, ms: u64| u128::from(count) * u128::from(TIME_WAIT_MS) / u128::from(ms.max(1));
    let average = keep_up(tally.time_waits, case.watched_ms());
    let steady = halves_by_time(case).map_or(average, |halves| {
        let slower = halves.iter().map(|half| keep_up(half.closed, half.ms()));
        // Of the ended connections only some were closed by us first.
        let ended = u128::from(tally.closed.max(1));
        slower
            .min()
            .unwrap_or(0)
            .saturating_mul(u128::from(tally.time_waits))
            / ended
    });
    u64::try_from(steady.min(average)).unwrap_or(u64::MAX)
}

/// See the module.
#[must_use]
pub fn check(case: &Case<'_>) -> Option<Verdict> {
    let tally = case.tally;
    let ports = u64::from(case.host.ephemeral_ports);
    if case.key.role != Role::Client || case.watched_ms() < WATCH_MS || ports == 0 {
        return None;
    }
    let mean_ms = tally.lifetime_ms.checked_div(tally.lifetimes)?;
    if mean_ms >= SHORT_LIFE_MS {
        return None;
    }
    let projected = projected(case);
    let present = case.host.time_wait.get(&case.key.end).copied();
    // Other programs' sockets take ports too, but do not make this site guilty.
    let used = match present.map(u64::from) {
        Some(all) if projected >= all / 2 => projected.max(all),
        _ => projected,
    };
    let percent = used.saturating_mul(100) / ports;
    let confidence = match percent {
        SEVERE_PERCENT.. => Confidence::High,
        NOTABLE_PERCENT.. => Confidence::Medium,
        _ => return None,
    };
    let rate = projected.saturating_mul(1_000) / TIME_WAIT_MS;
    let by = match tally.processes {
        0 | 1 => program(case.key),
        n => format!("{n} short-lived processes of one name"),
    };
    let mut evidence = vec![
        Evidence::new("connections closed by us first", tally.time_waits),
        Evidence::new("steady rate of these, per second", rate),
        Evidence::new("sockets in TIME_WAIT at that rate", projected),
        Evidence::new("local ports for one destination", ports),
        Evidence::new("mean lifetime of a connection, ms", mean_ms),
        Evidence::new("processes", tally.processes),
    ];
    if let Some(present) = present {
        evidence.push(Evidence::new(
            "in TIME_WAIT to it now, of all programs",
            present,
        ));
    }
    Some(Verdict {
        code: CODE,
        class: Class::Churn,
        confidence,
        fault: Some(Fault::LocalApp),
        why: format!(
            "{by} opens and closes about {rate} connections per second {}, each living {mean_ms} ms: kept up, {used} of {ports} local ports ({percent} %) are in TIME_WAIT, for 60 s each{}",
            place(case),
            if case.key.end.ip().is_loopback() {
                "; on loopback the kernel may reuse them after 1 s (`net.ipv4.tcp_tw_reuse`), yet each call pays for a handshake"
            } else {
                "; when none is left, connects fail with EADDRNOTAVAIL"
            },
        ),
        fix: case.fix(CODE),
        evidence,
        affected: 0,
    })
}
