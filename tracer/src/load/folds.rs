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

/// `BPF_MAP_LOOKUP_AND_DELETE_ELEM`, `enum bpf_cmd`, include/uapi/linux/bpf.h.
const LOOKUP_AND_DELETE_ELEM: libc::c_long = 21;
/// `BPF_MAP_LOOKUP_BATCH`, the same (since 5.6).
const LOOKUP_BATCH: libc::c_long = 24;

/// That a kind of map does not know a command: include/linux/errno.h
const ENOTSUPP: i32 = 524;

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

/// The part of it that single elements take.
#[repr(C)]
#[derive(IntoBytes, Immutable)]
struct Element {
    map_fd: u32,
    _pad: u32,
    key: u64,
    value: u64,
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

    /// Each connection that is folded now, also where its hook has told it. One that comes or
    /// goes meanwhile may be left out.
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
                count: BATCH,
                map_fd: self.fd(),
                elem_flags: 0,
                flags: 0,
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
                look(record);
            }
            if is_last {
                return Ok(());
            }
            from = to;
            is_first = false;
        }
    }

    /// Folds this one no more, and returns it. `None` where a hook has taken it out, or its
    /// bucket is in use.
    ///
    /// # Errors
    /// Where the kernel refuses to change the map, but for one before 5.14 (commit
    /// 3e87f192b405), which does not know how: there it stays.
    pub fn take_out(&mut self, sock: u64) -> Result<Option<FoldRecord>> {
        let mut record = FoldRecord::new_zeroed();
        let mut element = Element {
            map_fd: self.fd(),
            _pad: 0,
            key: std::ptr::from_ref(&sock) as u64,
            value: std::ptr::from_mut(&mut record) as u64,
            flags: 0,
        };
        // SAFETY: the kernel reads a key of 8 bytes and writes a value of the map's size, which
        // is a record's, and both outlive the call.
        #[allow(unsafe_code, reason = "no library takes out of a hash map")]
        let outcome = unsafe { bpf(LOOKUP_AND_DELETE_ELEM, &mut element) };
        match outcome.as_ref().map_err(io::Error::raw_os_error) {
            Ok(()) => Ok(Some(record)),
            Err(Some(libc::ENOENT | libc::EBUSY | ENOTSUPP)) => Ok(None),
            Err(_) => outcome
                .map(|()| None)
                .context("cannot change the map of folded connections"),
        }
    }

    fn fd(&self) -> u32 {
        self.map.fd().as_fd().as_raw_fd().cast_unsigned()
    }
}

/// bpf(2), with this in the place of `union bpf_attr`.
///
/// # Safety
/// Its addresses are valid for what the command does there.
#[allow(unsafe_code, reason = "no library knows these commands")]
unsafe fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<()> {
    // SAFETY: the kernel reads and writes so many bytes of it; for the rest see above.
    let outcome = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            mem::size_of::<T>(),
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
