//! Unwinds a stack by the tables that compilers write for exceptions (`.eh_frame`), or
//! for debuggers (`.debug_frame`).
//!
//! One question is about one file: the way along a stack is followed as far as it leads
//! through that file's code.

use std::{
    io::{Read, Seek},
    ops::Range,
};

use anyhow::{Context, Result, ensure};
use framehop::{
    ExplicitModuleSectionInfo, FrameAddress, Module, Unwinder as _,
    x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64},
};
use object::{Object as _, ObjectSection as _, ObjectSegment as _, ReadCache, ReadRef};

use crate::{
    decode::chain::word,
    symbols::protocol::{MAX_CALLERS, Registers, Walk, Walked},
};

/// The largest table that is read, in bytes: ten times what a browser has.
const MAX_TABLE_BYTES: u64 = 128 << 20;

/// Segments of a file that are looked at.
const MAX_SEGMENTS: usize = 64;

/// What a file says of how its code is unwound.
pub struct Tables {
    unwinder: UnwinderX86_64<Vec<u8>>,
    /// What lies where: offsets in the file, and the address of the first by the file's
    /// own count.
    segments: Vec<(Range<u64>, u64)>,
}

impl Tables {
    /// Reads them out of an ELF file.
    ///
    /// # Errors
    /// Where it is none, or has none.
    pub fn read(file: impl Read + Seek) -> Result<Self> {
        let cache = ReadCache::new(file);
        Self::from_elf(&object::File::parse(&cache)?)
    }

    fn from_elf<'a>(elf: &object::File<'a, impl ReadRef<'a>>) -> Result<Self> {
        ensure!(
            elf.architecture() == object::Architecture::X86_64,
            "code of another machine"
        );
        let segments: Vec<_> = elf
            .segments()
            .take(MAX_SEGMENTS)
            .filter_map(|segment| {
                let (start, len) = segment.file_range();
                Some((start..start.checked_add(len)?, segment.address()))
            })
            .collect();
        let first = segments.iter().map(|(_, address)| *address).min();
        let last = segments.iter().map(|(range, address)| {
            let len = range.end - range.start;
            address.saturating_add(len)
        });
        let code = first.context("no segments")?..last.max().unwrap_or_default();
        let section = |name: &str| {
            let section = elf.section_by_name(name)?;
            let at = section.address();
            let is_small = section.size() <= MAX_TABLE_BYTES;
            let data = is_small.then(|| section.data().ok())??;
            Some((at..at.saturating_add(section.size()), data.to_vec()))
        };
        let place = |name: &str| {
            let section = elf.section_by_name(name)?;
            Some(section.address()..section.address().saturating_add(section.size()))
        };
        let (eh_frame_svma, eh_frame) = section(".eh_frame").unzip();
        let (eh_frame_hdr_svma, eh_frame_hdr) = section(".eh_frame_hdr").unzip();
        let debug_frame = section(".debug_frame").map(|(_, data)| data);
        ensure!(
            eh_frame.is_some() || debug_frame.is_some(),
            "no tables to unwind by"
        );
        let sections = ExplicitModuleSectionInfo {
            base_svma: code.start,
            text_svma: place(".text"),
            got_svma: place(".got"),
            eh_frame_svma,
            eh_frame,
            eh_frame_hdr_svma,
            eh_frame_hdr,
            debug_frame,
            ..ExplicitModuleSectionInfo::default()
        };
        let mut unwinder = UnwinderX86_64::new();
        let start = code.start;
        unwinder.add_module(Module::new(String::new(), code, start, sections));
        Ok(Self { unwinder, segments })
    }

    /// Follows a stack as far as it leads through this file's code.
    #[must_use]
    pub fn walk(&self, walk: &Walk) -> Walked {
        let mut walked = Walked {
            callers: Vec::new(),
            registers: walk.registers,
            is_whole: false,
        };
        // What it remembers of one stack would mislead with the next.
        let mut cache = CacheX86_64::new();
        let mut read = |address| word(&walk.words, walk.from, address).ok_or(());
        while walked.callers.len() < MAX_CALLERS {
            let Registers { ip, sp, fp } = walked.registers;
            let is_innermost = walk.is_innermost && walked.callers.is_empty();
            // A return address may be the first one after the code.
            let inside = if is_innermost { ip } else { ip.wrapping_sub(1) };
            let Some(slide) = self.slide(walk.code, inside) else {
                break;
            };
            let own_ip = ip.wrapping_sub(slide);
            let address = if is_innermost {
                FrameAddress::from_instruction_pointer(own_ip)
            } else {
                let Some(address) = FrameAddress::from_return_address(own_ip) else {
                    break;
                };
                address
            };
            let mut registers = UnwindRegsX86_64::new(own_ip, sp, fp);
            match self
                .unwinder
                .unwind_frame(address, &mut registers, &mut cache, &mut read)
            {
                Ok(Some(caller)) if caller != 0 && registers.sp() > sp => {
                    walked.callers.push(caller);
                    walked.registers = Registers {
                        ip: caller,
                        sp: registers.sp(),
                        fp: registers.bp(),
                    };
                }
                Ok(Some(0) | None) => {
                    walked.is_whole = true;
                    break;
                }
                Ok(Some(_)) | Err(_) => break,
            }
        }
        walked
    }

    /// How far off from the file's own count an address of its code is; `None` where it
    /// is none of its code.
    fn slide(&self, (start, end, offset): (u64, u64, u64), address: u64) -> Option<u64> {
        let within = (start..end)
            .contains(&address)
            .then(|| address - start)?
            .checked_add(offset)?;
        let (segment, own) = self
            .segments
            .iter()
            .find(|(segment, _)| segment.contains(&within))?;
        Some(address.wrapping_sub(own.wrapping_add(within - segment.start)))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Cursor};

    use proptest::prelude::*;

    use super::Tables;
    use crate::symbols::protocol::{MAX_CALLERS, Registers, Walk};

    fn own() -> File {
        File::open("/proc/self/exe").expect("our own program")
    }

    /// A stack in `code`, whose words are these.
    fn walk(code: (u64, u64, u64), ip: u64, words: Vec<u64>) -> Walk {
        Walk {
            registers: Registers {
                ip,
                sp: 0x7000,
                fp: 0x7000,
            },
            is_innermost: true,
            code,
            from: 0x7000,
            words,
        }
    }

    #[test]
    fn what_is_no_program_has_no_tables() {
        for bytes in [&b""[..], b"\x7fELF", &[0xff; 4096]] {
            assert!(Tables::read(Cursor::new(bytes)).is_err());
        }
        assert!(Tables::read(own()).is_ok());
    }

    #[test]
    fn code_of_other_files_is_not_followed() {
        let tables = Tables::read(own()).expect("tables");
        let code = (0x10_0000, 0x20_0000, 0);
        let walked = tables.walk(&walk(code, 0x30_0000, vec![0x10_0010; 64]));
        assert!(walked.callers.is_empty() && !walked.is_whole);
    }

    proptest! {
        /// Whatever is on a stack, the way along it has an end.
        #[test]
        fn no_stack_disturbs(
            words in proptest::collection::vec(
                prop_oneof![any::<u64>(), 0x5000_0000_u64..0x5040_0000, 0x7000_u64..0x9000],
                0..1024,
            ),
            ip in 0x5000_0000_u64..0x5040_0000,
            is_innermost: bool,
        ) {
            thread_local! {
                static TABLES: Tables = Tables::read(own()).expect("tables");
            }
            let code = (0x5000_0000, 0x5040_0000, 0);
            let walk = Walk { is_innermost, ..walk(code, ip, words) };
            let walked = TABLES.with(|tables| tables.walk(&walk));
            prop_assert!(walked.callers.len() <= MAX_CALLERS);
            prop_assert!(walked.registers.sp >= walk.registers.sp);
        }
    }
}
