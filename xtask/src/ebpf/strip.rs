//! Takes out of an object what nobody loads, and what differs between machines.

use anyhow::{Context as _, Result};
use object::{
    build::elf::{Builder, SectionData},
    elf::SHT_STRTAB,
};

/// Removes the DWARF sections and keeps everything the loader reads, `.BTF` and
/// `.BTF.ext` among it. DWARF is four fifths of the bytes; BTF is made from it,
/// so the build cannot leave it out.
///
/// Names functions as their sources do: a mangled name has a hash in it of where
/// the repository is, as `tracer-common` is outside the workspace of `tracer-ebpf`.
pub(crate) fn strip(object: &[u8]) -> Result<Vec<u8>> {
    let mut elf = Builder::read(object).context("the linker wrote no ELF object")?;
    for section in &mut elf.sections {
        let name = section.name.as_slice();
        let described = name.strip_prefix(b".rel").unwrap_or(name);
        section.delete = described.starts_with(b".debug_");
    }
    elf.delete_orphan_symbols();
    for symbol in &mut elf.symbols {
        symbol.name = without_hash(symbol.name.as_slice()).into();
    }

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

/// A symbol's `name` without the compiler's mangling, if it has any.
fn without_hash(name: &[u8]) -> Vec<u8> {
    let demangled = str::from_utf8(name)
        .ok()
        .and_then(|name| rustc_demangle::try_demangle(name).ok());
    match demangled {
        // The alternate form is the one that leaves hashes out.
        Some(demangled) => format!("{demangled:#}").into_bytes(),
        None => name.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::without_hash;

    #[test]
    fn a_name_says_nothing_of_where_it_was_built() {
        let built = |place: &str| format!("_RNvNtCs{place}_11tracer_ebpf5hooks6accept");
        for place in ["j6grAcIXYN1", "iMKY7W2mgv7"] {
            let name = without_hash(built(place).as_bytes());
            assert_eq!(name, b"tracer_ebpf::hooks::accept");
        }
        assert_eq!(without_hash(b"tcp_close"), b"tcp_close");
    }
}
