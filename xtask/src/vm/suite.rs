//! Which tests run in a guest.

/// Every plan there is. Each kernel is asked which of them it supports.
const PLANS: [&str; 3] = ["tracepoint", "fentry", "kprobe"];

/// Parts of the names of tests that ask the kernel nothing through a plan: they
/// compare snapshots and text, so that they run with the first plan only.
const OF_NO_PLAN: [&str; 3] = [
    "ps::",
    "hostile::",
    "no_capability_is_asked_for_without_proof",
];

/// Tests at a time: they wait more than they compute.
const AT_A_TIME: &str = "--test-threads=4";

/// The guest's file `suite`: a line for each plan, with the arguments of the tests.
pub(crate) fn script(filter: &[String]) -> String {
    let mut script = String::new();
    for (index, plan) in PLANS.into_iter().enumerate() {
        let mut words = vec![plan, AT_A_TIME];
        if index > 0 {
            words.extend(OF_NO_PLAN.iter().flat_map(|name| ["--skip", name]));
        }
        words.extend(filter.iter().map(String::as_str));
        script.push_str(&words.join(" "));
        script.push('\n');
    }
    script
}
