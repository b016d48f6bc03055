//! Which tests run where, and what came of them.

use super::kernel::Kernel;

/// Every plan there is; each kernel is asked which of them it supports.
pub(crate) const PLANS: [&str; 3] = ["tracepoint", "fentry", "kprobe"];

/// Tests that have nothing to do with the plan: they look at sockets, text and
/// the command line only. They run once on each kernel.
pub(crate) const OF_NO_PLAN: [&str; 3] = [
    "ps::",
    "hostile::",
    "no_capability_is_asked_for_without_proof",
];

/// Tests at a time: they wait more than they compute.
const AT_A_TIME: &str = "--test-threads=4";

/// The lines of the guest's file `suite`: a plan, and the arguments of the tests.
pub(crate) fn script(filter: &[String]) -> String {
    let mut script = String::new();
    for (index, plan) in PLANS.iter().enumerate() {
        let mut words = vec![*plan, AT_A_TIME];
        if index > 0 {
            words.extend(OF_NO_PLAN.iter().flat_map(|name| ["--skip", name]));
        }
        words.extend(filter.iter().map(String::as_str));
        script.push_str(&words.join(" "));
        script.push('\n');
    }
    script
}

/// What one guest told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// What `uname -r` and `-v` say
    pub(crate) release: String,
    pub(crate) build: String,
    /// Each plan, in the order of their runs
    pub(crate) runs: Vec<Run>,
    /// That it came to its end
    pub(crate) done: bool,
}

/// The tests with one plan.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) plan: String,
    /// `doctor` said that the kernel does not support it
    pub(crate) refused: bool,
    pub(crate) passed: usize,
    pub(crate) failed: Vec<String>,
    /// Exit code of the tests
    pub(crate) code: Option<i32>,
}

impl Told {
    /// Takes in one line.
    pub(crate) fn hear(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("vm: ") {
            let mut words = rest.splitn(2, ' ');
            let word = words.next().unwrap_or_default();
            let rest = words.next().unwrap_or_default();
            match word {
                "release" => self.release = rest.to_owned(),
                "build" => self.build = rest.to_owned(),
                "start" => self.runs.push(Run {
                    plan: rest.to_owned(),
                    ..Run::default()
                }),
                "refused" => {
                    let (plan, code) = rest.split_once(' ').unwrap_or_default();
                    self.runs.push(Run {
                        plan: plan.to_owned(),
                        refused: true,
                        code: code.parse().ok(),
                        ..Run::default()
                    });
                }
                "end" => {
                    if let (Some(run), Some((_, code))) =
                        (self.runs.last_mut(), rest.split_once(' '))
                    {
                        run.code = code.parse().ok();
                    }
                }
                "done" => self.done = true,
                _ => {}
            }
            return;
        }
        let Some(run) = self.runs.last_mut() else {
            return;
        };
        if let Some((name, result)) = line
            .strip_prefix("test ")
            .and_then(|l| l.split_once(" ... "))
        {
            match result {
                "ok" => run.passed += 1,
                "FAILED" => run.failed.push(name.to_owned()),
                _ => {}
            }
        }
    }

    /// What of it is a failure, a line each.
    pub(crate) fn failures(&self, kernel: &Kernel) -> Vec<String> {
        let mut failures = Vec::new();
        for plan in kernel.plans {
            let run = self.runs.iter().find(|run| run.plan == *plan);
            if run.is_none_or(|run| run.refused) {
                failures.push(format!("{}: plan {plan} is not supported", kernel.name));
            }
        }
        for run in self.runs.iter().filter(|run| !run.refused) {
            for test in &run.failed {
                failures.push(format!("{} {}: {test}", kernel.name, run.plan));
            }
            if run.failed.is_empty() && (run.code != Some(0) || run.passed == 0) {
                failures.push(format!(
                    "{} {}: the tests did not end well",
                    kernel.name, run.plan
                ));
            }
        }
        failures
    }
}
