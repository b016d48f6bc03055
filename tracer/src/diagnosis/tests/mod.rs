//! Scenarios: what each rule must say, and above all what it must not.

mod growth;
mod healthy;
mod held;
mod leaks;
mod missing_close;
mod peers;
mod properties;
mod simulated;
mod stuck;

use crate::diagnosis::{
    Class, Confidence, rank,
    testing::{close_wait, established, site},
};

const HEALTHY: &str = "healthy";
const UNKNOWN: &str = "not-enough-data";

#[test]
fn verdicts_are_ranked_worst_first() {
    let leak = site().with(3, close_wait(20_000).recv_q(0)).judge();
    let bigger = site().with(9, close_wait(20_000).recv_q(0)).judge();
    let healthy = site().with(50, established(50_000, 10)).judge();
    let unsure = crate::diagnosis::Verdict {
        confidence: Confidence::Low,
        ..bigger.clone()
    };
    let mut verdicts = [&healthy, &unsure, &leak, &bigger];
    verdicts.sort_by_key(|v| rank(v, v.affected));
    assert_eq!(verdicts, [&bigger, &leak, &unsure, &healthy]);
    assert!(rank(&leak, 9) < rank(&leak, 3), "more live ones come first");
    assert_eq!(healthy.class, Class::Healthy);
}

#[test]
fn a_verdict_says_what_why_and_what_to_do() {
    let verdict = site().with(25, close_wait(18_000).recv_q(0)).judge();
    assert_eq!(
        verdict.why,
        "25 connections to 127.0.0.1:8099 have been in CLOSE_WAIT, the oldest for at least 18 s: \
         the peer closed them, and the program (pid 123) never did"
    );
    assert!(verdict.fix.contains("resp.Body.Close()"));
    assert!(verdict.evidence.len() > 3);
    assert_eq!(verdict.affected, 25);
}
