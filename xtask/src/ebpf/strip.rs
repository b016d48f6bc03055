//! Takes the compiler's debug information out of an object.

use anyhow::{Context as _, Result};
use object::{
    build::elf::{Builder, SectionData},
    elf::SHT_STRTAB,
};

/// Removes the DWARF sections and keeps everything the loader reads, `.BTF` and
/// `.BTF.ext` among it. DWARF is four fifths of the bytes; BTF is made from it,
/// so the build cannot leave it out.
pub(crate) fn strip(object: &[u8]) -> Result<Vec<u8>> {
    let mut elf = Builder::read(object).context("the linker wrote no ELF object")?;
    for section in &mut elf.sections {
        let name = section.name.as_slice();
        let described = name.strip_prefix(b".rel").unwrap_or(name);
        section.delete = described.starts_with(b".debug_");
    }
    elf.delete_orphan_symbols();

    // LLVM names sections and symbols from one table; the writer wants two.
    let names = elf.sections.add();
    names.name = ".shstrtab".into();
    names.sh_type = SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;

    let mut kept = Vec::new();
    elf.write(&mut kept)?;
    Ok(kept)
}
