//! How much the kernel side leaves out, written in place.

use std::{
    os::fd::{AsFd as _, AsRawFd as _},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result, bail};
use aya::maps::Map;
use memmap2::{MmapOptions, MmapRaw};
use tracer_common::shed;

use crate::course::shed::Shed;

/// The map's only entry.
pub(super) struct Valve(MmapRaw);

impl Valve {
    pub(super) fn new(map: Map) -> Result<Self> {
        let Map::Array(map) = map else {
            bail!("what is left out is in no array");
        };
        let memory = MmapOptions::new()
            .len(size_of::<AtomicU32>())
            .map_raw(map.fd().as_fd().as_raw_fd())
            .context("cannot map what tells the kernel side to leave out")?;
        Ok(Self(memory))
    }

    pub(super) fn set(&self, shed: Shed) {
        // SAFETY: `new` has mapped one integer at the start of a page, for as long as the
        // memory lives, and the kernel side only reads it.
        #[allow(unsafe_code, reason = "memmap2 lends no memory that others read")]
        let entry = unsafe { &*self.0.as_mut_ptr().cast::<AtomicU32>() };
        let shed = match shed {
            Shed::Nothing => shed::NOTHING,
            Shed::Stacks => shed::STACKS,
            Shed::Transitions => shed::TRANSITIONS,
        };
        entry.store(shed, Ordering::Relaxed);
    }
}
