//! The result of the whole matrix.

use std::fmt;

use super::told::{Outcome, Told};

/// A row for each kernel and plan.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<[String; 5]>,
}

impl Table {
    /// Adds what one guest told.
    pub(crate) fn add(&mut self, kernel: &str, told: &Told) {
        let row = |plan: &str, passed: &str, failed: &str| {
            [kernel, &told.version, plan, passed, failed].map(str::to_owned)
        };
        if told.runs.is_empty() {
            self.rows.push(row("-", "-", "nothing was run"));
        }
        for run in &told.runs {
            let mut failed = run.failed.len().to_string();
            self.rows.push(match run.outcome {
                Outcome::Refused(_) => row(&run.plan, "-", "not supported"),
                Outcome::Ended(_) => row(&run.plan, &run.passed.to_string(), &failed),
                Outcome::Unknown => {
                    failed.push_str(", did not end");
                    row(&run.plan, &run.passed.to_string(), &failed)
                }
            });
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["KERNEL", "VERSION", "PLAN", "PASSED", "FAILED"].map(str::to_owned);
        for [kernel, version, plan, passed, failed] in [&head].into_iter().chain(&self.rows) {
            writeln!(
                f,
                "{kernel:<7} {version:<13} {plan:<11} {passed:>6}  {failed}"
            )?;
        }
        Ok(())
    }
}
