//! What the kernel side follows: maps that both sides fill.

use anyhow::{Context, Result};
use aya::maps::{HashMap, MapError};
use rustc_hash::FxHashSet;
use tracer_common::config::ListenPort;

use super::Tracer;

impl Tracer {
    /// Under a pid filter: sockets and listening ports that the process had
    /// before the trace. Returns how many the maps have no room for, of which
    /// later records do not come.
    ///
    /// # Errors
    /// Where a map is missing.
    pub fn follow(
        &mut self,
        sockets: impl Iterator<Item = u64>,
        ports: impl Iterator<Item = ListenPort>,
    ) -> Result<u64> {
        let map = self.ebpf.map_mut("FOLLOWED").context("no map FOLLOWED")?;
        let mut followed: HashMap<_, u64, u8> = HashMap::try_from(map)?;
        let mut left_out = sockets
            .filter(|sock| followed.insert(sock, 1, 0).is_err())
            .count();
        let map = self.ebpf.map_mut("PORTS").context("no map PORTS")?;
        let mut followed: HashMap<_, [u8; size_of::<ListenPort>()], u8> = HashMap::try_from(map)?;
        left_out += ports
            .map(|port| zerocopy::transmute!(port))
            .filter(|key: &[u8; size_of::<ListenPort>()]| followed.insert(key, 1, 0).is_err())
            .count();
        Ok(left_out as u64)
    }

    /// Follows a process and all that it will start.
    ///
    /// # Errors
    /// Where the map of processes is missing, or full.
    pub fn follow_tree(&mut self, pid: u32) -> Result<()> {
        let map = self.ebpf.map_mut("TREE").context("no map TREE")?;
        let mut tree: HashMap<_, u32, u8> = HashMap::try_from(map)?;
        tree.insert(pid, 1, 0)
            .context("cannot follow the command's process")
    }

    /// The processes that [`Tracer::follow_tree`] follows now.
    ///
    /// # Errors
    /// Where the map of processes is missing.
    pub fn tree(&self) -> Result<FxHashSet<u32>> {
        let map = self.ebpf.map("TREE").context("no map TREE")?;
        let tree: HashMap<_, u32, u8> = HashMap::try_from(map)?;
        // A key that goes meanwhile is a process that has ended.
        Ok(tree.keys().filter_map(Result::ok).collect())
    }

    /// Whether bpf(2) lets this thread look into a map.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        let map = self
            .ebpf
            .map("FOLLOWED")
            .map(HashMap::<_, u64, u8>::try_from);
        let Some(Ok(followed)) = map else {
            return false;
        };
        matches!(followed.get(&0, 0), Ok(_) | Err(MapError::KeyNotFound))
    }
}
