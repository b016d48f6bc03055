//! The Python programs in `programs/`: each does one thing with sockets and
//! says on standard output what it did, a line of JSON at a time.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Netns, patience, process::Running};

/// A running Python program. It ends at the end of its standard input, even if
/// the test is killed.
#[derive(Debug)]
pub(crate) struct Program {
    name: String,
    stdin: Option<ChildStdin>,
    said: Receiver<String>,
    running: Running,
}

impl Program {
    /// Starts `programs/NAME.py` with these arguments, separated by spaces.
    pub(crate) fn start(name: &str, arguments: &str) -> Result<Self> {
        // Debian's, not one that a version manager put before it: it starts by
        // a wrapper.
        Self::spawn(Command::new("/usr/bin/python3"), name, arguments)
    }

    /// The same in a network namespace.
    pub(crate) fn start_in(netns: &Netns, name: &str, arguments: &str) -> Result<Self> {
        Self::spawn(netns.command("/usr/bin/python3"), name, arguments)
    }

    fn spawn(mut command: Command, name: &str, arguments: &str) -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/programs");
        command
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(folder.join(name).with_extension("py"))
            .args(arguments.split_whitespace())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut running = Running::start(&mut command)?;
        let stdout = running.0.stdout.take().context("no standard output")?;
        let (sender, said) = channel();
        // Ends with the program, or with the test.
        thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            lines.for_each(|line| drop(sender.send(line)));
        });
        Ok(Self {
            name: name.to_owned(),
            stdin: running.0.stdin.take(),
            said,
            running,
        })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// The next thing that it says.
    pub(crate) fn hear(&self) -> Result<Value> {
        let line = self.said.recv_timeout(patience());
        let line = line.with_context(|| format!("{}.py said nothing more", self.name))?;
        serde_json::from_str(&line).with_context(|| format!("{}.py said {line}", self.name))
    }

    /// Tells it to go on, and returns what it says to that.
    pub(crate) fn ask(&mut self, command: &str) -> Result<Value> {
        let stdin = self.stdin.as_mut().context("it was told to end")?;
        writeln!(stdin, "{command}").with_context(|| format!("{}.py has ended", self.name))?;
        self.hear()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        self.running.signal(signal)
    }

    /// Closes its standard input and returns what it says to that, if anything.
    pub(crate) fn finish(mut self) -> Result<Option<Value>> {
        drop(self.stdin.take());
        self.running.wait()?;
        let last = self.said.recv_timeout(patience()).ok();
        last.map(|line| serde_json::from_str(&line).with_context(|| format!("it said {line}")))
            .transpose()
    }
}
