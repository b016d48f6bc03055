//! The guest's files: an initramfs of several archives, one after the other. It
//! needs no disk, so no driver, and is thrown away with the guest.

use std::{
    collections::BTreeSet,
    env,
    fs::{self, File},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{
    cpio::{files_below, pack, relative},
    kernel::Files,
    programs,
};
use crate::{command, place};

/// Modules that the tests have the kernel load, as it does on any host; and what
/// these need. A kernel that has one built in, or does not have it, needs no file.
const MODULES: [&str; 6] = [
    "tcp_diag",
    "unix_diag",
    "netlink_diag",
    "mptcp_diag",
    "nf_tables",
    "veth",
];

/// How long a test in the guest waits for what must come, in seconds: the guest's
/// processors are played by ours, a dozen times slower.
const PATIENCE: u32 = 120;

/// What is the same for every kernel: programs of this machine at their own
/// places, and under /vm what was built here.
pub(crate) struct Base {
    archives: [PathBuf; 2],
}

impl Base {
    /// Packs it into `work`, with the built `tcpleak` and the end-to-end tests.
    pub(crate) fn pack(work: &Path, tcpleak: &Path, e2e: &Path) -> Result<Self> {
        let package = place::root().join("tracer");
        let mut files = programs::files(&[tcpleak, e2e])?;
        files.extend(files_below(&package.join("tests/e2e/programs"), |_| false)?);
        let root = Path::new("/");
        let machine = work.join("machine.cpio");
        pack(root, &relative(&files, root)?, &machine)?;

        let ours = Staged::new(&work.join("ours"))?;
        ours.write("init", include_str!("init.sh"))?;
        let init = ours.folder.join("init");
        fs::set_permissions(init, fs::Permissions::from_mode(0o755))?;
        let package = package.display();
        ours.write(
            "vm/environment",
            &format!(
                "{}export CARGO_MANIFEST_DIR='{package}' TCPLEAK_BIN=/vm/tcpleak \
                 TCPLEAK_PATIENCE={PATIENCE}\n",
                settings_of_tests()
            ),
        )?;
        // Without what only debuggers read, which is most of it.
        for (name, file) in [("vm/tcpleak", tcpleak), ("vm/e2e", e2e)] {
            let mut strip = Command::new("strip");
            strip.arg("-o").arg(ours.folder.join(name)).arg(file);
            command::run(&mut strip)?;
        }
        let ours = ours.pack()?;
        Ok(Self {
            archives: [machine, ours],
        })
    }

    /// Writes the whole initramfs of one guest into `work`; `settings` are files
    /// for /vm.
    pub(crate) fn initramfs(
        &self,
        work: &Path,
        kernel: &Files,
        settings: &[(&str, String)],
    ) -> Result<PathBuf> {
        let modules = work.join("modules.cpio");
        let files = module_files(kernel)?;
        pack(&kernel.root, &relative(&files, &kernel.root)?, &modules)?;
        let staged = Staged::new(&work.join("settings"))?;
        for (name, text) in settings {
            staged.write(&format!("vm/{name}"), text)?;
        }
        let settings = staged.pack()?;

        let whole = work.join("initramfs.cpio");
        let mut to = File::create(&whole)?;
        for part in self.archives.iter().chain([&modules, &settings]) {
            // The zeros that end each of them are skipped by the kernel.
            io::copy(&mut File::open(part)?, &mut to)?;
        }
        Ok(whole)
    }
}

/// How much of what is done many times an emulated processor does.
const LESS: [(&str, &str); 5] = [
    ("TCPLEAK_KILLS", "8"),
    ("TCPLEAK_MIDDLE", "1000"),
    ("TCPLEAK_MODEL_CONNECTIONS", "100"),
    ("TCPLEAK_REFUSALS", "8"),
    ("TCPLEAK_REQUESTS", "50"),
];

/// The tests' own settings, such as how many connections the model makes, as the
/// guest's shell reads them.
fn settings_of_tests() -> String {
    let less = LESS.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let asked = env::vars().filter(|(name, _)| name.starts_with("TCPLEAK_"));
    less.into_iter()
        .chain(asked)
        .map(|(name, value)| format!("export {name}='{}'\n", value.replace('\'', "'\\''")))
        .collect()
}

/// A folder of files that an archive is made of.
struct Staged {
    folder: PathBuf,
}

impl Staged {
    fn new(folder: &Path) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder.join("vm"))?;
        let folder = folder.to_path_buf();
        Ok(Self { folder })
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        Ok(fs::write(self.folder.join(name), text)?)
    }

    fn pack(self) -> Result<PathBuf> {
        let files = files_below(&self.folder, |_| false)?;
        let archive = self.folder.with_extension("cpio");
        pack(&self.folder, &relative(&files, &self.folder)?, &archive)?;
        Ok(archive)
    }
}

/// The modules with all that they depend on, and the indices of modprobe.
fn module_files(kernel: &Files) -> Result<BTreeSet<PathBuf>> {
    let folder = kernel.root.join("lib/modules").join(&kernel.release);
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(&folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("modules.") {
            files.insert(entry.path());
        }
    }
    for module in MODULES {
        let mut modprobe = Command::new(place::find("modprobe").context("no modprobe")?);
        modprobe.arg("--dirname").arg(&kernel.root).args([
            "--set-version",
            &kernel.release,
            "--show-depends",
            module,
        ]);
        let text = modprobe.output()?.stdout;
        let text = String::from_utf8_lossy(&text);
        // `insmod PATH PARAMETERS`
        let lines = text.lines().filter_map(|line| line.strip_prefix("insmod "));
        let paths = lines.filter_map(|line| line.split_whitespace().next());
        files.extend(paths.map(PathBuf::from));
    }
    Ok(files)
}
