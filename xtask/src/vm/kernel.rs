//! Stock Debian kernels: which ones, and where they are on this machine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::archive::{Archive, cache};
use crate::{
    apt,
    command::{self, step},
    place,
};

/// A kernel of the matrix, and the packages that hold it.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// As the command line names it: the version's start.
    pub(crate) name: &'static str,
    /// Debian's suites that have it.
    suites: &'static [&'static str],
    /// How the package of the image is called before the version.
    image: &'static str,
    /// And after it.
    ending: &'static str,
    /// How further packages of the same version are called before it: where the
    /// image is packaged alone, those of the modules and of their indices.
    further: &'static [&'static str],
    /// Parts of the names of tests that are about what this kernel does not have.
    pub(crate) lacks: &'static [&'static str],
    /// Plans that this kernel must support.
    pub(crate) plans: &'static [&'static str],
    /// Of these, those that a short run tests it with.
    pub(crate) plans_if_short: &'static [&'static str],
}

/// Those that tcpleak says it runs on: the oldest, the newest, and the long-term
/// ones between that most hosts run.
pub(crate) const KERNELS: [Kernel; 4] = [
    Kernel {
        name: "5.10",
        suites: &["bullseye", "bullseye-security"],
        // Built without CONFIG_MPTCP.
        lacks: &["mptcp::"],
        ..CLOUD
    },
    Kernel {
        name: "6.1",
        suites: &["bookworm", "bookworm-security"],
        plans_if_short: BETWEEN,
        ..CLOUD
    },
    Kernel {
        name: "6.12",
        suites: &["trixie", "trixie-security"],
        plans_if_short: BETWEEN,
        ..CLOUD
    },
    Kernel {
        name: "7",
        suites: &["sid"],
        image: "linux-binary-unsigned-",
        ending: "-cloud-amd64",
        further: &["linux-modules-", "linux-base-"],
        ..CLOUD
    },
];

/// The small kernel for virtual machines, as most releases package it.
const CLOUD: Kernel = Kernel {
    name: "",
    suites: &[],
    image: "linux-image-",
    ending: "-cloud-amd64-unsigned",
    further: &[],
    lacks: &[],
    plans: &["fentry", "kprobe", "tracepoint"],
    plans_if_short: &["fentry", "kprobe", "tracepoint"],
};

/// Kernels between the oldest and the newest are shortly tested with the plan that they
/// choose by themselves.
const BETWEEN: &[&str] = &["fentry"];

/// A kernel's files.
#[derive(Debug)]
pub(crate) struct Files {
    /// The bootable image
    pub(crate) image: PathBuf,
    /// The directory in which `lib/modules` is, with modprobe's indices
    pub(crate) root: PathBuf,
    /// What `uname -r` will say
    pub(crate) release: String,
}

impl Kernel {
    /// Its files, fetched once and kept: who wants a newer build of the same
    /// version removes the folder.
    pub(crate) fn files(&self) -> Result<Files> {
        let folder = cache()?.join(self.name);
        if !folder.exists() {
            self.fetch(&folder)
                .with_context(|| format!("kernel {}", self.name))?;
        }
        let modules = folder.join("lib/modules");
        let release = fs::read_dir(&modules)?.flatten().next();
        let release = release.with_context(|| format!("nothing in {}", modules.display()))?;
        Ok(Files {
            image: folder.join("vmlinuz"),
            root: folder,
            release: release.file_name().to_string_lossy().into_owned(),
        })
    }

    fn fetch(&self, folder: &Path) -> Result<()> {
        if !apt::is_debian() {
            bail!("the kernels are Debian's and fetched by its apt: run this on Debian");
        }
        // Made whole beside its place: what is there was not cut short.
        let work = folder.with_extension("part");
        let _ = fs::remove_dir_all(&work);
        let kernel = work.join("kernel");
        fs::create_dir_all(&kernel)?;
        let archive = Archive::open(&work.join("apt"), self.suites)?;
        self.unpack(&archive, &kernel)?;
        arrange(&kernel)?;
        fs::rename(&kernel, folder)?;
        fs::remove_dir_all(&work)?;
        Ok(())
    }

    /// The newest that can be had: an archive's list may name packages of
    /// security updates that its pool does not keep.
    fn unpack(&self, archive: &Archive, to: &Path) -> Result<()> {
        let start = format!("{}{}.", self.image, self.name);
        let names = archive.names(&start, self.ending)?;
        for name in &names {
            let mut packages = vec![name.clone()];
            let further = self.further.iter();
            packages.extend(further.map(|start| name.replace(self.image, start)));
            match archive.unpack(&packages, to) {
                Ok(()) => return Ok(()),
                Err(error) => step(format_args!("not to be had, an older one: {error:#}")),
            }
        }
        let suites = self.suites.join(", ");
        bail!(
            "no package {start}*{} of {suites} can be had from this machine's sources",
            self.ending
        )
    }
}

/// The same layout for all: `vmlinuz`, `lib/modules/RELEASE` with its indices.
fn arrange(kernel: &Path) -> Result<()> {
    let usr = kernel.join("usr/lib/modules");
    if usr.exists() {
        fs::create_dir_all(kernel.join("lib"))?;
        fs::rename(&usr, kernel.join("lib/modules"))?;
    }
    let modules = kernel.join("lib/modules");
    let release = fs::read_dir(&modules)?.flatten().next();
    let release = release.context("the package has no modules")?;
    let image = [&kernel.join("boot"), &release.path()]
        .into_iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flat_map(|files| files.flatten())
        .find(|file| file.file_name().to_string_lossy().starts_with("vmlinuz"));
    let image = image.context("the package has no vmlinuz")?;
    fs::rename(image.path(), kernel.join("vmlinuz"))?;
    let mut depmod = Command::new(place::find("depmod").context("there is no depmod")?);
    depmod.arg("--basedir").arg(kernel).arg(release.file_name());
    command::run(&mut depmod)
}
