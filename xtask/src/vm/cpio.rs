//! Archives that the kernel unpacks as its first file system.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::command::step;

/// Packs `files`, which are relative to `root`, with their directories. In the
/// archive they are root's; where one is a link, it is what the link leads to.
pub(crate) fn pack(root: &Path, files: &BTreeSet<PathBuf>, to: &Path) -> Result<()> {
    step(format_args!(
        "{}: {} files of {}",
        to.display(),
        files.len(),
        root.display()
    ));
    // Directories come before what is in them.
    let mut names = BTreeSet::new();
    for file in files {
        names.extend(file.ancestors().filter(|path| *path != Path::new("")));
    }
    let mut cpio = Command::new("cpio")
        .args(["--create", "--format=newc", "--null", "--quiet"])
        .args(["--dereference", "--owner=0:0", "--file"])
        .arg(to)
        .current_dir(root)
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot start cpio")?;
    let mut stdin = cpio.stdin.take().context("cpio has no input")?;
    for name in names {
        stdin.write_all(name.as_os_str().as_bytes())?;
        stdin.write_all(b"\0")?;
    }
    drop(stdin);
    if !cpio.wait()?.success() {
        bail!("cpio could not pack {}", to.display());
    }
    Ok(())
}

/// All files below `folder` but those in folders that `leave_out` names, with
/// their whole paths. Links that lead nowhere are none.
pub(crate) fn files_below(
    folder: &Path,
    leave_out: impl Fn(&str) -> bool,
) -> Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        let entries = fs::read_dir(&next);
        for entry in entries.with_context(|| format!("cannot read {}", next.display()))? {
            let entry = entry?;
            let path = entry.path();
            if path.is_file() {
                files.insert(path);
            } else if path.is_dir() && !leave_out(&entry.file_name().to_string_lossy()) {
                folders.push(path);
            }
        }
    }
    Ok(files)
}

/// The same paths relative to `root`; those elsewhere are an error.
pub(crate) fn relative(files: &BTreeSet<PathBuf>, root: &Path) -> Result<BTreeSet<PathBuf>> {
    let relative = |file: &PathBuf| {
        let path = file.strip_prefix(root).map(Path::to_path_buf);
        path.with_context(|| format!("{} is not in {}", file.display(), root.display()))
    };
    files.iter().map(relative).collect()
}
