//! Two scenarios at once: does one hide, or taint, the other? Pure.

use std::collections::VecDeque;

use super::{
    run::Run,
    scenario::{Plan, Scenario},
};

/// Whether a healthy `companion` may share the network of `one`: what happens to
/// that, or how it is set, and how long it takes, is meant for one alone.
fn get_along(one: &Scenario, companion: &Scenario) -> bool {
    let (one, other) = (&one.plan, &companion.plan);
    let untouched = |one: &Plan, other: &Plan| {
        (one.events.is_empty() || !other.has_far()) && one.sysctl.is_empty()
    };
    untouched(one, other) && untouched(other, one) && other.lead_s <= one.lead_s
}

/// Puts each troubled scenario with a healthy one, the same in several pairs
/// where there are too few. What finds no companion runs alone.
pub(crate) fn of(scenarios: Vec<Scenario>) -> Vec<Run> {
    let (healthy, troubled): (Vec<_>, Vec<_>) = scenarios
        .into_iter()
        .partition(|one| one.plan.expect.is_healthy());
    // The second says whether it has been in a pair.
    let mut queue: VecDeque<_> = healthy.into_iter().map(|one| (one, false)).collect();
    let mut runs = Vec::new();
    for one in troubled {
        let fitting = queue.iter().position(|(other, _)| get_along(&one, other));
        let companion = fitting.and_then(|index| queue.remove(index));
        let mut run = vec![one];
        if let Some((companion, _)) = companion {
            run.push(companion.clone());
            queue.push_back((companion, true));
        }
        runs.push(Run(run));
    }
    let alone = queue.into_iter().filter(|(_, paired)| !paired);
    runs.extend(alone.map(|(one, _)| Run(vec![one])));
    runs
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::lab::{build, scenario};

    #[test]
    fn none_is_lost_and_most_have_company() {
        let all = scenario::load_all(&build::sources()).expect("scenarios");
        let runs = of(all.clone());
        let names =
            |run: &Run| -> Vec<String> { run.0.iter().map(|one| one.name.clone()).collect() };
        let seen: HashSet<_> = runs.iter().flat_map(names).collect();
        assert_eq!(seen.len(), all.len());
        let alone = runs.iter().filter(|run| run.0.len() == 1).count();
        assert!(alone * 5 < runs.len(), "{alone} of {} alone", runs.len());
    }

    #[test]
    fn what_happens_to_the_link_happens_to_one() {
        for run in of(scenario::load_all(&build::sources()).expect("scenarios")) {
            let has_event = run.0.iter().any(|one| !one.plan.events.is_empty());
            let on_link = run.0.iter().filter(|one| one.plan.has_far()).count();
            assert!(!has_event || on_link <= 1, "{}", run.name());
        }
    }
}
