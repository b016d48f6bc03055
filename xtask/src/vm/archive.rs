//! Packages of other Debian releases, by a private apt: its lists and settings
//! are ours, so that the machine's own apt is as it was.

use std::{
    cmp::Reverse,
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::{
    apt::sources,
    command::{self, step},
};

/// The machine's apt settings: its proxy holds for us too.
const SETTINGS: &str = "/etc/apt/apt.conf.d";
/// Read last. No hook of the machine's runs; an archived release has a date in
/// the past; packages are checked as ever.
const OWN_SETTINGS: &str = "\
#clear APT::Update;
APT::Sandbox::User \"root\";
Acquire::Check-Valid-Until \"false\";
Acquire::Languages \"none\";
Acquire::Retries \"3\";
";

/// An apt that knows the packages of some suites, and of these only.
pub(crate) struct Archive {
    folder: PathBuf,
}

impl Archive {
    /// Reads the package lists of `suites` into `folder`, from where this machine
    /// has its own packages.
    pub(crate) fn open(folder: &Path, suites: &[&str]) -> Result<Self> {
        let archive = Self {
            folder: folder.to_path_buf(),
        };
        let settings = folder.join("apt.conf.d");
        for directory in ["lists/partial", "cache/archives/partial", "sources"] {
            fs::create_dir_all(folder.join(directory))?;
        }
        fs::create_dir_all(&settings)?;
        for file in fs::read_dir(SETTINGS).into_iter().flatten().flatten() {
            symlink(file.path(), settings.join(file.file_name()))?;
        }
        fs::write(settings.join("zz-tcpleak"), OWN_SETTINGS)?;
        let sources = sources::of_suites(suites)?;
        fs::write(folder.join("sources/vm.sources"), sources)?;
        let path = folder.display();
        let places = format!(
            "Dir::Etc::Parts \"{path}/apt.conf.d\";
             Dir::Etc::SourceList \"/dev/null\";
             Dir::Etc::SourceParts \"{path}/sources\";
             Dir::State \"{path}\";
             Dir::State::Lists \"{path}/lists\";
             Dir::State::status \"/dev/null\";
             Dir::Cache \"{path}/cache\";\n"
        );
        fs::write(folder.join("apt.conf"), places)?;
        step(format_args!("apt-get update, for {}", suites.join(", ")));
        command::run(archive.apt("apt-get").args(["update", "--quiet=2"]))?;
        Ok(archive)
    }

    /// Names of packages that start and end so, the newest version first.
    pub(crate) fn names(&self, start: &str, end: &str) -> Result<Vec<String>> {
        let names = command::output(self.apt("apt-cache").args(["pkgnames", start]))?;
        let of_version = |name: &&str| name.starts_with(start) && name.ends_with(end);
        let mut names: Vec<_> = names
            .lines()
            .filter(of_version)
            .map(str::to_owned)
            .collect();
        names.sort_by_key(|name| Reverse(numbers(name.trim_end_matches(end))));
        Ok(names)
    }

    /// Fetches packages and unpacks them into `to`.
    pub(crate) fn unpack(&self, packages: &[String], to: &Path) -> Result<()> {
        let fetched = self.folder.join("fetched");
        let _ = fs::remove_dir_all(&fetched);
        fs::create_dir(&fetched)?;
        step(format_args!("apt-get download {}", packages.join(" ")));
        let mut download = self.apt("apt-get");
        download.args(["download", "--quiet=2"]).args(packages);
        command::run(download.current_dir(&fetched))?;
        for file in fs::read_dir(&fetched)? {
            let mut unpack = Command::new("dpkg-deb");
            command::run(unpack.arg("--extract").arg(file?.path()).arg(to))?;
        }
        Ok(())
    }

    fn apt(&self, program: &str) -> Command {
        let mut apt = Command::new(program);
        apt.env("APT_CONFIG", self.folder.join("apt.conf"));
        apt
    }
}

/// The folder that keeps what was fetched, so that it is fetched once.
pub(crate) fn cache() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("TCPLEAK_VM_CACHE") {
        return Ok(folder.into());
    }
    let users = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let users = users.filter(|folder| folder.is_absolute());
    match users.or_else(|| Some(env::home_dir()?.join(".cache"))) {
        Some(folder) => Ok(folder.join("tcpleak/vm")),
        None => bail!("no home directory: set TCPLEAK_VM_CACHE"),
    }
}

/// The numbers in a name, in order: compares versions.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(numbers("linux-image-5.10.0-43") > numbers("linux-image-5.10.0-9"));
        assert!(numbers("linux-6.12.115+deb13.1") > numbers("linux-6.12.115+deb13"));
    }
}
