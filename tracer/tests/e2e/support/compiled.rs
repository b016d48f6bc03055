//! The programs in `programs/compiled/`, built by the test with Debian's compilers.

use std::{
    fs::{self, Permissions},
    io::{BufRead as _, BufReader, Lines, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    process::{Running, output},
    temp::TempDir,
};

/// A folder with `client` and `libfetch.so`, or Go's `client`.
pub(crate) struct Compiled(TempDir);

impl Compiled {
    /// From C, with frame pointers and debug information.
    pub(crate) fn c() -> Result<Self> {
        Self::c_with(&["-O1", "-fno-omit-frame-pointer"])
    }

    /// From C, with debug information and these flags.
    pub(crate) fn c_with(flags: &[&str]) -> Result<Self> {
        let folder = TempDir::new()?;
        let common = ["-g", "-fno-optimize-sibling-calls"];
        let build = |from: &str, to: &str, more: &[&str]| -> Result<()> {
            let mut gcc = Command::new("gcc");
            gcc.args(common).args(flags).args(more);
            gcc.arg(source(from)).arg("-o").arg(folder.path().join(to));
            output(&mut gcc).map(drop)
        };
        build("client.c", "client", &["-ldl"])?;
        build("library.c", "libfetch.so", &["-shared", "-fPIC"])?;
        Ok(Self(folder))
    }

    /// From C++, with debug information and no frame pointers.
    pub(crate) fn cpp() -> Result<Self> {
        let folder = TempDir::new()?;
        let mut gpp = Command::new("g++");
        gpp.args(["-g", "-O2", "-fomit-frame-pointer"]);
        gpp.arg(source("client.cpp"))
            .arg("-o")
            .arg(folder.path().join("client"));
        output(&mut gpp)?;
        Ok(Self(folder))
    }

    /// From Rust, as a release with debug information is built.
    pub(crate) fn rust() -> Result<Self> {
        let folder = TempDir::new()?;
        let mut rustc = Command::new("rustc");
        rustc.args(["--edition", "2024", "-g", "-O"]);
        rustc.args(["-C", "force-frame-pointers=no"]);
        rustc
            .arg(source("client.rs"))
            .arg("-o")
            .arg(folder.path().join("client"));
        output(&mut rustc)?;
        Ok(Self(folder))
    }

    /// From Go.
    pub(crate) fn go() -> Result<Self> {
        let folder = TempDir::new()?;
        let mut go = Command::new("go");
        go.arg("build")
            .arg("-o")
            .arg(folder.path().join("client"))
            .arg(source("client.go"));
        go.env("GOCACHE", folder.path().join("cache"))
            .env("GO111MODULE", "off");
        output(&mut go)?;
        Ok(Self(folder))
    }

    /// From Java: its own code is compiled when it is called first, the JDK's is not.
    pub(crate) fn java() -> Result<Self> {
        let folder = TempDir::new()?;
        let mut javac = Command::new("javac");
        javac
            .arg("-d")
            .arg(folder.path())
            .arg(source("Client.java"));
        output(&mut javac)?;
        let path = folder.path().display().to_string();
        let java = "-Xcomp -XX:CompileOnly=Client -XX:TieredStopAtLevel=1 -XX:-Inline \
                    -XX:+PreserveFramePointer";
        Self::script(folder, &format!("java {java} -cp {path} Client"))
    }

    /// For Node, which writes its perf map by itself.
    pub(crate) fn node() -> Result<Self> {
        let program = source("client.js").display().to_string();
        let node = "node --perf-basic-prof --interpreted-frames-native-stack";
        Self::script(TempDir::new()?, &format!("{node} {program}"))
    }

    /// A `client` that becomes another program, which may write where it runs.
    fn script(folder: TempDir, command: &str) -> Result<Self> {
        let path = folder.path().join("client");
        fs::write(
            &path,
            format!("#!/bin/sh\ncd \"${{0%/*}}\"\nexec {command} \"$@\"\n"),
        )?;
        fs::set_permissions(&path, Permissions::from_mode(0o755))?;
        Ok(Self(folder))
    }

    /// A file of it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Starts `client` with these arguments, separated by spaces.
    pub(crate) fn start(&self, arguments: &str) -> Result<Client> {
        let mut command = Command::new(self.file("client"));
        command.args(arguments.split_whitespace());
        let mut running = Running::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let stdin = running.0.stdin.take().context("no standard input")?;
        let said = BufReader::new(running.0.stdout.take().context("no standard output")?).lines();
        let mut client = Client {
            running,
            stdin,
            said,
            before: Vec::new(),
        };
        client.before = client.hear("ready")?;
        Ok(client)
    }
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/e2e/programs/compiled")
        .join(name)
}

/// A running one. It ends with its standard input.
pub(crate) struct Client {
    running: Running,
    stdin: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
    /// What it said before it was ready.
    pub(crate) before: Vec<String>,
}

impl Client {
    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Lets it open its connections, and waits until it has.
    pub(crate) fn open(&mut self) -> Result<()> {
        self.begin()?;
        self.hear("opened").map(drop)
    }

    /// Lets it begin.
    pub(crate) fn begin(&mut self) -> Result<()> {
        Ok(self.stdin.write_all(b"\n")?)
    }

    /// What it says before this.
    pub(crate) fn hear(&mut self, wanted: &str) -> Result<Vec<String>> {
        let mut before = Vec::new();
        for line in self.said.by_ref() {
            let line = line?;
            if line == wanted {
                return Ok(before);
            }
            before.push(line);
        }
        ensure!(false, "it ended before it was {wanted}: {before:?}");
        Ok(before)
    }
}
