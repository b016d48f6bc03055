//! The call stacks that the kernel keeps.

use anyhow::{Context, Result};
use aya::maps::{Map, MapData, StackTraceMap};

use crate::decode::StackId;

/// The map of call stacks.
pub struct Stacks(StackTraceMap<MapData>);

impl Stacks {
    pub(super) fn new(map: Map) -> Result<Self> {
        let map = StackTraceMap::try_from(map);
        Ok(Self(map.context("cannot read the map of call stacks")?))
    }

    /// A stack's addresses, innermost first; nothing once its place is empty.
    #[must_use]
    pub fn get(&self, stack: StackId) -> Vec<u64> {
        let trace = self.0.get(&stack.place(), 0);
        trace.map_or_else(
            |_| Vec::new(),
            |trace| trace.frames().iter().map(|frame| frame.ip).collect(),
        )
    }

    /// Empties the places of these stacks.
    pub fn remove(&mut self, stacks: impl Iterator<Item = StackId>) {
        for stack in stacks {
            // One that is gone already is as good.
            let _ = self.0.remove(&stack.place());
        }
    }
}
