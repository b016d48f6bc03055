//! What the kernel says of its own eBPF programs and maps, by way of bpftool.

use std::{collections::HashSet, fs, process::Command};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::{command, place};

/// While it is there, the kernel measures each run of each program. That costs, so that
/// throughput is measured without it.
pub(crate) struct Measuring {
    before: String,
}

/// The kernel's switch (Documentation/admin-guide/sysctl/kernel.rst, since 5.1).
const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

impl Measuring {
    /// Begins to measure.
    pub(crate) fn begin() -> Result<Self> {
        let before = fs::read_to_string(SWITCH).with_context(|| format!("cannot read {SWITCH}"))?;
        fs::write(SWITCH, "1").with_context(|| format!("cannot write {SWITCH}"))?;
        Ok(Self { before })
    }
}

impl Drop for Measuring {
    fn drop(&mut self) {
        let _ = fs::write(SWITCH, self.before.trim());
    }
}

/// A loaded program.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Program {
    pub(crate) id: u32,
    #[serde(default)]
    pub(crate) name: String,
    /// Nanoseconds in all its measured runs
    #[serde(default)]
    pub(crate) run_time_ns: u64,
    /// How many those were
    #[serde(default)]
    pub(crate) run_cnt: u64,
    /// Bytes of its instructions, eight each
    #[serde(default)]
    bytes_xlated: u32,
    #[serde(default)]
    map_ids: Vec<u32>,
}

impl Program {
    /// How many instructions it has.
    pub(crate) const fn instructions(&self) -> u32 {
        self.bytes_xlated / 8
    }
}

#[derive(Deserialize)]
struct Map {
    id: u32,
    #[serde(default)]
    bytes_memlock: u64,
}

/// Nanoseconds of all measured runs of `programs`.
pub(crate) fn run_time(programs: &[Program]) -> u64 {
    programs.iter().map(|one| one.run_time_ns).sum()
}

/// The programs that are loaded now, but for those `before`.
pub(crate) fn programs(before: &HashSet<u32>) -> Result<Vec<Program>> {
    let text = command::output(bpftool().args(["prog", "show"]))?;
    let all: Vec<Program> =
        serde_json::from_str(&text).context("cannot read bpftool's programs")?;
    Ok(all
        .into_iter()
        .filter(|one| !before.contains(&one.id))
        .collect())
}

/// Their ids.
pub(crate) fn ids() -> Result<HashSet<u32>> {
    Ok(programs(&HashSet::new())?
        .iter()
        .map(|one| one.id)
        .collect())
}

/// Bytes that the kernel keeps in the maps of `programs`.
pub(crate) fn memory_of(programs: &[Program]) -> Result<u64> {
    let used: HashSet<u32> = programs
        .iter()
        .flat_map(|one| one.map_ids.iter().copied())
        .collect();
    let text = command::output(bpftool().args(["map", "show"]))?;
    let maps: Vec<Map> = serde_json::from_str(&text).context("cannot read bpftool's maps")?;
    let ours = maps.iter().filter(|map| used.contains(&map.id));
    Ok(ours.map(|map| map.bytes_memlock).sum())
}

fn bpftool() -> Command {
    let program = place::find("bpftool").unwrap_or_else(|| "bpftool".into());
    let mut command = Command::new(program);
    command.arg("--json");
    command
}
