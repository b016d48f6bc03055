//! Which tests run in a guest.

use super::kernel::Kernel;

/// Every plan there is. Each kernel is asked which of them it supports.
pub(crate) const PLANS: [&str; 3] = ["tracepoint", "fentry", "kprobe"];

/// Parts of the names of tests that are about what tcpleak writes, or about itself:
/// on any kernel that is the same, and `cargo xtask test` runs them.
const OF_NO_KERNEL: [&str; 8] = [
    "hostile::",
    "browser::",
    "a_clock_set_back",
    "no_capability_is_asked_for_without_proof",
    // They compile, and a guest has no compilers.
    "stacks::compiled::",
    "check::compiled::",
    // They open more connections a second than an emulated processor does.
    "verdicts::churn_that_uses_up_ports",
    "stacks::a_flood_",
];

/// And of tests that load nothing into the kernel, or hang on hooks that all plans
/// share: they run with the first plan only.
const OF_NO_PLAN: [&str; 3] = ["check::", "governor::", "ps::"];

/// Parts of the names of tests whose outcome hangs on the kernel most: what each
/// record says, what snapshots find, and where a task's registers lie.
pub(crate) const SHORT: [&str; 5] = [
    "held::",
    "model::",
    "mptcp::",
    "what_io_uring_opened",
    "each_plan_takes_the_stacks",
];

/// Tests at a time: they wait more than they compute.
const AT_A_TIME: &str = "--test-threads=4";

/// Which tests were asked for.
pub(crate) struct Suite<'a> {
    /// The plans to run them with
    pub(crate) plans: Vec<&'a str>,
    /// Parts of their names; all where there is none
    pub(crate) filter: Vec<&'a str>,
    /// Only the plans that each kernel is shortly tested with
    pub(crate) is_short: bool,
}

impl<'a> Suite<'a> {
    /// Those that this kernel runs.
    pub(crate) fn plans_of(&self, kernel: &Kernel) -> impl Iterator<Item = &'a str> {
        let is_run = |plan: &&str| !self.is_short || kernel.plans_if_short.contains(plan);
        self.plans.iter().copied().filter(is_run)
    }

    /// A guest's file `suite`: a line for each plan, with the arguments of the tests.
    pub(crate) fn script(&self, kernel: &Kernel) -> String {
        let mut script = String::new();
        for (index, plan) in self.plans_of(kernel).enumerate() {
            let mut words = vec![plan, AT_A_TIME];
            let mut left_out = [&OF_NO_KERNEL, kernel.lacks].concat();
            if index > 0 {
                left_out.extend(OF_NO_PLAN);
            }
            words.extend(left_out.into_iter().flat_map(|name| ["--skip", name]));
            words.extend(&self.filter);
            script.push_str(&words.join(" "));
            script.push('\n');
        }
        script
    }
}
