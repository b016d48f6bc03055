//! The guest's files: an initramfs of three archives, one after the other. The
//! first holds programs of this machine at their own places, the second what we
//! make, the third the kernel's modules.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::kernel::Files;
use crate::{
    command::{self, step},
    place,
};

/// What the tests, their programs and `init.sh` start; with its path, where it is
/// looked for there and nowhere else.
const PROGRAMS: [&str; 34] = [
    "/bin/sh",
    "cat",
    "chmod",
    "cp",
    "echo",
    "ls",
    "mkdir",
    "mknod",
    "rm",
    "sleep",
    "stty",
    "true",
    "uname",
    "mount",
    "mountpoint",
    "umount",
    "unshare",
    "nsenter",
    "setpriv",
    "kill",
    "ip",
    "ss",
    "nft",
    "/sbin/modprobe",
    "/usr/sbin/nginx",
    "curl",
    "/usr/bin/python3",
    "bpftool",
    "setcap",
    "getcap",
    "ps",
    "sysctl",
    "strace",
    "env",
];

/// Data that these programs read.
const DATA: [&str; 3] = ["etc/passwd", "etc/group", "usr/lib/locale/C.utf8"];

/// Modules of the kernel that the tests need, which the kernel asks for by itself
/// as on any host.
const MODULES: [&str; 10] = [
    "inet_diag",
    "tcp_diag",
    "udp_diag",
    "unix_diag",
    "netlink_diag",
    "mptcp_diag",
    "nf_tables",
    "nft_compat",
    "veth",
    "overlay",
];

/// The part that is the same for all kernels.
pub(crate) struct Base {
    /// The first archive, then the second.
    archives: [PathBuf; 2],
}

/// What the second archive is made of.
pub(crate) struct Own<'a> {
    /// The built `tcpleak`
    pub(crate) tcpleak: &'a Path,
    /// The built tests
    pub(crate) e2e: &'a Path,
}

impl Base {
    /// Packs it below `work`.
    pub(crate) fn pack(work: &Path, own: &Own<'_>) -> Result<Self> {
        let package = place::root().join("tracer");
        let staged = work.join("own");
        let _ = fs::remove_dir_all(&staged);
        fs::create_dir_all(staged.join("vm"))?;
        let init = staged.join("init");
        fs::write(&init, include_str!("init.sh"))?;
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
        // A guest's memory is better used than for what debuggers want.
        for (name, built) in [("tcpleak", own.tcpleak), ("e2e", own.e2e)] {
            let mut strip = Command::new("strip");
            strip.arg("-o").arg(staged.join("vm").join(name)).arg(built);
            command::run(&mut strip)?;
        }
        let environment = format!(
            "export CARGO_MANIFEST_DIR='{}' TCPLEAK_BIN=/vm/tcpleak E2E=/vm/e2e\n",
            package.display()
        );
        fs::write(staged.join("vm/environment"), environment)?;
        let own_archive = work.join("own.cpio");
        pack(&staged, files_below(&staged)?, &own_archive)?;

        let mut files = BTreeSet::new();
        for program in PROGRAMS {
            let found = place::find(program);
            files.insert(found.with_context(|| format!("there is no program {program}"))?);
        }
        let python = python_library()?;
        files.extend(
            files_below(&python)?
                .into_iter()
                .map(|file| python.join(file)),
        );
        let ours = [own.tcpleak, own.e2e].map(Path::to_path_buf);
        let libraries = libraries(files.iter().chain(&ours))?;
        files.extend(libraries);
        let programs = package.join("tests/e2e/programs");
        files.extend(
            files_below(&programs)?
                .into_iter()
                .map(|file| programs.join(file)),
        );
        let root = Path::new("/");
        for data in DATA
            .map(|data| root.join(data))
            .into_iter()
            .filter(|data| data.exists())
        {
            files.extend(if data.is_dir() {
                files_below(&data)?
                    .into_iter()
                    .map(|file| data.join(file))
                    .collect()
            } else {
                vec![data]
            });
        }
        let relative = files.iter().filter_map(|file| file.strip_prefix(root).ok());
        let host_archive = work.join("host.cpio");
        pack(
            root,
            relative.map(Path::to_path_buf).collect(),
            &host_archive,
        )?;
        Ok(Self {
            archives: [host_archive, own_archive],
        })
    }

    /// Writes the whole initramfs of one kernel into `folder`; `settings` are
    /// files for `/vm`.
    pub(crate) fn initramfs(
        &self,
        folder: &Path,
        kernel: &Files,
        settings: &[(&str, String)],
    ) -> Result<PathBuf> {
        let modules = folder.join("modules.cpio");
        pack(&kernel.root, module_files(kernel)?, &modules)?;
        let staged = folder.join("settings");
        let _ = fs::remove_dir_all(&staged);
        fs::create_dir_all(staged.join("vm"))?;
        for (name, text) in settings {
            fs::write(staged.join("vm").join(name), text)?;
        }
        let settings = folder.join("settings.cpio");
        pack(&staged, files_below(&staged)?, &settings)?;
        let whole = folder.join("initramfs.cpio");
        let mut to = File::create(&whole)?;
        for part in self.archives.iter().chain([&modules, &settings]) {
            // cpio fills up its last block with zeros, which the kernel skips.
            std::io::copy(&mut File::open(part)?, &mut to)?;
        }
        Ok(whole)
    }
}

/// Python's standard library, without what builds Python itself.
fn python_library() -> Result<PathBuf> {
    let mut python = Command::new("/usr/bin/python3");
    python.args([
        "-c",
        "import sysconfig; print(sysconfig.get_path('stdlib'))",
    ]);
    Ok(command::output(&mut python)?.trim_end().into())
}

/// The shared libraries that any of these loads.
fn libraries<'a>(files: impl Iterator<Item = &'a PathBuf>) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for file in files.filter(|file| is_elf(file)) {
        let text = Command::new("ldd").arg(file).output()?.stdout;
        let text = String::from_utf8_lossy(&text);
        let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
        found.extend(paths.map(|path| PathBuf::from(path.trim_end_matches(':'))));
        if let Some(line) = text.lines().find(|line| line.contains("not found")) {
            bail!("{} lacks a library: {}", file.display(), line.trim());
        }
    }
    Ok(found)
}

fn is_elf(file: &Path) -> bool {
    let mut magic = [0; 4];
    File::open(file).is_ok_and(|mut file| {
        std::io::Read::read_exact(&mut file, &mut magic).is_ok() && &magic == b"\x7fELF"
    })
}

/// The modules with all that they depend on, and modprobe's indices.
fn module_files(kernel: &Files) -> Result<Vec<PathBuf>> {
    let modules = format!("lib/modules/{}", kernel.release);
    let mut files = BTreeSet::new();
    for file in fs::read_dir(kernel.root.join(&modules))?.flatten() {
        let name = file.file_name();
        if name.to_string_lossy().starts_with("modules.") {
            files.insert(Path::new(&modules).join(name));
        }
    }
    for module in MODULES {
        let mut modprobe = Command::new("modprobe");
        modprobe.arg("--dirname").arg(&kernel.root);
        modprobe.args(["--set-version", &kernel.release, "--show-depends", module]);
        // One that is built in or does not exist yet is none.
        let Ok(output) = modprobe.output() else {
            bail!("modprobe")
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for path in text.lines().filter_map(|line| line.strip_prefix("insmod ")) {
            // The module's parameters come after it.
            let path = path.split_whitespace().next().unwrap_or_default();
            let path = Path::new(path).strip_prefix(&kernel.root);
            files.insert(
                path.context("modprobe named a file elsewhere")?
                    .to_path_buf(),
            );
        }
    }
    Ok(files.into_iter().collect())
}

/// Paths of all files below `folder`, relative to it; of Python only what runs.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next)? {
            let path = entry?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if !path.exists() || name.starts_with("config-3") || name == "test" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path.strip_prefix(folder)?.to_path_buf());
            }
        }
    }
    Ok(files)
}

/// Packs files below `root`, with their directories, as root's.
fn pack(root: &Path, files: Vec<PathBuf>, to: &Path) -> Result<()> {
    let mut all = BTreeSet::new();
    for file in files {
        let folders = file
            .ancestors()
            .skip(1)
            .filter(|path| *path != Path::new(""));
        all.extend(folders.map(Path::to_path_buf));
        all.insert(file);
    }
    step(format_args!(
        "{} files of {} to {}",
        all.len(),
        root.display(),
        to.display()
    ));
    let mut cpio = Command::new("cpio")
        .args([
            "--create",
            "--format=newc",
            "--dereference",
            "--owner=0:0",
            "--quiet",
        ])
        .arg("-F")
        .arg(to)
        .current_dir(root)
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot start cpio")?;
    if let Some(mut names) = cpio.stdin.take() {
        for file in &all {
            use std::os::unix::ffi::OsStrExt as _;
            names.write_all(file.as_os_str().as_bytes())?;
            names.write_all(b"\n")?;
        }
    }
    if !cpio.wait()?.success() {
        bail!("cpio could not pack {}", to.display());
    }
    Ok(())
}
