//! Why a probe could not be attached, and what to do: unsupported, not
//! permitted and failed are three different things.

use std::io;

use aya::programs::ProgramError;
use caps::Capability;
use thiserror::Error;

use super::{privileges, tracefs::Lack};

/// A probe that could not be put in place.
#[derive(Debug, Error)]
pub enum Refused {
    /// This process may not.
    #[error("not permitted: {0}")]
    NotPermitted(String),
    /// This kernel cannot.
    #[error("not supported by this kernel: {0}")]
    Unsupported(String),
    /// The event's number is in tracefs, which is out of reach.
    #[error("{}", .0.why)]
    NoTracefs(Lack),
    /// The function takes other arguments here than this way expects.
    #[error("{0} has another signature on this kernel")]
    OtherSignature(&'static str),
    /// It should have worked.
    #[error("failed: {0}")]
    Failed(String),
}

impl Refused {
    /// What the user can do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::NotPermitted(_) if is_perf_for_admins() => {
                "run as root, grant CAP_SYS_ADMIN, or `sysctl kernel.perf_event_paranoid=2`: above \
                 that, this kernel's distributor lets nobody else follow system calls"
            }
            Self::NotPermitted(_) => {
                "run as root, or grant the capabilities that `tcpleak doctor` lists; under \
                 lockdown=confidentiality not even root may"
            }
            Self::Unsupported(_) | Self::OtherSignature(_) => {
                "nothing where another way serves as well; else a newer kernel, or another --plan"
            }
            Self::NoTracefs(lack) => lack.fix,
            Self::Failed(_) => "please report this line with the kernel's version",
        }
    }

    /// Whether this is no lack: another way is meant for this kernel.
    #[must_use]
    pub const fn is_expected(&self) -> bool {
        matches!(self, Self::OtherSignature(_))
    }

    /// From an errno of the kernel.
    #[must_use]
    pub fn from_errno(error: &io::Error, what: &str) -> Self {
        let text = format!("{what}: {error}");
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::NotPermitted(text),
            io::ErrorKind::NotFound | io::ErrorKind::Unsupported => Self::Unsupported(text),
            // EINVAL from the verifier or for an unknown attach type.
            io::ErrorKind::InvalidInput => Self::Unsupported(text),
            _ => Self::Failed(text),
        }
    }

    /// From the errno and the log of a program's load. The log runs to pages; its last
    /// line is the reason, but for its statistics.
    fn from_verifier(error: &io::Error, log: &str) -> Self {
        let is_statistic = |line: &str| {
            ["processed", "stack depth", "verification time"]
                .iter()
                .any(|start| line.starts_with(start))
        };
        let reason = log
            .lines()
            .rev()
            .find(|line| !line.is_empty() && !is_statistic(line));
        match reason {
            // Who may not load at all is told so before anything is verified.
            Some(reason) if error.raw_os_error() == Some(libc::EACCES) => {
                Self::Failed(format!("the verifier refuses it: {reason}"))
            }
            Some(reason) => Self::from_errno(error, &format!("loading ({reason})")),
            None => Self::from_errno(error, "loading"),
        }
    }
}

/// Whether the distributor's kernel asks for CAP_SYS_ADMIN where others ask for
/// CAP_PERFMON: levels above 2 are an addition of Debian's, which Ubuntu has, too.
fn is_perf_for_admins() -> bool {
    let level = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid");
    let level = level
        .ok()
        .and_then(|level| level.trim().parse::<i32>().ok());
    level.is_some_and(|level| level > 2) && !privileges::has(Capability::CAP_SYS_ADMIN)
}

impl From<ProgramError> for Refused {
    fn from(error: ProgramError) -> Self {
        match &error {
            ProgramError::LoadError {
                io_error,
                verifier_log,
            } => Self::from_verifier(io_error, &verifier_log.to_string()),
            ProgramError::SyscallError(syscall) => {
                Self::from_errno(&syscall.io_error, syscall.call)
            }
            ProgramError::TracePointError(inner) => {
                match std::error::Error::source(inner).and_then(|e| e.downcast_ref::<io::Error>()) {
                    Some(io_error) => Self::from_errno(io_error, "the event's id in tracefs"),
                    None => Self::Failed(inner.to_string()),
                }
            }
            ProgramError::IOError(io_error) => Self::from_errno(io_error, "attaching"),
            ProgramError::Btf(inner) => Self::Unsupported(inner.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(errno: i32, log: &str) -> Refused {
        Refused::from_verifier(&io::Error::from_raw_os_error(errno), log)
    }

    #[test]
    fn what_the_verifier_refuses_is_no_lack_of_privileges() {
        let log = "0: R1=ctx()\ncombined stack size of 2 calls is 544. Too large\n\
                   verification time 7 usec\nstack depth 480+64\nprocessed 9 insns\n\n";
        let told = refused(libc::EACCES, log);
        assert!(matches!(&told, Refused::Failed(_)), "{told}");
        assert_eq!(
            told.to_string(),
            "failed: the verifier refuses it: combined stack size of 2 calls is 544. Too large"
        );
        assert!(told.advice().contains("report"));
    }

    #[test]
    fn who_may_not_load_is_told_so() {
        for (errno, log) in [(libc::EPERM, ""), (libc::EACCES, ""), (libc::EPERM, "x\n")] {
            let told = refused(errno, log);
            assert!(matches!(&told, Refused::NotPermitted(_)), "{told}");
        }
    }

    #[test]
    fn a_helper_that_this_kernel_has_not_is_unsupported() {
        let told = refused(libc::EINVAL, "unknown func bpf_ktime_get_boot_ns#125\n");
        assert!(matches!(&told, Refused::Unsupported(_)), "{told}");
    }
}
