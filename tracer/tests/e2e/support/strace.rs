//! `tcpleak` under strace, which counts its system calls and meddles with one.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context, Result};

use super::{Tcpleak, temp::TempDir, wait_for};

/// The calls by which it loads and attaches.
const CALLS: [&str; 2] = ["bpf", "perf_event_open"];

/// One such call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The system call.
    pub(crate) name: &'static str,
    /// Its place among those of that name, from 1.
    pub(crate) nth: usize,
    /// The call as strace prints it.
    pub(crate) text: String,
}

impl Call {
    /// Whether it loads or attaches a program of ours; others find out what the
    /// kernel can do, and name no licence of ours.
    pub(crate) fn is_ours(&self) -> bool {
        let text = &self.text;
        let loads = text.contains("BPF_PROG_LOAD") && text.contains("Dual MIT/GPL");
        loads || self.attaches()
    }

    fn attaches(&self) -> bool {
        let commands = ["BPF_LINK_CREATE", "BPF_RAW_TRACEPOINT_OPEN"];
        let is_one = commands.iter().any(|command| self.text.contains(command));
        self.name == "perf_event_open" || is_one
    }
}

/// A running `tcpleak` and what strace writes of it.
pub(crate) struct Traced {
    /// The program itself: its tracer is no parent of it.
    pub(crate) tcpleak: Tcpleak,
    log: PathBuf,
    _directory: TempDir,
}

impl Traced {
    /// Starts it. `meddle` says from which call on to which, counted like the
    /// first, and how, as in strace's `inject`.
    pub(crate) fn start(arguments: &str, meddle: Option<(&Call, usize, &str)>) -> Result<Self> {
        let directory = TempDir::new()?;
        let log = directory.path().join("log");
        let trace = format!("trace={}", CALLS.join(","));
        let mut wrapper: Vec<String> = ["strace", "-D", "-f", "-e", &trace, "-o"]
            .map(str::to_owned)
            .into();
        wrapper.push(log.display().to_string());
        if let Some((call, last, how)) = meddle {
            let Call { name, nth, .. } = call;
            let inject = format!("inject={name}:{how}:when={nth}..{last}");
            wrapper.extend(["-e".to_owned(), inject]);
        }
        Ok(Self {
            tcpleak: Tcpleak::start_under(&wrapper, arguments)?,
            log,
            _directory: directory,
        })
    }

    /// Waits until it has been stopped by a signal that was injected.
    pub(crate) fn wait_stopped(&self) -> Result<()> {
        wait_for("strace to stop it", || {
            Ok(self
                .log()
                .contains("--- stopped by SIGSTOP ---")
                .then_some(()))
        })
    }

    /// The calls of its first thread; of one that has ended, all.
    pub(crate) fn calls(&self) -> Result<Vec<Call>> {
        let pid = self.tcpleak.pid();
        let own = format!("{pid} ");
        // strace pads the process ids.
        let line_of_own = |line: &str| Some(line.strip_prefix(&own)?.trim_start().to_owned());
        let lines = wait_for("the end of strace's log", || {
            let log = self.log();
            let lines: Vec<String> = log.lines().filter_map(line_of_own).collect();
            let has_ended = lines.iter().any(|line| line.starts_with("+++ "));
            Ok(has_ended.then_some(lines))
        })?;
        let mut counts = BTreeMap::new();
        let calls = lines.into_iter().filter_map(|line| {
            let (name, _) = line.split_once('(')?;
            let name = CALLS.into_iter().find(|call| *call == name)?;
            let nth = counts.entry(name).or_insert(0);
            *nth += 1;
            Some(Call {
                name,
                nth: *nth,
                text: line,
            })
        });
        Ok(calls.collect())
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// The calls of a run that nobody meddles with, up to where it is attached.
pub(crate) fn calls_to_attach(arguments: &str) -> Result<Vec<Call>> {
    let traced = Traced::start(arguments, None)?;
    wait_for("the run to end", || {
        Ok(traced.tcpleak.has_ended().then_some(()))
    })?;
    let mut calls = traced.calls()?;
    let last = calls
        .iter()
        .rposition(Call::attaches)
        .context("nothing was attached")?;
    calls.truncate(last + 1);
    Ok(calls)
}
