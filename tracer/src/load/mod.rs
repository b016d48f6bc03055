//! Loads the kernel side, attaches it by plan, owns the links. The only folder
//! that knows aya. Everything is detached and freed when [`Tracer`] is dropped,
//! and by the kernel if this process dies first.

use std::{
    fmt, fs,
    ops::Deref,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};
use aya::{
    Btf, Ebpf, EbpfLoader, Endianness,
    maps::{MapData, RingBuf},
    util::KernelVersion,
};
use aya_log::EbpfLogger;
use bytesize::ByteSize;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use tracer_common::{
    config::{
        Config, FOLD_NEVER, FOLLOWED_SOCKETS, Filter, IN_FLIGHT_CALLS, MAX_RING_BYTES,
        MIN_RING_BYTES, TREE_PROCESSES,
    },
    offsets::Offsets,
};
use zerocopy::IntoBytes;

use crate::{
    btf::{self, KernelTypes},
    plan::{self, Chosen, PlanName, Probe, Refusal},
};

mod attach;
pub mod blocked;
mod counters;
pub mod error;
mod folds;
mod followed;
pub mod privileges;
mod stacks;
mod standing;
pub mod tracefs;
mod valve;

use attach::{attach_way, registers, unload};
use blocked::Blocked;
use counters::{Counters, is_spare};
use error::Refused;
pub use folds::Folds;
pub use stacks::Stacks;
use valve::Valve;

/// The kernel side, built by `cargo xtask ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/tcpleak.bpf.o");

/// Where the kernel shows its own types.
pub const VMLINUX_BTF: &str = "/sys/kernel/btf/vmlinux";

/// The reader is woken when a quarter of the ring is full, and else by its timer.
const WAKE_FRACTION: u32 = 4;

/// What to load.
#[derive(Clone, Debug)]
pub struct Options {
    /// BTF to use in place of the kernel's own.
    pub btf: Option<PathBuf>,
    /// The plan to insist on.
    pub plan: Option<PlanName>,
    /// Size of the ring in bytes: a power of two and a multiple of the page.
    pub ring_bytes: u32,
    /// Which sockets.
    pub filter: Filter,
    /// Whether to take the call stacks of connect and accept.
    pub stacks: bool,
    /// Whether each record wakes the reader: for a trace of few connections, whose
    /// processes may not live for long.
    pub prompt: bool,
    /// Above how many a moment connections are folded: see
    /// [`FOLD_ABOVE`](tracer_common::config::FOLD_ABOVE).
    pub fold_above: u32,
    /// Room in the maps.
    pub limits: Limits,
}

/// How many entries the kernel side's maps have room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sockets followed under a filter by process.
    pub followed: u32,
    /// System calls in progress.
    pub calls: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            followed: FOLLOWED_SOCKETS,
            calls: IN_FLIGHT_CALLS,
        }
    }
}

/// The attached kernel side.
pub struct Tracer {
    ebpf: Ebpf,
    /// The plan in use.
    pub chosen: Chosen<Refused>,
    counts: Counters,
    valve: Valve,
    /// Programs that are attached no more, kept for their counters.
    detached: Vec<(&'static str, OwnedFd)>,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
}

/// What is needed to load: the kernel's types, in both readers' forms.
pub struct Kernel {
    btf: Btf,
    types: KernelTypes,
    offsets: Offsets,
}

impl Kernel {
    /// Whether programs on tracepoints may ask for a socket's cookie: the helper is a
    /// function of this name (net/core/filter.c, since 5.12, commit c5dbb89fc2ac).
    fn has_cookie(&self) -> bool {
        let helper = self.types.function_arity("bpf_get_socket_ptr_cookie");
        helper.is_some()
    }

    /// Reads the kernel's types from `path`, or from [`VMLINUX_BTF`].
    ///
    /// # Errors
    /// The file cannot be read, is not BTF, or lacks a field.
    pub fn read(path: Option<&Path>) -> Result<Self, Blocked> {
        let file = path.unwrap_or(Path::new(VMLINUX_BTF));
        let blocked = |why| Blocked {
            why,
            fix: types_fix(path),
        };
        let shown = file.display();
        let bytes = fs::read(file).map_err(|error| {
            blocked(format!("cannot read the kernel's types, {shown}: {error}"))
        })?;
        let wrong = |error: &dyn fmt::Display| {
            blocked(format!("{shown} does not describe this kernel: {error}"))
        };
        let types = KernelTypes::parse(&bytes).map_err(|error| wrong(&error))?;
        let offsets = btf::offsets(&types).map_err(|error| wrong(&error))?;
        // A wrong offset reads wrong values silently; where the kernel shows its
        // own types, it is found.
        if path.is_some()
            && let Ok(own) = fs::read(VMLINUX_BTF)
            && let Ok(own) = KernelTypes::parse(&own)
            && btf::offsets(&own).is_ok_and(|own| own != offsets)
        {
            return Err(wrong(&"fields lie elsewhere in the running one"));
        }
        Ok(Self {
            offsets,
            btf: Btf::parse(&bytes, Endianness::default()).map_err(|error| wrong(&error))?,
            types,
        })
    }
}

/// Gives memory that is free back to the system: of the kernel's types, which take some 25
/// MB, or of a snapshot of many sockets the C library keeps the single blocks for what never
/// comes, or comes from another thread.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it moves nothing that is in use, and may be called at any time.
    #[allow(unsafe_code, reason = "no library offers it")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// How to come by the kernel's types where `given` was of no use.
fn types_fix(given: Option<&Path>) -> String {
    let makes = "`pahole --btf_encode_detached=FILE vmlinux` makes it from the distribution's \
                 vmlinux with debug symbols";
    match given {
        Some(path) if path != Path::new(VMLINUX_BTF) && Path::new(VMLINUX_BTF).exists() => {
            format!("leave out --btf: this kernel shows its types at {VMLINUX_BTF}")
        }
        Some(_) => format!("hand in the BTF of this very kernel: {makes}"),
        None => format!(
            "boot a kernel with CONFIG_DEBUG_INFO_BTF=y, or hand in the BTF of this one with \
             --btf FILE: {makes}"
        ),
    }
}

impl Tracer {
    /// Loads and attaches.
    ///
    /// # Errors
    /// One line that names what is missing and what to do. Nothing stays attached.
    pub fn attach(options: &Options) -> Result<Self> {
        let kernel = Kernel::read(options.btf.as_deref())?;
        let attached = Self::attach_to(&kernel, options)?;
        drop(kernel);
        give_back();
        Ok(attached)
    }

    fn attach_to(kernel: &Kernel, options: &Options) -> Result<Self> {
        raise_memlock(options.ring_bytes)?;
        // Without cookies sockets are named by address: a constant that all programs
        // share and that must be set before any is loaded.
        let has_cookie = kernel.has_cookie();
        let mut ebpf = load(kernel, options, !has_cookie)?;
        let mut chosen = choose(kernel, options, has_cookie, &mut ebpf)?;
        if chosen.has_cookie() != has_cookie {
            // What needs them was refused for another reason.
            ebpf = load(kernel, options, true)?;
            for served in &chosen.served {
                attach_way(&mut ebpf, kernel, &served.way).map_err(|(target, error)| Blocked {
                    why: format!("{target}: {error}"),
                    fix: error.advice().to_owned(),
                })?;
            }
        }
        chosen
            .refused
            .retain(|refusal| refusal.plan == chosen.plan.name && !refusal.error.is_expected());
        let counts = ebpf
            .take_map("COUNTS")
            .context("the eBPF object has no map COUNTS")?;
        let shed = ebpf
            .take_map("SHED")
            .context("the eBPF object has no map SHED")?;
        let logger = EbpfLogger::init(&mut ebpf).ok();
        Ok(Self {
            counts: Counters::new(counts)?,
            valve: Valve::new(shed)?,
            detached: Vec::new(),
            ebpf,
            chosen,
            logger,
        })
    }

    /// Detaches all programs. A hook that runs on another CPU at this moment may
    /// write one more record, and count it after that.
    ///
    /// # Errors
    /// Where no fd is left to keep a program's counter by.
    pub fn detach(&mut self) -> Result<()> {
        // In the reverse order: what is announced is then still followed by all that
        // follows it, and no second program is left without its first.
        let probes = self.chosen.served.iter().rev();
        let probes = probes.flat_map(|served| served.way.probes.iter().rev());
        for Probe { program, .. } in probes {
            let Some(attached) = self.ebpf.program_mut(program) else {
                continue;
            };
            if !is_spare(program)
                && let Ok(fd) = attached.fd()
            {
                let kept = fd.as_fd().try_clone_to_owned();
                let kept = kept.context("cannot keep a program's counters")?;
                self.detached.push((program, kept));
            }
            unload(attached);
        }
        Ok(())
    }

    /// Takes the reading end of the ring; once.
    ///
    /// # Errors
    /// Where it has been taken before.
    pub fn ring(&mut self) -> Result<Ring> {
        let map = self.ebpf.take_map("RING").context("the ring is in use")?;
        Ok(Ring(RingBuf::try_from(map)?))
    }

    /// Takes the maps of call stacks; once.
    ///
    /// # Errors
    /// Where it has been taken before.
    pub fn stacks(&mut self) -> Result<Stacks> {
        let mut take = |name| self.ebpf.take_map(name).context("the stacks are in use");
        Stacks::new(take("STACKS")?, take("COPIED")?)
    }

    /// Hands the kernel side's rare warnings on to `log`.
    pub fn pass_on_warnings(&mut self) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
    }
}

/// The reading end of the ring.
pub struct Ring(RingBuf<MapData>);

impl Ring {
    /// The next record, if one waits. It is given back to the kernel on drop.
    pub fn take(&mut self) -> Option<impl Deref<Target = [u8]> + '_> {
        self.0.next()
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// How an attempt to attach came out.
pub type Rehearsal = Chosen<Refused>;

/// Attaches as a trace would and leaves nothing attached: for `doctor`, which has read the
/// kernel's types already.
///
/// # Errors
/// As [`Tracer::attach`].
pub fn rehearse(kernel: &Kernel, options: &Options) -> Result<Rehearsal> {
    Ok(Tracer::attach_to(kernel, options)?.chosen)
}

fn load(kernel: &Kernel, options: &Options, by_address: bool) -> Result<Ebpf> {
    // An address is soon another socket's.
    let fold_above = if by_address {
        FOLD_NEVER
    } else {
        options.fold_above
    };
    let config = Config {
        filter: options.filter,
        wake_bytes: if options.prompt {
            0
        } else {
            options.ring_bytes / WAKE_FRACTION
        },
        name_by_address: by_address.into(),
        registers: registers().unwrap_or_default(),
        tick_ns: tick_ns(),
        stacks: options.stacks.into(),
        fold_above,
    };
    let mut loader = EbpfLoader::new();
    if fold_above == FOLD_NEVER {
        loader.map_max_entries("FOLDS", 1);
    }
    if !options.stacks {
        loader
            .map_max_entries("STACKS", 1)
            .map_max_entries("COPIED", 1)
            .map_max_entries("BUDGETS", 1);
    }
    let processes = if options.filter.tree == 0 {
        1
    } else {
        TREE_PROCESSES
    };
    // Filled in advance, so one that is not used costs as much as one that is.
    let chooses_processes = options.filter.tree != 0 || options.filter.pid != 0;
    let followed = if chooses_processes {
        options.limits.followed
    } else {
        1
    };
    loader
        .btf(Some(&kernel.btf))
        .override_global("OFFSETS", kernel.offsets.as_bytes(), true)
        .override_global("CONFIG", config.as_bytes(), true)
        .map_max_entries("COUNTS", counters::entries()?)
        .map_max_entries("RING", options.ring_bytes)
        .map_max_entries("FOLLOWED", followed)
        .map_max_entries("TREE", processes)
        .map_max_entries("CALLS", options.limits.calls)
        .load(OBJECT)
        .map_err(explain_load)
}

fn explain_load(error: aya::EbpfError) -> anyhow::Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::PermissionDenied
        {
            return privileges::no_ebpf().into();
        }
        cause = inner.source();
    }
    // Found out by aya with a program of its own; without it the maps of a
    // program's constants are left out, and every program seems damaged.
    let why = if aya::features().bpf_global_data() {
        let error = anyhow!(error);
        format!(
            "cannot create the eBPF maps: {error}: {}",
            error.root_cause()
        )
    } else {
        "the kernel refuses an eBPF program with constants, which Linux 5.2 or newer takes"
            .to_owned()
    };
    Blocked {
        why,
        fix: "give the control group or the machine more memory, or choose a smaller --ring-size; \
              `tcpleak doctor` shows what this kernel can do"
            .to_owned(),
    }
    .into()
}

fn choose(
    kernel: &Kernel,
    options: &Options,
    has_cookie: bool,
    ebpf: &mut Ebpf,
) -> Result<Chosen<Refused>> {
    let ebpf = std::cell::RefCell::new(ebpf);
    let chosen = plan::choose(
        options.plan,
        has_cookie,
        |way| attach_way(&mut ebpf.borrow_mut(), kernel, way),
        || {
            ebpf.borrow_mut()
                .programs_mut()
                .for_each(|(_, program)| unload(program))
        },
    );
    chosen.map_err(|refused| no_plan(options.plan, &refused))
}

fn no_plan(only: Option<PlanName>, refused: &[Refusal<Refused>]) -> anyhow::Error {
    let Some(last) = refused.last() else {
        return anyhow!("this version has no probe plan");
    };
    let why = format!(
        "hook {} cannot attach to {}: {}",
        last.hook, last.target, last.error
    );
    let mut fix = last.error.advice().to_owned();
    if let Some(name) = only {
        fix.push_str(&format!(
            "; or leave out --plan {name}: another plan may work"
        ));
    }
    Blocked { why, fix }.into()
}

/// Before 5.11 the kernel counts maps against RLIMIT_MEMLOCK, whose default is
/// less than one ring (`bpf_map_charge_init`, kernel/bpf/syscall.c). Later kernels do
/// not mind where it may not be raised.
fn raise_memlock(ring_bytes: u32) -> Result<(), Blocked> {
    let (which, all) = (Resource::RLIMIT_MEMLOCK, RLIM_INFINITY);
    let counts = KernelVersion::current().is_ok_and(|kernel| kernel < KernelVersion::new(5, 11, 0));
    if setrlimit(which, all, all).is_ok() || !counts {
        return Ok(());
    }
    match getrlimit(which) {
        Ok((limit, _)) if limit < u64::from(ring_bytes) => Err(Blocked {
            why: format!(
                "before Linux 5.11 the kernel counts eBPF maps as locked memory, of which this \
                 process may have {}",
                ByteSize::b(limit)
            ),
            fix: "run as root (sudo tcpleak ...), grant CAP_SYS_RESOURCE, or lift the limit with \
                  `ulimit -l unlimited`, or LimitMEMLOCK=infinity in a systemd unit"
                .to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Length of a jiffy in nanoseconds: the resolution of the clocks that tick with
/// it; 0 where it cannot be told.
fn tick_ns() -> u32 {
    let tick = nix::time::clock_getres(nix::time::ClockId::CLOCK_MONOTONIC_COARSE);
    tick.map_or(0, |tick| u32::try_from(tick.tv_nsec()).unwrap_or(0))
}

/// A size in bytes as the kernel takes it for a ring: a power of two within
/// [`MIN_RING_BYTES`] and [`MAX_RING_BYTES`]; `None` for any other.
#[must_use]
pub fn check_ring_bytes(bytes: u64) -> Option<u32> {
    let bytes = u32::try_from(bytes).ok()?;
    let fits = (MIN_RING_BYTES..=MAX_RING_BYTES).contains(&bytes);
    (bytes.is_power_of_two() && fits).then_some(bytes)
}
