//! How many tests passed and failed, over all test binaries.

use std::{
    fmt,
    io::{self, BufRead, BufReader, Write as _},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::command;

/// The sum of the `test result:` lines seen.
#[derive(Default)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
}

impl Tally {
    /// Runs test binaries, showing what they print while counting it.
    pub(crate) fn run(&mut self, tests: &mut Command) -> Result<()> {
        let mut child = tests
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{}`", command::shown(tests)))?;
        if let Some(stdout) = child.stdout.take() {
            self.pass_on(BufReader::new(stdout))?;
        }
        let status = child.wait()?;
        if !status.success() {
            bail!("the failures are above ({status})");
        }
        Ok(())
    }

    fn pass_on(&mut self, mut output: impl BufRead) -> Result<()> {
        let mut terminal = io::stdout();
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line)? > 0 {
            terminal.write_all(&line)?;
            self.count(&String::from_utf8_lossy(&line));
            line.clear();
        }
        Ok(())
    }

    /// `test result: ok. 3 passed; 0 failed; 0 ignored; ...`
    fn count(&mut self, line: &str) {
        if !line.starts_with("test result: ") {
            return;
        }
        let words: Vec<_> = line.split([' ', ';']).collect();
        for pair in words.windows(2) {
            let sum = match pair[1] {
                "passed" => &mut self.passed,
                "failed" => &mut self.failed,
                _ => continue,
            };
            *sum += pair[0].parse::<u64>().unwrap_or(0);
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_result_lines_only() {
        let mut tally = Tally::default();
        tally.count("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out\n");
        tally.count("test result: FAILED. 40 passed; 2 failed; 0 ignored\n");
        tally.count("test reads_7_passed ... ok\n");
        assert_eq!(tally.to_string(), "43 passed, 2 failed");
    }
}
