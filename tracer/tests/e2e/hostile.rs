//! A process may call itself anything, and so may its program. Neither gets a
//! control character through to the terminal, log or table of who looks at it,
//! and JSON gives back exactly what it was called.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::support::{balance, tcpleak::under_test};

/// Names, and how JSON gives them back: bytes that are not UTF-8 as `\xNN`. The
/// kernel keeps 15 bytes.
const NAMES: [(&[u8], &str); 10] = [
    (b"\x1b]0;pwn\x07", "\x1b]0;pwn\x07"),
    (b"\x1b[2J\x1b[31m", "\x1b[2J\x1b[31m"),
    (b"\n\n\r", "\n\n\r"),
    (b"\xe2\x80\xaegnp.exe", "\u{202e}gnp.exe"),
    (b"\x9b31m", "\\x9b31m"),
    (b"\xc2\x9b31m\x7f\x08\t", "\u{9b}31m\x7f\x08\t"),
    (b"<script>", "<script>"),
    (b"=cmd|' /C c'!A0", "=cmd|' /C c'!A0"),
    (b"\",\"pid\":1,\"a\":\"", "\",\"pid\":1,\"a\":\""),
    // Eight letters of two bytes each: the last is cut in half.
    (
        b"\xd0\xb0\xd0\xb0\xd0\xb0\xd0\xb0\xd0\xb0\xd0\xb0\xd0\xb0\xd0\xb0",
        "ааааааа\\xd0",
    ),
];
/// A directory and a program in it.
const DIRECTORY: &[u8] = b"\x1b]0;pwn\x07\n\r";
const PROGRAM: &[u8] = b"\xe2\x80\xaegnp\x9b31m\x7f<script>";
const PROGRAM_IN_JSON: &str = "/\x1b]0;pwn\x07\n\r/\u{202e}gnp\\x9b31m\x7f<script>";

/// Calls itself what it is told in hexadecimal digits, then leaks connections
/// that it is told the end of, a few in a second.
const LEAK: &str = "
import socket, sys, time
with open('/proc/self/comm', 'wb') as comm:
    comm.write(bytes.fromhex(sys.argv[1]))
listener = socket.create_server(('127.0.0.1', 0))
leaked = []
while True:
    leaked.append(socket.create_connection(listener.getsockname()))
    listener.accept()[0].close()
    if len(leaked) == 1:
        print('leaking', flush=True)
    time.sleep(0.3)
";

const FORMATS: [&str; 4] = ["table", "json", "jsonl", "csv"];
const COMMANDS: [&str; 3] = ["ps", "leaks --for 2s --all --verbose", "trace --for 2s"];

#[test]
fn nobody_writes_through_any_output() -> Result<()> {
    let leaks = Leaks::start()?;
    for format in FORMATS {
        for (command, output) in COMMANDS.iter().zip(run(format)?) {
            let what = format!("{command} --format {format}");
            assert_tame(&output.stderr, &what)?;
            let said = assert_tame(&output.stdout, &what)?;
            assert!(output.status.success(), "{what}: {output:?}");
            let words: Vec<&str> = said.split(|c: char| !c.is_alphanumeric()).collect();
            for leak in &leaks.running {
                let pid = leak.child.id().to_string();
                assert!(words.contains(&pid.as_str()), "{what} lacks {pid}:\n{said}");
            }
        }
    }
    Ok(())
}

#[test]
fn json_gives_names_back() -> Result<()> {
    let leaks = Leaks::start()?;
    let [ps, report, _] = run("json")?;
    let [_, _, trace] = run("jsonl")?;
    let ps: Value = serde_json::from_slice(&ps.stdout)?;
    let report: Value = serde_json::from_slice(&report.stdout)?;
    let lines = String::from_utf8(trace.stdout)?;
    let events = lines.lines().map(serde_json::from_str::<Value>);
    let events = events.collect::<Result<Vec<_>, _>>()?;
    for leak in &leaks.running {
        let of_leak = |list: &[Value]| -> Vec<Value> {
            let is_its = |c: &&Value| c["pid"] == leak.child.id();
            list.iter().filter(is_its).cloned().collect()
        };
        let listed = of_leak(ps["connections"].as_array().context("no connections")?);
        assert!(
            listed.iter().any(|c| c["state"] == "CLOSE_WAIT"),
            "{listed:?}"
        );
        let traced = of_leak(&events);
        assert!(traced.iter().any(|e| e["event"] == "open"), "{traced:?}");
        for connection in listed.iter().chain(&traced) {
            assert_eq!(connection["comm"], leak.comm, "{connection}");
        }
        let groups = report["groups"].as_array().context("no groups")?;
        let of_leak =
            |group: &&Value| group["owner"]["pid"] == leak.child.id() && group["role"] == "client";
        let group = groups.iter().find(of_leak).context("no group")?;
        assert!(group["states"]["CLOSE_WAIT"].is_u64(), "{group}");
        assert_eq!(group["owner"]["comm"], leak.comm);
        assert_eq!(group["owner"]["exe"], leaks.program_in_json);
    }
    Ok(())
}

#[test]
fn csv_keeps_its_columns_and_holds_no_formula() -> Result<()> {
    let leaks = Leaks::start()?;
    for (command, output) in COMMANDS.iter().zip(run("csv")?) {
        let mut table = csv::Reader::from_reader(output.stdout.as_slice());
        let mut pids = Vec::new();
        let pid = table.headers()?.iter().position(|name| name == "pid");
        let pid = pid.with_context(|| format!("{command} has no column pid"))?;
        // The reader fails where a row has more or fewer cells than the header.
        for row in table.into_records() {
            let row = row.context(*command)?;
            pids.push(row[pid].to_owned());
            let formula = row.iter().find(|cell| cell.starts_with(['=', '+', '@']));
            assert_eq!(formula, None, "{command}: {row:?}");
        }
        for leak in &leaks.running {
            let expected = leak.child.id().to_string();
            assert!(pids.contains(&expected), "{command} lacks {expected}");
        }
    }
    Ok(())
}

/// Runs all commands at once.
fn run(format: &str) -> Result<[Output; 3]> {
    let program = std::env::var_os("TCPLEAK_BIN").context("TCPLEAK_BIN is not set")?;
    let start = |line: &str| {
        let mut command = Command::new(&program);
        command.args(under_test(line.split(' ').chain(["--format", format])));
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    };
    // They end by themselves.
    let [ps, leaks, trace] = COMMANDS.map(start);
    let outputs = [
        ps?.wait_with_output()?,
        leaks?.wait_with_output()?,
        trace?.wait_with_output()?,
    ];
    for output in &outputs {
        let said = String::from_utf8_lossy(&output.stderr);
        balance::check(&String::from_utf8_lossy(&output.stdout), &said)?;
    }
    Ok(outputs)
}

/// That nothing in there acts on a terminal: no control character but the line
/// feed, nothing that is not UTF-8, nothing that turns the direction of writing.
fn assert_tame<'a>(output: &'a [u8], what: &str) -> Result<&'a str> {
    let said = std::str::from_utf8(output).with_context(|| format!("{what} is not UTF-8"))?;
    let is_wild = |&c: &char| {
        let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let ends_line = matches!(c, '\u{2028}' | '\u{2029}');
        c != '\n' && c.is_control() || turns || ends_line
    };
    let wild = said.chars().find(is_wild);
    ensure!(wild.is_none(), "{what} lets {wild:?} through: {said:?}");
    Ok(said)
}

/// The leaking processes, and the program that they run.
struct Leaks {
    running: Vec<Leak>,
    program_in_json: String,
    temp: PathBuf,
}

struct Leak {
    child: Child,
    comm: &'static str,
}

impl Leaks {
    fn start() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let temp =
            std::env::temp_dir().join(format!("tcpleak-hostile-{}-{count}", std::process::id()));
        let own = |bytes: &[u8]| std::ffi::OsString::from_vec(bytes.to_vec());
        let directory = temp.join(own(DIRECTORY));
        fs::create_dir_all(&directory)?;
        let mut leaks = Self {
            running: Vec::new(),
            program_in_json: format!("{}{PROGRAM_IN_JSON}", temp.display()),
            temp,
        };
        let program = directory.join(own(PROGRAM));
        // Not by ourselves: a test on another thread may start a process just then,
        // which inherits the open copy, and a file open for writing is not run.
        let mut copy = Command::new("cp");
        copy.arg("/usr/bin/python3").arg(&program);
        ensure!(copy.status()?.success(), "this test needs /usr/bin/python3");
        for (name, comm) in NAMES {
            leaks.running.push(Leak::start(&program, name, comm)?);
        }
        Ok(leaks)
    }
}

impl Drop for Leaks {
    fn drop(&mut self) {
        self.running.clear();
        let _ = fs::remove_dir_all(&self.temp);
    }
}

impl Leak {
    fn start(program: &Path, name: &[u8], comm: &'static str) -> Result<Self> {
        let digits: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        let child = Command::new(program)
            .args(["-c", LEAK, &digits])
            // It is not where it was installed.
            .env("PYTHONHOME", "/usr")
            .stdout(Stdio::piped())
            .spawn()?;
        let mut leak = Self { child, comm };
        let mut line = String::new();
        BufReader::new(leak.child.stdout.take().context("no pipe")?).read_line(&mut line)?;
        ensure!(line == "leaking\n", "{name:?} does not leak");
        // The premise of it all: the kernel shows it under that name.
        let process = format!("/proc/{}", leak.child.id());
        let kept = &name[..name.len().min(15)];
        ensure!(
            fs::read(format!("{process}/comm"))?.strip_suffix(b"\n") == Some(kept),
            "{name:?} has another name"
        );
        let exe = fs::read_link(format!("{process}/exe"))?;
        ensure!(
            exe.as_os_str().as_bytes() == program.as_os_str().as_bytes(),
            "another program"
        );
        Ok(leak)
    }
}

impl Drop for Leak {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
