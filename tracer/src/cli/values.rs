//! Values of flags: text in, checked value or one clear line out.

use std::{fs, net::IpAddr, os::unix::fs::MetadataExt, path::PathBuf, time::Duration};

use anyhow::{Result, bail};
use bytesize::ByteSize;
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp, ToSpan as _, civil::Time, tz::TimeZone};
use nix::sys::statfs::{NSFS_MAGIC, statfs};

use crate::load;

/// A snapshot takes about as long.
const SHORTEST: Duration = Duration::from_millis(100);
/// A file of a recording holds a few blocks at least.
const MIN_FILE: u64 = 1 << 20;
/// One snapshot in five seconds takes as much of a large host.
const MIN_PERCENT: f64 = 0.1;
/// Longer watches are what a recording is for.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// `30s`, `5m`, `1h30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let span: SignedDuration = text
        .parse()
        .map_err(|_| "not a duration; write it like 30s, 5m or 1h30m".to_owned())?;
    match Duration::try_from(span) {
        Ok(span) if span < SHORTEST => Err("too short; watch for 100ms or longer".to_owned()),
        Ok(span) if span > LONGEST => Err("longer than 30 days; choose a shorter watch".to_owned()),
        Ok(span) => Ok(span),
        Err(_) => Err("must not be negative; write it like 30s, 5m or 1h30m".to_owned()),
    }
}

/// `250ms`, `2s`, `0s`.
pub(super) fn grace(text: &str) -> Result<Duration, String> {
    let span: SignedDuration = text
        .parse()
        .map_err(|_| "not a duration; write it like 250ms, 2s or 1m".to_owned())?;
    Duration::try_from(span)
        .map_err(|_| "must not be negative; write it like 250ms, 2s or 1m".to_owned())
}

/// `10.0.0.0/8`, `2001:db8::1`.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| {
            "not an address or network; write it like 10.0.0.0/8 or 2001:db8::1".to_owned()
        })
}

/// A name of `ip netns`, a path, or an inode number.
pub(super) fn netns(text: &str) -> Result<u32, String> {
    if let Ok(inode) = text.parse::<u32>() {
        // The kernel side takes 0 for any.
        return if inode == 0 {
            Err("no network namespace has the inode number 0".to_owned())
        } else {
            Ok(inode)
        };
    }
    let path = if text.contains('/') {
        PathBuf::from(text)
    } else {
        PathBuf::from("/run/netns").join(text)
    };
    let unknown = |error| {
        format!("no such network namespace ({error}); `ip netns list` shows the named ones")
    };
    let not_one = || "not a network namespace; a path looks like /proc/PID/ns/net".to_owned();
    let metadata = fs::metadata(&path).map_err(unknown)?;
    let kind = statfs(&path).map_err(|errno| unknown(errno.into()))?;
    if kind.filesystem_type() != NSFS_MAGIC {
        return Err(not_one());
    }
    u32::try_from(metadata.ino()).map_err(|_| not_one())
}

/// `8MiB`.
pub(super) fn ring_bytes(text: &str) -> Result<u32, String> {
    let wrong = "must be a power of two from 64KiB to 1GiB, such as 8MiB";
    let size: ByteSize = text.parse().map_err(|_| wrong.to_owned())?;
    load::check_ring_bytes(size.as_u64()).ok_or_else(|| wrong.to_owned())
}

/// `20`, `0.5`.
pub(super) fn percent(text: &str) -> Result<f64, String> {
    let percent = text.trim_end_matches('%').parse().ok();
    percent
        .filter(|percent| (MIN_PERCENT..=100.0).contains(percent))
        .ok_or_else(|| format!("must be a number from {MIN_PERCENT} to 100, such as 5"))
}

/// `2026-11-25T03:12:00Z`, or `03:12:00` UTC: the first from `from` on.
pub(super) fn instant(text: &str, from: Timestamp) -> Result<Timestamp> {
    if let Ok(instant) = text.parse() {
        return Ok(instant);
    }
    let Ok(time) = text.parse::<Time>() else {
        bail!("--at {text}: write it like 2026-11-25T03:12:00Z, or 03:12:00 (UTC)");
    };
    let begins = from.to_zoned(TimeZone::UTC).datetime();
    let on = begins.date().to_datetime(time);
    // A recording that begins at 10:00:00.5 has 10:00:00 on its first day.
    let is_before = on < begins && begins.duration_since(on) >= SignedDuration::from_secs(1);
    let on = if is_before {
        on.checked_add(1.day())?
    } else {
        on
    };
    Ok(on.to_zoned(TimeZone::UTC)?.timestamp().max(from))
}

/// `100MiB`.
pub(super) fn file_size(text: &str) -> Result<u64, String> {
    let size = text.parse().ok().map(|size: ByteSize| size.as_u64());
    size.filter(|&size| size >= MIN_FILE)
        .ok_or_else(|| "must be a size of 1MiB or more, such as 100MiB or 2GB".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{duration, grace, netns, network, ring_bytes};

    #[test]
    fn durations() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "30", "abc", "-5s", "0s", "99999h", "1y"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn grace_may_be_none() {
        assert_eq!(grace("0s"), Ok(Duration::ZERO));
        assert_eq!(grace("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "30", "abc", "-5s", "1y"] {
            assert!(grace(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn networks() {
        assert!(network("10.0.0.0/8").is_ok());
        assert!(network("10.0.0.1").is_ok_and(|net| net.prefix_len() == 32));
        assert!(network("::1").is_ok_and(|net| net.prefix_len() == 128));
        for wrong in ["10.0.0.0/33", "10.0.0", "host", ""] {
            assert!(network(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn network_namespaces() {
        assert!(netns("/proc/self/ns/net").is_ok_and(|inode| inode > 0));
        assert_eq!(netns("4026531840"), Ok(4_026_531_840));
        for wrong in ["0", "/proc/self/status", "/nonexistent", "4294967296", ""] {
            assert!(netns(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ring_sizes() {
        assert_eq!(ring_bytes("8MiB"), Ok(8 << 20));
        assert_eq!(ring_bytes("65536"), Ok(64 << 10));
        for wrong in ["8MB", "1KiB", "3MiB", "2GiB", "x", ""] {
            assert!(ring_bytes(wrong).is_err(), "{wrong}");
        }
    }
}
