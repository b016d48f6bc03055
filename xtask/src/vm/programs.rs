//! Programs of this machine that the guest runs, with all that they load.

use std::{
    collections::BTreeSet,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::cpio::files_below;
use crate::{command, place, test};

/// Besides [`test::TOOLS`], what the tests, their programs and `init.sh` start.
/// Those with a path are looked for by it in the guest, too.
const PROGRAMS: [&str; 20] = [
    "/bin/sh",
    "/sbin/modprobe",
    "/usr/bin/python3",
    "/usr/sbin/nginx",
    "cat",
    "chmod",
    "cp",
    "mkdir",
    "mkfifo",
    "mount",
    "mountpoint",
    "prlimit",
    "rm",
    "setpriv",
    "sleep",
    "ss",
    "stty",
    "umount",
    "uname",
    "unshare",
];

/// Data that they read: users and groups.
const DATA: [&str; 2] = ["/etc/passwd", "/etc/group"];

/// All files that the guest needs of this machine, and those that `ours` load.
pub(crate) fn files(ours: &[&Path]) -> Result<BTreeSet<PathBuf>> {
    let tools = test::TOOLS.map(|(program, _)| program);
    let mut files = BTreeSet::new();
    for program in PROGRAMS.into_iter().chain(tools) {
        // Python by its path only: the first in PATH may be a version manager's.
        if program == "python3" {
            continue;
        }
        let file = place::find(program);
        files.insert(file.with_context(|| format!("there is no program {program}"))?);
    }
    files.extend(python_library()?);
    files.extend(DATA.map(PathBuf::from));
    let mut loaded = BTreeSet::new();
    for file in files
        .iter()
        .map(PathBuf::as_path)
        .chain(ours.iter().copied())
    {
        if is_elf(file) {
            loaded.extend(libraries(file)?);
        }
    }
    files.extend(loaded);
    Ok(files)
}

/// Python's standard library, without what embeds Python or tests it.
fn python_library() -> Result<BTreeSet<PathBuf>> {
    let mut python = Command::new("/usr/bin/python3");
    python.args([
        "-c",
        "import sysconfig; print(sysconfig.get_path('stdlib'))",
    ]);
    let folder = command::output(&mut python)?;
    files_below(Path::new(folder.trim_end()), |name| {
        name.starts_with("config-") || name == "test"
    })
}

/// The shared libraries that `file` loads, and what loads them.
fn libraries(file: &Path) -> Result<BTreeSet<PathBuf>> {
    // It fails on a static program, which needs none.
    let text = Command::new("ldd").arg(file).output()?.stdout;
    let text = String::from_utf8_lossy(&text);
    if let Some(line) = text.lines().find(|line| line.contains("not found")) {
        bail!("{} lacks a library: {}", file.display(), line.trim());
    }
    // `NAME => /PATH (ADDRESS)`, and for the loader `/PATH (ADDRESS)`.
    let words = text.lines().flat_map(str::split_whitespace);
    Ok(words
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect())
}

fn is_elf(file: &Path) -> bool {
    let mut magic = [0; 4];
    File::open(file)
        .and_then(|mut file| file.read_exact(&mut magic))
        .is_ok_and(|()| &magic == b"\x7fELF")
}
