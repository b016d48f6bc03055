//! What a guest tells, line by line, and what of it is a failure.

/// What one guest has told so far.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// The kernel's exact version: Debian's, or `uname -r`
    pub(crate) version: String,
    /// Each plan, in the order of the runs
    pub(crate) runs: Vec<Run>,
    /// It came to its end
    pub(crate) is_done: bool,
}

/// The tests with one plan.
#[derive(Debug, Default)]
pub(crate) struct Run {
    /// The plan
    pub(crate) plan: String,
    /// What came of it
    pub(crate) outcome: Outcome,
    /// What `doctor` says of hooks that the kernel refused as the plan wants them
    pub(crate) degraded: Vec<String>,
    /// Tests that passed
    pub(crate) passed: usize,
    /// Names of those that failed
    pub(crate) failed: Vec<String>,
}

/// How a run came out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It has not ended
    #[default]
    Unknown,
    /// `doctor` says that the kernel cannot; its exit code
    Refused(String),
    /// The tests ended with this exit code
    Ended(String),
}

impl Told {
    /// Takes in one line.
    pub(crate) fn hear(&mut self, line: &str) {
        if let Some(said) = line.strip_prefix("vm: ") {
            let (word, rest) = said.split_once(' ').unwrap_or((said, ""));
            self.hear_guest(word, rest);
        } else if let Some(run) = self.runs.last_mut() {
            run.hear_test(line);
        }
    }

    fn hear_guest(&mut self, word: &str, rest: &str) {
        match word {
            "release" => self.version = rest.to_owned(),
            // `#1 SMP Debian 5.10.251-5 (2026-03-15)`
            "build" => {
                let debian = rest.split_once("Debian ").map(|(_, after)| after);
                if let Some(version) = debian.and_then(|d| d.split_whitespace().next()) {
                    self.version = version.to_owned();
                }
            }
            "plan" => self.runs.push(Run {
                plan: rest.to_owned(),
                ..Run::default()
            }),
            "done" => self.is_done = true,
            _ => {
                if let Some(run) = self.runs.last_mut() {
                    run.hear_guest(word, rest);
                }
            }
        }
    }

    /// What failed, a line each, on a kernel that must support `plans`.
    pub(crate) fn failures(&self, plans: &[&str]) -> Vec<String> {
        let mut failures = Vec::new();
        for plan in plans {
            if !self.runs.iter().any(|run| run.plan == *plan) {
                failures.push(format!("{plan}: was not run"));
            }
        }
        for run in &self.runs {
            let plan = &run.plan;
            let wrong = run.degraded.iter().chain(&run.failed);
            failures.extend(wrong.map(|what| format!("{plan}: {what}")));
            match &run.outcome {
                Outcome::Refused(_) if plans.contains(&plan.as_str()) => {
                    failures.push(format!("{plan}: not supported, and it must be"));
                }
                Outcome::Refused(code) if code == "1" => {}
                Outcome::Refused(code) => {
                    failures.push(format!("{plan}: doctor ended with {code}"));
                }
                Outcome::Ended(_) if !run.failed.is_empty() => {}
                Outcome::Ended(code) if code == "0" && run.passed > 0 => {}
                Outcome::Ended(code) => {
                    failures.push(format!("{plan}: {} passed, exit code {code}", run.passed));
                }
                Outcome::Unknown => failures.push(format!("{plan}: did not end")),
            }
        }
        failures
    }
}

impl Run {
    fn hear_guest(&mut self, word: &str, rest: &str) {
        match word {
            "degraded" => self.degraded.push(rest.to_owned()),
            "refused" => self.outcome = Outcome::Refused(rest.to_owned()),
            "ended" => self.outcome = Outcome::Ended(rest.to_owned()),
            _ => {}
        }
    }

    /// `test NAME ... ok`
    fn hear_test(&mut self, line: &str) {
        let result = line.strip_prefix("test ");
        match result.and_then(|result| result.split_once(" ... ")) {
            Some((_, "ok")) => self.passed += 1,
            Some((name, "FAILED")) => self.failed.push(name.to_owned()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[&str]) -> Told {
        let mut told = Told::default();
        lines.iter().for_each(|line| told.hear(line));
        told
    }

    #[test]
    fn a_good_run() {
        let told = told(&[
            "vm: release 5.10.0-43-cloud-amd64",
            "vm: build #1 SMP Debian 5.10.251-5 (2026-03-15)",
            "vm: plan tracepoint",
            "running 2 tests",
            "test ps::a ... ok",
            "test ps::b has been running for over 60 seconds",
            "test ps::b ... ok",
            "vm: ended 0",
            "vm: plan fentry",
            "vm: refused 1",
            "vm: done",
        ]);
        assert_eq!(told.version, "5.10.251-5");
        assert!(told.is_done);
        assert_eq!(told.runs[0].passed, 2);
        assert!(told.failures(&["tracepoint"]).is_empty());
    }

    #[test]
    fn a_plan_that_must_be_there() {
        let told = told(&["vm: plan fentry", "vm: refused 1", "vm: done"]);
        let failures = told.failures(&["fentry", "kprobe"]);
        assert_eq!(failures.len(), 2, "{failures:?}");
    }

    #[test]
    fn what_fails_is_named_and_no_silence_is_success() {
        for (lines, expected) in [
            (
                &["test ps::a ... FAILED", "vm: ended 101"][..],
                "kprobe: ps::a",
            ),
            (&["vm: ended 0"], "kprobe: 0 passed, exit code 0"),
            (
                &["test ps::a ... ok", "vm: ended 134"],
                "kprobe: 1 passed, exit code 134",
            ),
            (&["test ps::a ... ok"], "kprobe: did not end"),
            (&["vm: refused 139"], "kprobe: doctor ended with 139"),
            (
                &[
                    "vm: degraded hook close: kprobe/b (first choice refused)",
                    "test ps::a ... ok",
                    "vm: ended 0",
                ],
                "kprobe: hook close: kprobe/b (first choice refused)",
            ),
        ] {
            let mut told = told(&["vm: plan kprobe"]);
            lines.iter().for_each(|line| told.hear(line));
            assert_eq!(told.failures(&[]), [expected]);
        }
    }
}
