//! A process and the files that its code comes from, through /proc.
//!
//! Everything is opened below a descriptor of /proc/PID, which belongs to that one
//! process: once it has ended nothing opens any more, whoever has its number then.

use std::{
    fs::File,
    io::Read as _,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
};

use anyhow::{Context, Result, ensure};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstat, fstatfs, major, minor, openat, openat2};

use super::{
    helper::{MAX_PERF_MAP, sandbox::MAX_FILE_BYTES},
    maps::{Mapping, parse},
};
use crate::{clock::BootTime, snapshot::clocks};

/// Bytes of a /proc/PID file that are read: 100,000 mappings and more.
const MAX_PROC_FILE: u64 = 16 << 20;

/// `OVERLAYFS_SUPER_MAGIC` and `BTRFS_SUPER_MAGIC`, include/uapi/linux/magic.h
const OWN_DEVICE_NUMBERS: [i64; 2] = [0x794c_7630, 0x9123_683e];

/// A process, as it is now.
#[derive(Debug)]
pub(super) struct Process {
    folder: OwnedFd,
    /// When it was looked at.
    pub(super) looked: BootTime,
    /// Where its program and its stack lie: elsewhere after execve(2).
    image: Image,
    /// Its executable memory.
    pub(super) mappings: Vec<Mapping>,
    /// Its effective uid, which files that it made belong to.
    uid: u32,
    /// Its number in its own pid namespace.
    inner_pid: u32,
}

/// `start_code`, `end_code` and `start_stack` of its memory; zeros for those who may not
/// know.
type Image = [u64; 3];

/// What has become of a process since it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing.
    Runs,
    /// It runs another program.
    RunsAnother,
    /// It has ended.
    Ended,
}

impl Process {
    /// Looks at the process that had this number at that time.
    ///
    /// # Errors
    /// Where it has ended, or may not be looked at.
    pub(super) fn look(pid: u32, at: BootTime) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(CWD, format!("/proc/{pid}"), flags, Mode::empty())?;
        let looked = clocks::boot_time();
        let stat = read(&folder, "stat")?;
        let started = started(&stat).context("no start time")?;
        ensure!(started <= at, "another process has its number");
        let status = read(&folder, "status")?;
        let process = Self {
            looked,
            image: image(&stat).context("no code")?,
            mappings: parse(&read(&folder, "maps")?),
            uid: nth(&status, "Uid:", 1).context("no uid")?,
            inner_pid: last(&status, "NSpid:").unwrap_or(pid),
            folder,
        };
        ensure!(!process.mappings.is_empty(), "it has ended");
        Ok(process)
    }

    /// What has become of it. What it had mapped is known all the same.
    #[must_use]
    pub(super) fn fate(&self) -> Fate {
        match read(&self.folder, "stat") {
            Err(_) => Fate::Ended,
            Ok(stat) if image(&stat) == Some(self.image) => Fate::Runs,
            Ok(_) => Fate::RunsAnother,
        }
    }

    /// Opens the file that a mapping is of, if it still is that file.
    ///
    /// # Errors
    /// Where there is none, or another, or it is no regular file, or too large.
    pub(super) fn open_mapped(&self, path: &[u8], device: (u32, u32), inode: u64) -> Result<File> {
        let is_it = |file: &OwnedFd| -> Result<()> {
            let stat = fstat(file)?;
            let found = (major(stat.st_dev), minor(stat.st_dev));
            // These show other device numbers in mappings than to stat(2).
            let has_own = || {
                let kind = fstatfs(file).map(|fs| fs.f_type);
                kind.is_ok_and(|kind| OWN_DEVICE_NUMBERS.contains(&kind))
            };
            ensure!(stat.st_ino == inode, "another file");
            ensure!(found == device || has_own(), "a file on another device");
            Ok(())
        };
        let found = self.find(path).and_then(|file| is_it(&file).map(|()| file));
        // A program that was replaced while it runs is still to be had by this link.
        let found = found.or_else(|error| {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let own = openat(&self.folder, "exe", flags, Mode::empty()).map_err(|_| error)?;
            is_it(&own).map(|()| own)
        })?;
        read_only(&found, MAX_FILE_BYTES)
    }

    /// Opens the perf map that the process wrote.
    ///
    /// # Errors
    /// Where there is none, somebody else wrote it, or it is too large.
    pub(super) fn open_perf_map(&self) -> Result<File> {
        let found = self.find(format!("/tmp/perf-{}.map", self.inner_pid).as_bytes())?;
        let owner = fstat(&found)?.st_uid;
        ensure!(
            owner == self.uid || owner == 0,
            "it belongs to somebody else"
        );
        read_only(&found, MAX_PERF_MAP)
    }

    /// Finds a file below the process's own root, without opening it: a FIFO would
    /// wait for a writer, a device would act.
    fn find(&self, path: &[u8]) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(&self.folder, "root", flags, Mode::empty())?;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        Ok(openat2(&root, path, flags, Mode::empty(), resolve)?)
    }
}

/// Opens a file that has been found, if it is a regular one of at most so many bytes.
fn read_only(found: &OwnedFd, max: u64) -> Result<File> {
    let kind = rustix::fs::FileType::from_raw_mode(fstat(found)?.st_mode);
    ensure!(kind.is_file(), "not a regular file");
    // By the descriptor: whatever has its path meanwhile, this is the same file.
    let path = format!("/proc/self/fd/{}", found.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(openat(CWD, path, flags, Mode::empty())?);
    let size = file.metadata()?.size();
    ensure!(size <= max, "{size} bytes");
    Ok(file)
}

fn read(folder: &OwnedFd, name: &str) -> Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = File::from(openat(folder, name, flags, Mode::empty())?);
    let mut bytes = Vec::new();
    file.take(MAX_PROC_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// When a process started, from its `stat`: the 22nd field, in ticks since boot.
fn started(stat: &[u8]) -> Option<BootTime> {
    let ticks: u64 = fields(stat)?.nth(22 - 3)?.parse().ok()?;
    Some(BootTime::from_ns(
        ticks.checked_mul(1_000_000_000 / procfs::ticks_per_second())?,
    ))
}

/// The 26th field of a `stat` and the two after it.
fn image(stat: &[u8]) -> Option<Image> {
    let mut fields = fields(stat)?.skip(26 - 3);
    let mut next = || fields.next()?.parse().ok();
    Some([next()?, next()?, next()?])
}

/// The fields of a `stat` from the third on. The second is its name, and that anything.
fn fields(stat: &[u8]) -> Option<impl Iterator<Item = &str>> {
    let after = stat.iter().rposition(|&b| b == b')')?;
    let text = std::str::from_utf8(stat.get(after + 1..)?).ok()?;
    Some(text.split_whitespace())
}

fn line<'a>(status: &'a [u8], name: &str) -> Option<&'a str> {
    let lines = status.split(|&b| b == b'\n');
    let line = lines
        .into_iter()
        .find_map(|line| line.strip_prefix(name.as_bytes()));
    std::str::from_utf8(line?).ok()
}

fn nth(status: &[u8], name: &str, n: usize) -> Option<u32> {
    line(status, name)?.split_whitespace().nth(n)?.parse().ok()
}

fn last(status: &[u8], name: &str) -> Option<u32> {
    line(status, name)?.split_whitespace().last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_does_not_hide_the_start() {
        let stat = b"7 (a) 1 (b)) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 250 1 1";
        assert_eq!(started(stat), Some(BootTime::from_ns(2_500_000_000)));
        assert_eq!(started(b"7 (a"), None);
    }

    #[test]
    fn what_becomes_of_a_process_is_seen() {
        let mut shell = std::process::Command::new("sh")
            .args(["-c", "read line; exec sleep 600"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("a shell");
        let process = || Process::look(shell.id(), clocks::boot_time());
        let wait_for = |is_so: &dyn Fn() -> bool| {
            let patience = std::time::Instant::now() + std::time::Duration::from_secs(60);
            while !is_so() && std::time::Instant::now() < patience {
                std::thread::yield_now();
            }
        };
        // Ours until the shell has taken its place.
        wait_for(&|| process().is_ok_and(|p| p.image != process_of_test().image));
        let process = process().expect("the shell");
        assert_eq!(process.fate(), Fate::Runs);
        drop(shell.stdin.take());
        wait_for(&|| process.fate() != Fate::Runs);
        assert_eq!(process.fate(), Fate::RunsAnother);
        shell.kill().expect("killed");
        shell.wait().expect("waited for");
        assert_eq!(process.fate(), Fate::Ended);
    }

    fn process_of_test() -> Process {
        Process::look(std::process::id(), clocks::boot_time()).expect("our own")
    }

    #[test]
    fn the_status_tells_uid_and_inner_pid() {
        let status = b"Name:\tx\nNSpid:\t4242\t7\nUid:\t1\t2\t3\t4\n";
        assert_eq!(
            (nth(status, "Uid:", 1), last(status, "NSpid:")),
            (Some(2), Some(7))
        );
    }

    #[test]
    fn our_own_code_is_found_and_nobody_from_before_the_start() {
        let now = crate::snapshot::clocks::boot_time();
        let pid = std::process::id();
        let process = Process::look(pid, now).expect("our own");
        let address = u64::try_from(started as *const () as usize).expect("64 bits");
        let mapping = crate::symbols::maps::find(&process.mappings, address).expect("code");
        let crate::symbols::maps::Mapped::File {
            device,
            inode,
            path,
            ..
        } = &mapping.of
        else {
            panic!("{mapping:?}");
        };
        process
            .open_mapped(path, *device, *inode)
            .expect("our program");
        // Found by its other name, too.
        process
            .open_mapped(b"/no/such/file", *device, *inode)
            .expect("our program");
        process
            .open_mapped(path, *device, inode + 1)
            .expect_err("another file");
        Process::look(pid, BootTime::from_ns(1)).expect_err("not there at boot");
    }
}
