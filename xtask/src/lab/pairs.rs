//! Two scenarios at once: does one hide, or taint, the other? Pure.

use std::collections::VecDeque;

use super::{run::Run, scenario::Scenario};

/// Whether the two may share a network: what happens to it, or how it is set,
/// is meant for one alone.
fn get_along(a: &Scenario, b: &Scenario) -> bool {
    let is_plain = |one: &Scenario| one.plan.events.is_empty() && one.plan.sysctl.is_empty();
    (is_plain(a) || is_plain(b)) && (a.plan.lead_s == b.plan.lead_s || is_plain(a) && is_plain(b))
}

/// Puts each scenario with one of the other kind, while there are any.
pub(crate) fn of(scenarios: Vec<Scenario>) -> Vec<Run> {
    let (mut healthy, troubled): (VecDeque<_>, VecDeque<_>) = scenarios
        .into_iter()
        .partition(|one| one.plan.expect.is_healthy());
    let mut runs = Vec::new();
    let mut left = VecDeque::new();
    for one in troubled {
        match healthy.iter().position(|other| get_along(&one, other)) {
            Some(index) => runs.push(Run([Some(one), healthy.remove(index)]
                .into_iter()
                .flatten()
                .collect())),
            None => left.push_back(one),
        }
    }
    left.append(&mut healthy);
    while let Some(one) = left.pop_front() {
        let other = left.iter().position(|other| get_along(&one, other));
        let other = other.and_then(|index| left.remove(index));
        runs.push(Run([Some(one), other].into_iter().flatten().collect()));
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::{build, scenario};

    #[test]
    fn none_is_lost_and_the_network_is_one_ones() {
        let all = scenario::load_all(&build::sources()).unwrap();
        let count = all.len();
        let runs = of(all);
        assert_eq!(runs.iter().map(|run| run.0.len()).sum::<usize>(), count);
        for run in runs {
            let touched = run.0.iter().filter(|one| !one.plan.events.is_empty());
            assert!(run.0.len() <= 2 && touched.count() <= 1);
        }
    }
}
