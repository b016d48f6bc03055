//! The call stacks that the kernel keeps.

use anyhow::{Context, Result};
use aya::maps::{HashMap, Map, MapData, StackTraceMap};

use crate::decode::{StackId, chain::Chain};

/// The maps of call stacks.
pub struct Stacks {
    kept: StackTraceMap<MapData>,
    copied: HashMap<MapData, u64, u8>,
}

impl Stacks {
    pub(super) fn new(kept: Map, copied: Map) -> Result<Self> {
        let unreadable = "cannot read the maps of call stacks";
        Ok(Self {
            kept: StackTraceMap::try_from(kept).context(unreadable)?,
            copied: HashMap::try_from(copied).context(unreadable)?,
        })
    }

    /// Has the stack of this chain copied once more.
    pub fn copy_again(&mut self, chain: Chain) {
        // One that is gone already is as good.
        let _ = self.copied.remove(&chain.0.get());
    }

    /// A stack's addresses, innermost first; nothing once its place is empty.
    #[must_use]
    pub fn get(&self, stack: StackId) -> Vec<u64> {
        let trace = self.kept.get(&stack.place(), 0);
        trace.map_or_else(
            |_| Vec::new(),
            |trace| trace.frames().iter().map(|frame| frame.ip).collect(),
        )
    }

    /// Empties the places of these stacks.
    pub fn remove(&mut self, stacks: impl Iterator<Item = StackId>) {
        for stack in stacks {
            // One that is gone already is as good.
            let _ = self.kept.remove(&stack.place());
        }
    }
}
