//! The line table that every Go program carries (`.gopclntab`), however it was
//! stripped: `go test` strips the programs that it runs, and they name their own
//! stacks by it. As `runtime/symtab.go` reads it, of Go 1.18 and newer.
//!
//! Code that was inlined is told as the function that it is in, with its own line.

use std::fs::File;

use anyhow::{Context, Result, ensure};
use object::{Object as _, ObjectSection as _, ObjectSegment as _, ReadCache};

use crate::symbols::protocol::Name;

/// `go118PCLnTabMagic` and `go120PCLnTabMagic`, internal/abi/symtab.go
const MAGIC: [u32; 2] = [0xffff_fff0, 0xffff_fff1];

/// The largest table that is read, in bytes: a program of a million functions.
const MAX_TABLE: u64 = 256 << 20;

/// Steps through one function's lines: more than any function has.
const MAX_STEPS: usize = 1 << 20;

/// Bytes of a name that are looked at.
const MAX_NAME: usize = 4_096;

/// A program's table.
#[derive(Debug)]
pub(super) struct GoTable {
    segments: Vec<Segment>,
    table: Table,
}

#[derive(Debug)]
struct Segment {
    offset: u64,
    size: u64,
    address: u64,
}

impl GoTable {
    /// Reads a program's table.
    ///
    /// # Errors
    /// Where it has none, or one of another kind.
    pub(super) fn read(file: File) -> Result<Self> {
        let cache = ReadCache::new(file);
        let file = object::File::parse(&cache)?;
        let names = [".gopclntab", ".data.rel.ro.gopclntab"];
        let section = names.iter().find_map(|name| file.section_by_name(name));
        let section = section.context("no Go program")?;
        ensure!(
            section.size() <= MAX_TABLE,
            "a table of {} bytes",
            section.size()
        );
        let text = file
            .section_by_name(".text")
            .map_or(0, |text| text.address());
        let segments = file.segments().map(|segment| {
            let (offset, size) = segment.file_range();
            let address = segment.address();
            Segment {
                offset,
                size,
                address,
            }
        });
        Ok(Self {
            segments: segments.collect(),
            table: Table::new(section.data()?.to_vec(), text).context("an unknown table")?,
        })
    }

    /// The function at an offset in the file, if there is one.
    pub(super) fn name(&self, offset: u64) -> Option<Name> {
        let is_in = |segment: &&Segment| (offset.checked_sub(segment.offset)) < Some(segment.size);
        let holds = |segment: &&Segment| offset >= segment.offset && is_in(segment);
        let segment = self.segments.iter().find(holds)?;
        self.table
            .name(segment.address.wrapping_add(offset - segment.offset))
    }
}

/// The table itself. Every number in it may be wrong.
#[derive(Debug)]
struct Table {
    bytes: Vec<u8>,
    /// Where code begins.
    text: u64,
    /// Code is made of pieces of so many bytes.
    quantum: u64,
    functions: usize,
    /// Where its parts are.
    names: usize,
    units: usize,
    files: usize,
    values: usize,
    index: usize,
}

impl Table {
    fn new(bytes: Vec<u8>, text: u64) -> Option<Self> {
        let word = |at: usize| u32_at(&bytes, at);
        let is_known = MAGIC.contains(&word(0)?) && *bytes.get(7)? == 8;
        let header = |nth: usize| {
            let part = bytes.get(8 + nth * 8..16 + nth * 8)?;
            Some(u64::from_le_bytes(part.try_into().ok()?))
        };
        let part = |nth| usize::try_from(header(nth)?).ok();
        // In a program that may be loaded anywhere it is filled in at the start.
        let start = header(2)?;
        is_known.then_some(())?;
        Some(Self {
            text: if start == 0 { text } else { start },
            quantum: (*bytes.get(6)?).into(),
            functions: part(0)?,
            names: part(3)?,
            units: part(4)?,
            files: part(5)?,
            values: part(6)?,
            index: part(7)?,
            bytes,
        })
    }

    fn word(&self, at: usize) -> Option<u32> {
        u32_at(&self.bytes, at)
    }

    /// Where a function begins, from the start of the code.
    fn entry(&self, nth: usize) -> Option<u32> {
        self.word(self.index.checked_add(nth.checked_mul(8)?)?)
    }

    fn name(&self, address: u64) -> Option<Name> {
        let pc = u32::try_from(address.checked_sub(self.text)?).ok()?;
        let (mut low, mut high) = (0, self.functions);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.entry(middle)? <= pc {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        // The entry after the last is the end of the code.
        if pc >= self.entry(low)? {
            return None;
        }
        let nth = low.checked_sub(1)?;
        let entry = self.entry(nth)?;
        let function = self.word(self.index + nth * 8 + 4)?;
        let function = self.index.checked_add(usize::try_from(function).ok()?)?;
        let field = |nth: usize| self.word(function.checked_add(nth * 4)?);
        let name = self.text_at(self.names, field(1)?)?;
        let line = self.value(field(6)?, entry, pc);
        let file = || {
            let nth = u32::try_from(self.value(field(5)?, entry, pc)?).ok()?;
            let nth = usize::try_from(field(8)?.checked_add(nth)?).ok()?;
            let at = self.units.checked_add(nth.checked_mul(4)?)?;
            self.text_at(self.files, self.word(at)?)
        };
        let file = file();
        Some(Name {
            function: name,
            offset: Some(u64::from(pc - entry)),
            line: line.and_then(|line| u32::try_from(line).ok()),
            file: file.map(|file| file.rsplit('/').next().unwrap_or_default().to_owned()),
        })
    }

    fn text_at(&self, part: usize, offset: u32) -> Option<String> {
        let start = part.checked_add(usize::try_from(offset).ok()?)?;
        let text = self.bytes.get(start..)?;
        let len = text.iter().take(MAX_NAME).position(|&byte| byte == 0)?;
        Some(String::from_utf8_lossy(&text[..len]).into_owned())
    }

    /// A value that changes along a function: pairs of what is added to it, and after
    /// how many bytes of code (`runtime.pcvalue`).
    fn value(&self, offset: u32, entry: u32, pc: u32) -> Option<i64> {
        let mut at = self.values.checked_add(usize::try_from(offset).ok()?)?;
        let (mut value, mut end) = (-1_i64, u64::from(entry));
        for step in 0..MAX_STEPS {
            let change = self.varint(&mut at)?;
            if change == 0 && step > 0 {
                return None;
            }
            let half = i64::from(change >> 1);
            value += if change & 1 == 1 { !half } else { half };
            end += u64::from(self.varint(&mut at)?) * self.quantum;
            if u64::from(pc) < end {
                return Some(value);
            }
        }
        None
    }

    fn varint(&self, at: &mut usize) -> Option<u32> {
        let mut value = 0_u32;
        for shift in (0..32).step_by(7) {
            let byte = *self.bytes.get(*at)?;
            *at += 1;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(word.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{MAGIC, Table};

    /// Two functions, `main.f` of 16 bytes and `main.g` of 32 at 0x1000, in `/src/a.go`:
    /// line 7, and from the ninth byte on line 9.
    fn table() -> Vec<u8> {
        let names = b"main.f\0main.g\0";
        let files = b"/src/a.go\0";
        // The file's number is 0: -1 + 1. Lines: -1 + 8 for 8 bytes, then + 2.
        let values = [2, 64, 0, 16, 8, 4, 40, 0];
        let mut parts = vec![0_u8; 72];
        let mut put = |bytes: &[u8]| {
            let at = parts.len() as u64;
            parts.extend(bytes);
            at
        };
        let names = put(names);
        let units = put(&0_u32.to_le_bytes());
        let files = put(files);
        let values = put(&values);
        let function = |entry: u32, name: u32| {
            [entry, name, 0, 0, 0, 0, 3, 0, 0]
                .map(u32::to_le_bytes)
                .concat()
        };
        let index = [0, 20, 16, 56, 48].map(u32::to_le_bytes).concat();
        let index = put(&index);
        put(&function(0, 0));
        put(&function(16, 7));
        parts[..4].copy_from_slice(&MAGIC[1].to_le_bytes());
        parts[6..8].copy_from_slice(&[1, 8]);
        let header = [2, 1, 0x1000, names, units, files, values, index];
        parts[8..].as_chunks_mut::<8>().0[..8].copy_from_slice(&header.map(u64::to_le_bytes));
        parts
    }

    fn name(table: &Table, address: u64) -> String {
        table.name(address).map_or_else(String::new, |name| {
            let (file, line) = (name.file.unwrap_or_default(), name.line.unwrap_or(0));
            format!(
                "{}+{} {file}:{line}",
                name.function,
                name.offset.unwrap_or(0)
            )
        })
    }

    #[test]
    fn functions_have_names_and_lines() {
        let table = Table::new(table(), 0).expect("a table");
        assert_eq!(name(&table, 0x1000), "main.f+0 a.go:7");
        assert_eq!(name(&table, 0x1008), "main.f+8 a.go:9");
        assert_eq!(name(&table, 0x1010), "main.g+0 a.go:7");
        assert_eq!(name(&table, 0x102f), "main.g+31 a.go:9");
        assert_eq!(name(&table, 0x1030), "");
        assert_eq!(name(&table, 0xfff), "");
    }

    proptest! {
        #[test]
        fn a_damaged_table_names_what_it_may(at in 0_usize..200, byte: u8, address in 0xf00_u64..0x1100) {
            let mut bytes = table();
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            if let Some(table) = Table::new(bytes, 0) {
                let _ = table.name(address);
            }
        }

        #[test]
        fn garbage_is_no_reason_to_fail(mut bytes in prop::collection::vec(any::<u8>(), 0..300), address: u64) {
            if let Some(magic) = bytes.get_mut(..4) {
                magic.copy_from_slice(&MAGIC[0].to_le_bytes());
            }
            if let Some(table) = Table::new(bytes, 0) {
                let _ = table.name(address);
            }
        }
    }
}
