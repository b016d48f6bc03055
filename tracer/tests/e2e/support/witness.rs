//! What the kernel's own trace buffer saw, which needs no eBPF.
//!
//! Some kernels, of sandboxes above all, run no eBPF program while a thread of
//! process 1 is current. A softirq that interrupts such a thread brings transitions
//! that no tracer hears; the trace buffer has them.

use std::{collections::HashSet, fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::temp::{TempDir, unique_name};

/// Tracepoints that tell of a connection's course.
const EVENTS: [&str; 2] = ["sock/inet_sock_set_state", "tcp/tcp_destroy_sock"];

/// Room for some hundred thousand events on each CPU, in KiB.
const BUFFER_KB: &str = "32768";

/// An instance of the trace buffer, with a tracefs of its own.
pub(crate) struct Witness {
    tracefs: TempDir,
    instance: PathBuf,
}

impl Witness {
    pub(crate) fn new() -> Result<Self> {
        let tracefs = TempDir::new()?;
        let none = None::<&str>;
        mount(
            Some("tracefs"),
            tracefs.path(),
            Some("tracefs"),
            MsFlags::empty(),
            none,
        )
        .context("cannot mount tracefs")?;
        let instance = tracefs.path().join("instances").join(unique_name());
        let witness = Self { tracefs, instance };
        fs::create_dir(&witness.instance)?;
        witness.set("buffer_size_kb", BUFFER_KB)?;
        for event in EVENTS {
            witness.set(&format!("events/{event}/enable"), "1")?;
        }
        Ok(witness)
    }

    fn set(&self, file: &str, value: &str) -> Result<()> {
        let path = self.instance.join(file);
        fs::write(&path, value).with_context(|| path.display().to_string())
    }

    /// The ports of all connections of which something happened on top of a thread
    /// of process 1, the lower one first.
    pub(crate) fn hidden(&self) -> Result<HashSet<(u16, u16)>> {
        // Tasks have names that are not UTF-8, too.
        let trace = fs::read(self.instance.join("trace"))?;
        let trace = String::from_utf8_lossy(&trace);
        let counts = trace
            .lines()
            .find(|line| line.contains("entries-in-buffer"));
        let counts = counts.and_then(|line| line.split_whitespace().nth(2));
        let (kept, written) = counts
            .and_then(|text| text.split_once('/'))
            .context("no counts")?;
        ensure!(
            kept == written,
            "the trace buffer is too small: {kept} of {written} events"
        );
        let threads: HashSet<String> = fs::read_dir("/proc/1/task")?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_>>()?;
        let events = trace.lines().filter(|line| !line.starts_with('#'));
        let events = events.map(|line| Some((thread(line)?, ports(line)?)));
        events
            .map(|event| event.context("not a line of a trace"))
            .filter(|event| !matches!(event, Ok((tid, _)) if !threads.contains(*tid)))
            .map(|event| event.map(|(_, ports)| ports))
            .collect()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.instance);
        let _ = umount2(self.tracefs.path(), MntFlags::MNT_DETACH);
    }
}

/// `COMM-TID [CPU] ...`, where the name may have spaces and dashes.
fn thread(line: &str) -> Option<&str> {
    let (task, _) = line.split_once(" [")?;
    task.trim_end().rsplit_once('-').map(|(_, tid)| tid)
}

fn ports(line: &str) -> Option<(u16, u16)> {
    let value = |name: &str| {
        let (_, rest) = line.split_once(name)?;
        rest.split(' ').next()?.parse::<u16>().ok()
    };
    Some(ordered(value(" sport=")?, value(" dport=")?))
}

/// Both sides of a connection have the same ports.
pub(crate) fn ordered(one: u16, other: u16) -> (u16, u16) {
    (one.min(other), one.max(other))
}
