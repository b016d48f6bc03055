//! What a program runs on, from its file's name and, where that tells nothing, from the
//! sections of its executable. I/O.
//!
//! The executable is whatever the process chose to run: little of it is read, and no
//! more than its headers say there is. A file system that never answers costs half a
//! second, once.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use object::{
    LittleEndian as Le,
    elf::{ELFCLASS64, ELFDATA2LSB, ELFMAG, FileHeader64, SectionHeader64},
    pod,
};

use crate::diagnosis::runtime::Runtime;

/// Programs that are known by their file's name, or by how it begins.
const NAMES: [(&str, Runtime); 9] = [
    ("java", Runtime::Java),
    ("python", Runtime::Python),
    ("pypy", Runtime::Python),
    ("uwsgi", Runtime::Python),
    ("node", Runtime::Node),
    ("nginx", Runtime::Nginx),
    ("openresty", Runtime::Nginx),
    ("angie", Runtime::Nginx),
    ("haproxy", Runtime::Haproxy),
];

/// Sections looked at: no linker makes as many.
const MAX_SECTIONS: usize = 512;

/// Bytes of section names, and of the compiler's note, that are read.
const MAX_BYTES: usize = 64 << 10;

/// How long a file system may take.
const PATIENCE: Duration = Duration::from_millis(500);

/// Set once one took longer: no other file is looked at.
static HANGS: AtomicBool = AtomicBool::new(false);

/// What `pid` runs on; `path` is its executable's. Its name it may have chosen
/// itself, so that is not asked.
#[must_use]
pub fn of(pid: u32, path: Option<&str>) -> Runtime {
    let file = path.and_then(|path| path.rsplit('/').next());
    let named = file.and_then(by_name);
    named.unwrap_or_else(|| patiently(pid))
}

/// By a name alone: "python3.11", "nodejs", "java (deleted)".
fn by_name(name: &str) -> Option<Runtime> {
    NAMES.iter().find_map(|&(start, runtime)| {
        let rest = name.strip_prefix(start)?;
        // Not "nodeinfo" or "node_exporter".
        let ends = rest.starts_with(|c: char| c.is_ascii_digit() || c == ' ');
        (rest.is_empty() || rest == "js" || ends).then_some(runtime)
    })
}

/// Reads on a thread of its own, which may hang.
fn patiently(pid: u32) -> Runtime {
    if HANGS.load(Ordering::Relaxed) {
        return Runtime::Unknown;
    }
    let (tell, told) = mpsc::channel();
    let path = format!("/proc/{pid}/exe");
    thread::spawn(move || {
        let runtime = File::open(path).and_then(|file| by_sections(&file));
        let _ = tell.send(runtime.unwrap_or(Runtime::Unknown));
    });
    told.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        HANGS.store(true, Ordering::Relaxed);
        Runtime::Unknown
    })
}

/// By the sections that a compiler leaves: Go's `.go.buildinfo`, and what rustc
/// writes into `.comment`.
fn by_sections(file: &File) -> io::Result<Runtime> {
    let mut header = [0; size_of::<FileHeader64<Le>>()];
    file.read_exact_at(&mut header, 0)?;
    let (header, _) = pod::from_bytes::<FileHeader64<Le>>(&header).map_err(|()| damaged())?;
    let ident = header.e_ident;
    if ident.magic != ELFMAG || ident.class != ELFCLASS64 || ident.data != ELFDATA2LSB {
        return Err(damaged());
    }
    let size = size_of::<SectionHeader64<Le>>();
    let count = usize::from(header.e_shnum.get(Le));
    if count > MAX_SECTIONS || usize::from(header.e_shentsize.get(Le)) != size {
        return Err(damaged());
    }
    let mut table = vec![0; count * size];
    file.read_exact_at(&mut table, header.e_shoff.get(Le))?;
    let (sections, _) =
        pod::slice_from_bytes::<SectionHeader64<Le>>(&table, count).map_err(|()| damaged())?;
    let names = usize::from(header.e_shstrndx.get(Le));
    let names = content(file, sections.get(names).ok_or_else(damaged)?)?;
    let named = |wanted: &[u8]| {
        sections.iter().find(|section| {
            let at = usize::try_from(section.sh_name.get(Le)).unwrap_or(usize::MAX);
            let rest = names.get(at..).unwrap_or_default();
            rest.split(|&byte| byte == 0).next() == Some(wanted)
        })
    };
    if named(b".go.buildinfo").is_some() {
        return Ok(Runtime::Go);
    }
    let Some(comment) = named(b".comment") else {
        return Ok(Runtime::Unknown);
    };
    let comment = content(file, comment)?;
    let is_rust = comment.windows(5).any(|window| window == b"rustc");
    Ok(if is_rust {
        Runtime::Rust
    } else {
        Runtime::Unknown
    })
}

/// A section's bytes, as far as they are read.
fn content(file: &File, section: &SectionHeader64<Le>) -> io::Result<Vec<u8>> {
    let size = usize::try_from(section.sh_size.get(Le)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; size.min(MAX_BYTES)];
    file.read_exact_at(&mut bytes, section.sh_offset.get(Le))?;
    Ok(bytes)
}

fn damaged() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

#[cfg(test)]
mod tests {
    use std::{env, fs::File, io::Write};

    use super::{by_name, by_sections, of};
    use crate::diagnosis::runtime::Runtime;

    #[test]
    fn names_tell_most() {
        let cases = [
            ("python3.11", Some(Runtime::Python)),
            ("python", Some(Runtime::Python)),
            ("java", Some(Runtime::Java)),
            ("nodejs", Some(Runtime::Node)),
            ("node", Some(Runtime::Node)),
            ("node20", Some(Runtime::Node)),
            ("haproxy", Some(Runtime::Haproxy)),
            ("java (deleted)", Some(Runtime::Java)),
            ("node_exporter", None),
            ("nodeinfo", None),
            ("javascriptd", None),
            ("curl", None),
            ("", None),
        ];
        for (name, runtime) in cases {
            assert_eq!(by_name(name), runtime, "{name}");
        }
    }

    #[test]
    fn this_test_is_written_in_rust() {
        let own = env::current_exe().expect("a path");
        let file = File::open(own).expect("readable");
        assert_eq!(by_sections(&file).ok(), Some(Runtime::Rust));
        assert_eq!(of(std::process::id(), None), Runtime::Rust);
        assert_eq!(of(u32::MAX, None), Runtime::Unknown);
    }

    #[test]
    fn a_damaged_executable_tells_nothing() {
        let own = std::fs::read(env::current_exe().expect("a path")).expect("readable");
        let path = env::temp_dir().join(format!("tcpleak-elf-{}", std::process::id()));
        let read = |bytes: &[u8], sparse: Option<u64>| {
            let mut file = File::create(&path).expect("a file");
            file.write_all(bytes).expect("written");
            if let Some(size) = sparse {
                file.set_len(size).expect("sparse");
            }
            by_sections(&File::open(&path).expect("a file"))
        };
        for length in [0, 3, 63, 64, 1_000] {
            assert!(read(&own[..length], None).is_err(), "{length} bytes");
        }
        // Sections that lie beyond the end, at the very end, or are huge.
        for at in [40, 58, 60, 62] {
            let mut lying = own[..4_096].to_vec();
            lying[at..at + 2].copy_from_slice(&[0xff, 0xff]);
            assert!(read(&lying, None).is_err(), "at {at}");
            // Of holes no more is read than of a real file.
            let _ = read(&lying, Some(2 << 30));
        }
        std::fs::remove_file(&path).expect("removed");
    }
}
