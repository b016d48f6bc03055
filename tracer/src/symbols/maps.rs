//! What lies where in a process: /proc/PID/maps. Pure.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

/// Executable mappings that are kept of one process; past this addresses have no
/// name.
const MAX_MAPPINGS: usize = 16_384;

/// Executable memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    /// First address.
    pub(super) start: u64,
    /// The first one after it.
    pub(super) end: u64,
    /// What is mapped.
    pub(super) of: Mapped,
}

/// What executable memory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mapped {
    /// A file.
    File {
        /// Offset of the first byte in it.
        offset: u64,
        /// Device of its file system: major, minor.
        device: (u32, u32),
        /// Inode number.
        inode: u64,
        /// Its path, as the process sees it; escaped by the kernel.
        path: Vec<u8>,
    },
    /// Code that the process made, such as a just-in-time compiler's.
    Made,
    /// The kernel's own, such as `[vdso]`.
    Kernel(Vec<u8>),
}

/// The executable mappings, by address. Lines that cannot be read are left out.
#[must_use]
pub(super) fn parse(text: &[u8]) -> Vec<Mapping> {
    text.split(|&b| b == b'\n')
        .filter_map(line)
        .take(MAX_MAPPINGS)
        .collect()
}

/// The mapping that holds an address.
#[must_use]
pub(super) fn find(mappings: &[Mapping], address: u64) -> Option<&Mapping> {
    let next = mappings.partition_point(|mapping| mapping.start <= address);
    let mapping = mappings.get(next.checked_sub(1)?)?;
    (address < mapping.end).then_some(mapping)
}

/// `55d4b2000000-55d4b2021000 r-xp 00002000 08:01 1048602    /usr/bin/x`
fn line(line: &[u8]) -> Option<Mapping> {
    // The path begins where the sixth field does, and may hold blanks.
    let mut fields = line.splitn(6, |&b| b == b' ');
    let mut field = || std::str::from_utf8(fields.next()?).ok();
    let hex = |text| u64::from_str_radix(text, 16).ok();
    let (start, end) = field()?.split_once('-')?;
    let (start, end) = (hex(start)?, hex(end)?);
    let rights = field()?;
    if rights.as_bytes().get(2) != Some(&b'x') || start >= end {
        return None;
    }
    let offset = hex(field()?)?;
    let (major, minor) = field()?.split_once(':')?;
    let device = (
        u32::from_str_radix(major, 16).ok()?,
        u32::from_str_radix(minor, 16).ok()?,
    );
    let inode: u64 = field()?.parse().ok()?;
    let path = fields.next().unwrap_or_default().trim_ascii_start();
    let of = match path {
        [b'[', ..] if path != b"[heap]" && path != b"[stack]" && !path.starts_with(b"[anon:") => {
            Mapped::Kernel(path.to_vec())
        }
        [b'/', ..]
            if inode != 0 && !path.starts_with(b"/memfd:") && !path.starts_with(b"/dev/zero") =>
        {
            Mapped::File {
                offset,
                device,
                inode,
                path: unescaped(path),
            }
        }
        _ => Mapped::Made,
    };
    Some(Mapping { start, end, of })
}

/// The kernel writes a line feed in a path as `\012` (`seq_path`).
fn unescaped(path: &[u8]) -> Vec<u8> {
    const LINE_FEED: &[u8] = b"\\012";
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&first, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(LINE_FEED) {
            plain.push(b'\n');
            rest = after;
        } else {
            plain.push(first);
            rest = after;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &[u8] = b"\
00400000-00401000 r--p 00000000 08:01 77 /opt/a b\\012c
00401000-00405000 r-xp 00001000 08:01 77 /opt/a b\\012c
7f0000000000-7f0000010000 rwxp 00000000 00:00 0 \n7f0000020000-7f0000030000 r-xp 00000000 00:01 9 /memfd:doublemapper (deleted)
7ffc00000000-7ffc00001000 r-xp 00000000 00:00 0                          [vdso]
nonsense
";

    #[test]
    fn executable_memory_is_found_by_address() {
        let mappings = parse(TEXT);
        assert_eq!(mappings.len(), 4);
        let found = find(&mappings, 0x401_010).expect("code of a file");
        let path = b"/opt/a b\nc".to_vec();
        let (offset, device, inode) = (0x1000, (8, 1), 77);
        assert_eq!(
            found.of,
            Mapped::File {
                offset,
                device,
                inode,
                path
            }
        );
        assert_eq!(find(&mappings, 0x400_010), None);
        assert_eq!(find(&mappings, 0x405_000), None);
        assert_eq!(
            find(&mappings, 0x7f00_0000_0010).map(|m| &m.of),
            Some(&Mapped::Made)
        );
        assert_eq!(
            find(&mappings, 0x7f00_0002_0010).map(|m| &m.of),
            Some(&Mapped::Made)
        );
        let vdso = Mapped::Kernel(b"[vdso]".to_vec());
        assert_eq!(
            find(&mappings, 0x7ffc_0000_0000).map(|m| &m.of),
            Some(&vdso)
        );
    }

    proptest! {
        #[test]
        fn no_text_disturbs(text in proptest::collection::vec(any::<u8>(), 0..400), address: u64) {
            let _ = find(&parse(&text), address);
        }

        #[test]
        fn no_line_disturbs(text in "[0-9a-f -]{0,20}r-xp [0-9a-f: /\\\\]{0,40}") {
            let _ = parse(text.as_bytes());
        }
    }
}
