//! The connections that the kernel side folds.

use std::{
    io, mem,
    os::fd::{AsFd as _, AsRawFd as _},
};

use anyhow::{Context, Result, bail};
use aya::maps::{Map, MapData};
use tracer_common::event::FoldRecord;
use zerocopy::{FromZeros as _, Immutable, IntoBytes};

use super::Tracer;

/// `BPF_MAP_LOOKUP_BATCH`, `enum bpf_cmd`, include/uapi/linux/bpf.h (since 5.6).
const LOOKUP_BATCH: libc::c_long = 24;
/// `BPF_MAP_DELETE_BATCH`, the same.
const DELETE_BATCH: libc::c_long = 27;

/// Entries asked for at once; more than a bucket of the map ever holds.
const BATCH: u32 = 1_024;

/// The part of `union bpf_attr` that batches take.
#[repr(C)]
#[derive(IntoBytes, Immutable)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

impl Tracer {
    /// Takes the map of folded connections; once.
    ///
    /// # Errors
    /// Where it has been taken before.
    pub fn folds(&mut self) -> Result<Folds> {
        Folds::new(
            self.ebpf
                .take_map("FOLDS")
                .context("the folds are in use")?,
        )
    }
}

/// The map of folded connections.
pub struct Folds {
    map: MapData,
    keys: Vec<u64>,
    records: Vec<FoldRecord>,
}

impl Folds {
    fn new(map: Map) -> Result<Self> {
        let Map::HashMap(map) = map else {
            bail!("the map of folded connections is of another kind");
        };
        Ok(Self {
            map,
            keys: vec![0; BATCH as usize],
            records: vec![FoldRecord::new_zeroed(); BATCH as usize],
        })
    }

    /// Each connection that is folded now. One that comes or goes meanwhile may be left
    /// out.
    ///
    /// # Errors
    /// Where the kernel refuses to read the map.
    pub fn each(&mut self, mut look: impl FnMut(&FoldRecord)) -> Result<()> {
        let (mut from, mut to) = (0_u32, 0_u32);
        let mut is_first = true;
        loop {
            let mut batch = Batch {
                in_batch: if is_first { 0 } else { address(&mut from) },
                out_batch: address(&mut to),
                keys: self.keys.as_mut_ptr() as u64,
                values: self.records.as_mut_ptr() as u64,
                ..self.batch(BATCH)
            };
            // SAFETY: the kernel writes at most `count` keys of 8 bytes and values of the
            // map's size, which is a record's, and the vectors have room for them; it
            // reads and writes both places in the map, 4 bytes each, and `count`.
            #[allow(unsafe_code, reason = "no library reads maps in batches")]
            let outcome = unsafe { bpf(LOOKUP_BATCH, &mut batch) };
            let is_last =
                is_absent(outcome).context("cannot read the map of folded connections")?;
            let found = batch.count.min(BATCH);
            for (record, _) in self.records.iter().zip(0..found) {
                if record.is_told == 0 {
                    look(record);
                }
            }
            if is_last {
                return Ok(());
            }
            from = to;
            is_first = false;
        }
    }

    /// Folds these no more, and says so of each. One that a hook has taken out meanwhile,
    /// which tells of it, is passed over.
    ///
    /// # Errors
    /// Where the kernel refuses to change the map.
    pub fn take_out(&mut self, mut socks: &[u64], mut is_out: impl FnMut(u64)) -> Result<()> {
        while !socks.is_empty() {
            let mut batch = Batch {
                keys: socks.as_ptr() as u64,
                ..self.batch(u32::try_from(socks.len())?)
            };
            // SAFETY: the kernel reads at most `count` keys of 8 bytes, which is how many
            // there are, and writes how many it has taken out to `count`.
            #[allow(unsafe_code, reason = "no library changes maps in batches")]
            let outcome = unsafe { bpf(DELETE_BATCH, &mut batch) };
            is_absent(outcome).context("cannot change the map of folded connections")?;
            let (out, rest) = socks.split_at(socks.len().min(batch.count as usize));
            out.iter().copied().for_each(&mut is_out);
            socks = rest.get(1..).unwrap_or_default();
        }
        Ok(())
    }

    fn batch(&self, count: u32) -> Batch {
        Batch {
            in_batch: 0,
            out_batch: 0,
            keys: 0,
            values: 0,
            count,
            map_fd: self.map.fd().as_fd().as_raw_fd().cast_unsigned(),
            elem_flags: 0,
            flags: 0,
        }
    }
}

/// bpf(2), with this in the place of `union bpf_attr`.
///
/// # Safety
/// Its addresses are valid for what the command does there.
#[allow(unsafe_code, reason = "no library knows these commands")]
unsafe fn bpf(command: libc::c_long, batch: &mut Batch) -> io::Result<()> {
    // SAFETY: the kernel reads and writes so many bytes of it; for the rest see above.
    let outcome = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(batch),
            mem::size_of::<Batch>(),
        )
    };
    match outcome {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether a batch ended as there is no such entry, or none more.
fn is_absent(outcome: io::Result<()>) -> io::Result<bool> {
    match outcome {
        Ok(()) => Ok(false),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(true),
        Err(error) => Err(error),
    }
}

fn address(of: &mut u32) -> u64 {
    std::ptr::from_mut(of) as u64
}
