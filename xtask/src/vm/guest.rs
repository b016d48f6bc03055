//! One run of QEMU: boots a kernel, follows what the guest says, and notices when
//! it says nothing more.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::kernel::Files;

/// Without a line for so long, the guest hangs: longer than the longest test and
/// its patience.
const SILENCE: Duration = Duration::from_secs(600);
/// And after so long altogether.
const TOTAL: Duration = Duration::from_secs(7_200);
/// Between two looks at the console.
const LOOK: Duration = Duration::from_secs(1);

/// What a kernel in trouble writes.
const TROUBLE: [&str; 4] = ["Kernel panic", "Oops", "BUG:", "general protection fault"];
/// Lines of the console that are shown then.
const TAIL: usize = 60;

/// What distributions ask for, and a source of randomness for the start. Emulated, wider
/// vectors, and the saving of their registers, take twice the time for all that a guest does.
const PROCESSOR: &str = "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+rdrand,+rdseed";

/// A guest to be run.
pub(crate) struct Guest<'a> {
    /// The kernel that it boots
    pub(crate) kernel: &'a Files,
    /// Its files
    pub(crate) initramfs: &'a Path,
    /// Where the kernel's messages go
    pub(crate) console: PathBuf,
}

impl Guest<'_> {
    /// Runs it to its end; `hear` is given each line that it says on the port of
    /// the tests, and tells whether that was the last.
    pub(crate) fn run(&self, mut hear: impl FnMut(&str) -> bool) -> Result<()> {
        let _ = fs::remove_file(&self.console);
        let mut qemu = Running(self.qemu().spawn().context("cannot start qemu")?);
        let said = qemu.0.stdout.take().context("qemu has no output")?;
        let (sender, lines) = channel();
        // Ends with qemu.
        thread::spawn(move || {
            for line in BufReader::new(said).split(b'\n').map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let start = Instant::now();
        let mut heard = Instant::now();
        loop {
            match lines.recv_timeout(LOOK) {
                Ok(line) => {
                    heard = Instant::now();
                    let line = String::from_utf8_lossy(&line);
                    if hear(&line) {
                        break;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status = qemu.0.wait()?;
                    return self.fail(&format!("the guest ended early ({status})"));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.trouble().is_some() {
                // The rest of the message.
                thread::sleep(LOOK);
                return self.fail("the kernel is in trouble");
            }
            if heard.elapsed() > SILENCE {
                return self.fail(&format!("the guest said nothing for {SILENCE:?}"));
            }
            if start.elapsed() > TOTAL {
                return self.fail(&format!("the guest was not done within {TOTAL:?}"));
            }
        }
        match self.trouble() {
            Some(_) => self.fail("the kernel is in trouble"),
            None => Ok(()),
        }
    }

    fn qemu(&self) -> Command {
        // No watchdog: where the host is busy, a guest's processor stands still
        // for as long as it likes. An oops ends the kernel, and that ends QEMU. The rest
        // spares the emulator: no guard against speculation, as it does not speculate
        // and each change of page tables costs it much; no pages cleared ahead of use;
        // large ones where they can be.
        let line = "console=ttyS0 loglevel=5 nowatchdog mitigations=off init_on_alloc=0 \
                    transparent_hugepage=always oops=panic panic=-1 rdinit=/init";
        // Ends with us, however we end.
        let mut qemu = Command::new("setpriv");
        qemu.args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64"])
            // All of its processors by one thread: by several, the emulator runs code
            // that another processor has patched, and the kernel dies of an int3.
            .args([
                "-accel",
                "tcg,thread=single",
                "-cpu",
                PROCESSOR,
                "-smp",
                "2",
                "-m",
                "4G",
            ])
            .args(["-nodefaults", "-display", "none", "-no-reboot"])
            .arg("-kernel")
            .arg(&self.kernel.image)
            .arg("-initrd")
            .arg(self.initramfs)
            .args(["-append", line, "-serial"])
            .arg(format!("file:{}", self.console.display()))
            .args(["-serial", "stdio"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        qemu
    }

    fn console(&self) -> String {
        let bytes = fs::read(&self.console).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        text.replace(|c: char| c.is_control() && c != '\n', "")
    }

    fn trouble(&self) -> Option<String> {
        let is_trouble = |line: &&str| TROUBLE.iter().any(|sign| line.contains(sign));
        self.console().lines().find(is_trouble).map(str::to_owned)
    }

    /// Shows the end of the console, and fails.
    fn fail(&self, why: &str) -> Result<()> {
        let console = self.console();
        let lines: Vec<_> = console.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n");
        let path = self.console.display();
        eprintln!("{tail}\nxtask: that was the end of the console, all of it is in {path}");
        match self.trouble() {
            Some(line) => bail!("{why}: {line}"),
            None => bail!("{why}"),
        }
    }
}

/// QEMU; killed and reaped when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
