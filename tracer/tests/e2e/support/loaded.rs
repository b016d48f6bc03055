//! What a process has put into the kernel, and whether it is still there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use anyhow::{Context, Result, bail};
use aya::maps::{HashMap, Map, MapData, MapInfo};
use serde_json::Value;

use super::{process::output, wait_for};

/// Kinds of objects, as `bpftool` calls them.
const KINDS: [&str; 4] = ["prog", "map", "link", "btf"];

/// Ids by kind. The kernel gives none out twice.
#[derive(Debug, Default)]
pub(crate) struct Loaded(BTreeMap<&'static str, BTreeSet<u64>>);

/// How many entries a hash map of this name has that a process has open. Keys are cookies,
/// and values take so many bytes.
pub(crate) fn entries<const BYTES: usize>(pid: u32, name: &str) -> Result<usize> {
    let mut loaded = Loaded::default();
    loaded.add(pid)?;
    for &id in loaded.0.get("map").into_iter().flatten() {
        if MapInfo::from_id(u32::try_from(id)?)?.name_as_str() == Some(name) {
            let map = Map::HashMap(MapData::from_id(u32::try_from(id)?)?);
            let map = HashMap::<_, u64, [u8; BYTES]>::try_from(map)?;
            return Ok(map.keys().count());
        }
    }
    bail!("no map {name} is open")
}

impl Loaded {
    /// What `tcpleak` has loaded once it watches: something of each kind.
    pub(crate) fn whole(pid: u32) -> Result<Self> {
        let mut loaded = Self::default();
        loaded.add(pid)?;
        for kind in KINDS {
            assert!(loaded.0.contains_key(kind), "no {kind} is loaded");
        }
        Ok(loaded)
    }

    /// Adds what a process has open at the moment. From `fdinfo`: not every
    /// bpftool can tell the holders.
    pub(crate) fn add(&mut self, pid: u32) -> Result<()> {
        // One that has ended has nothing open.
        let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fdinfo")) else {
            return Ok(());
        };
        for fd in fds.flatten() {
            // It opens and closes others meanwhile.
            let info = fs::read_to_string(fd.path()).unwrap_or_default();
            let facts = info.lines().filter_map(|line| line.split_once(":\t"));
            for (name, value) in facts {
                if let Some(kind) = KINDS.into_iter().find(|kind| name == format!("{kind}_id")) {
                    self.0.entry(kind).or_default().insert(value.parse()?);
                }
            }
        }
        Ok(())
    }

    /// How many objects these are.
    pub(crate) fn len(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }

    /// Waits until none of these is there any more: the kernel frees them a moment
    /// after the process has ended. What is pinned would stay.
    pub(crate) fn wait_freed(&self) -> Result<()> {
        for (kind, ids) in &self.0 {
            let mut left = Vec::new();
            let freed = wait_for("the kernel to free what was loaded", || {
                // It gives up where one of the listed is freed before it has a look at it.
                let Ok(list) = output(Command::new("bpftool").args(["-j", kind, "list"])) else {
                    return Ok(None);
                };
                let all: Value = serde_json::from_str(&list)?;
                let all = all.as_array().context("no list")?.iter();
                let is_ours = |object: &&Value| {
                    let id = object["id"].as_u64();
                    id.is_some_and(|id| ids.contains(&id))
                };
                left = all.filter(is_ours).cloned().collect();
                Ok(left.is_empty().then_some(()))
            });
            freed.with_context(|| format!("{kind}: {left:?}"))?;
        }
        Ok(())
    }
}
