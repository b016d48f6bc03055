//! Lets Python programs say which of their lines opens a connection: their stacks are
//! not the machine's, and nothing but the interpreter knows them.

use std::{
    env, fs,
    fs::{File, Permissions},
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::Command,
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::check::python::Recorded;

/// What Python runs at its start.
const HOOK: &str = include_str!("sitecustomize.py");

/// Tells the hook where to write.
const OUT: &str = "TCPLEAK_PYTHON";

/// What is read of what was written: connects by the hundred thousand.
const MAX_BYTES: u64 = 256 << 20;

/// The hook and what it wrote. Goes away when dropped.
#[derive(Debug)]
pub(super) struct Python {
    folder: TempDir,
}

impl Python {
    /// Lays the hook ready.
    ///
    /// # Errors
    /// Where no temporary folder can be made.
    pub(super) fn new() -> Result<Self> {
        let folder = TempDir::with_prefix("tcpleak-").context("cannot make a temporary folder")?;
        let python = Self { folder };
        let put = |path: PathBuf, text: &str, mode| -> Result<()> {
            let name = path.display().to_string();
            fs::write(&path, text).with_context(|| format!("cannot write {name}"))?;
            Ok(fs::set_permissions(path, Permissions::from_mode(mode))?)
        };
        put(python.folder.path().join("sitecustomize.py"), HOOK, 0o644)?;
        // The command may go on as another user. What is written here names code, and
        // is believed in nothing else.
        put(python.out(), "", 0o622)?;
        fs::set_permissions(python.folder.path(), Permissions::from_mode(0o755))?;
        Ok(python)
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("connects")
    }

    /// Has the Pythons that a command will start use the hook.
    pub(super) fn equip(&self, command: &mut Command) {
        let mut path = self.folder.path().as_os_str().to_owned();
        if let Some(own) = env::var_os("PYTHONPATH").filter(|own| !own.is_empty()) {
            path.push(":");
            path.push(own);
        }
        command.env("PYTHONPATH", path).env(OUT, self.out());
    }

    /// What was written.
    pub(super) fn read(&self) -> Recorded {
        let mut bytes = Vec::new();
        let read =
            File::open(self.out()).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes));
        match read {
            Ok(_) => Recorded::read(&bytes),
            Err(_) => Recorded::default(),
        }
    }
}
