//! What the helper lets go of before it reads the first byte of another's file.

use anyhow::{Context, Result};
use caps::CapSet;
use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, Scope};
use nix::{
    libc,
    sys::resource::{Resource, setrlimit},
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// The largest file that is read, in bytes: a program with all its debug
/// information. One larger has no names.
pub const MAX_FILE_BYTES: u64 = 512 << 20;

/// Address space, in bytes: a file, what is unpacked from it, and the tables made
/// of that. Small files have been made that fill any memory there is.
const MAX_MEMORY: u64 = 3 << 30;

/// Processor time, in seconds, until a helper is replaced by a new one.
const MAX_CPU: u64 = 120;

/// Files at once: those that are kept, and some to spare.
const MAX_FILES: u64 = 128;

/// System calls that reading files handed over, computing and answering take. Any
/// other ends the process.
const CALLS: [libc::c_long; 34] = [
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_ftruncate,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_memfd_create,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_newfstatat,
    // Of the copies that it made itself, as blazesym opens by path; Landlock
    // refuses any other file.
    libc::SYS_openat,
    libc::SYS_pread64,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_recvmsg,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_yield,
    libc::SYS_sendmsg,
    libc::SYS_sigaltstack,
    libc::SYS_statx,
    libc::SYS_write,
];

/// The C library resolves the path of a file with this, where there still is such a
/// call.
#[cfg(target_arch = "x86_64")]
const OLD_CALLS: [libc::c_long; 1] = [libc::SYS_readlink];
#[cfg(not(target_arch = "x86_64"))]
const OLD_CALLS: [libc::c_long; 0] = [];

/// Shuts this process in, for good. Must be called while it has one thread.
///
/// # Errors
/// Where the kernel refuses. A kernel without Landlock (before 5.13, or booted
/// without it) is no error: no capability, no other file by any system call but
/// openat, and no way to pass on what it reads are left then.
pub fn enter() -> Result<()> {
    for set in [
        CapSet::Ambient,
        CapSet::Inheritable,
        CapSet::Effective,
        CapSet::Permitted,
    ] {
        caps::clear(None, set).context("cannot drop capabilities")?;
    }
    for (resource, limit) in [
        (Resource::RLIMIT_AS, MAX_MEMORY),
        (Resource::RLIMIT_FSIZE, MAX_FILE_BYTES),
        (Resource::RLIMIT_CPU, MAX_CPU),
        (Resource::RLIMIT_NOFILE, MAX_FILES),
        (Resource::RLIMIT_CORE, 0),
    ] {
        setrlimit(resource, limit, limit).context("cannot set a limit")?;
    }
    nix::sys::prctl::set_no_new_privs().context("cannot set no_new_privs")?;
    // No rule: nothing is allowed.
    Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V5))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(ABI::V5)))
        .and_then(|rules| rules.scope(Scope::AbstractUnixSocket | Scope::Signal))
        .and_then(Ruleset::create)
        .and_then(|rules| rules.restrict_self())
        .context("cannot close off the file system")?;
    let filter = SeccompFilter::new(
        CALLS
            .into_iter()
            .chain(OLD_CALLS)
            .map(|call| (call, Vec::new()))
            .collect(),
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        std::env::consts::ARCH.try_into()?,
    );
    let filter: BpfProgram = filter?.try_into()?;
    seccompiler::apply_filter(&filter).context("cannot filter system calls")
}
