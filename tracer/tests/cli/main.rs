//! What the command line promises, with or without root: help that fits, one
//! line for whatever goes wrong, the right exit code, and no harm to files.

use std::{collections::HashMap, ffi::OsStr, fs, os::unix::ffi::OsStrExt as _, process::Command};

use anyhow::{Context as _, Result, bail};

use support::{TCPLEAK, Temp, assert_one_line, check, run, text};

mod doctor;
mod explain;
mod recordings;
mod streams;
mod support;
mod tables;

/// Without a command as well: it is `leaks` then.
const COMMANDS: [&str; 11] = [
    "", "leaks", "trace", "ps", "timeline", "record", "export", "query", "check", "explain",
    "doctor",
];
/// Narrower terminals are rare enough.
const COLUMNS: usize = 80;

/// Texts as written in tests/cmd, where a changed flag or message shows.
#[test]
fn help_and_errors_read_as_written() {
    let cases = trycmd::TestCases::new();
    // Wider than the help may get.
    cases.env("COLUMNS", "120").case("tests/cmd/*.trycmd");
}

#[test]
fn help_fits_a_terminal() -> Result<()> {
    for command in COMMANDS {
        for flag in ["-h", "--help"] {
            let help = run(&format!("{command} {flag}"))?;
            assert_eq!(help.status.code(), Some(0));
            for line in text(&help.stdout)?.lines() {
                assert!(line.chars().count() <= COLUMNS, "{command} {flag}: {line}");
            }
        }
    }
    Ok(())
}

#[test]
fn what_cannot_run_is_said_in_one_line() -> Result<()> {
    let wrong_usage = [
        "frobnicate",
        "leaks --frobnicate",
        "trace ps",
        "leaks --for",
        "leaks --for abc",
        "leaks --for -5s",
        "leaks --for=-5s",
        "leaks --for 0s",
        "leaks --for 99999h",
        "ps --remote 10.0.0.0/33",
        "ps --remote localhost",
        "ps --port 70000",
        "ps --port 0",
        "ps --port -1",
        "ps --pid 0",
        "ps --pid 99999999999",
        "leaks --ring-size 3MiB",
        "leaks --ring-size 0",
        "leaks --plan nonsense",
        "leaks --fail-on nonsense",
        "ps --format xml",
        "ps --netns nosuch",
        "ps --netns 0",
        "ps --netns /proc/self/status",
        "ps --for 1s",
        "--pid 1 ps",
        "check",
        "check true",
        "check --grace -1s -- true",
        "check --grace 5 -- true",
        "check --format csv -- true",
        "explain",
        "explain missing-close --list",
        "explain mising-close",
        "explain Healthy",
        "explain ''",
    ];
    for line in wrong_usage {
        assert_one_line(&run(line)?, 2, line)?;
    }
    // Above the highest pid_max there is.
    let cannot = [
        "ps --pid 4194999",
        "leaks --pid 4194999",
        "ps --output /nonexistent/dir/file",
        "ps --output /",
        "leaks --btf /nonexistent",
        "trace --btf /",
        "leaks --btf /etc/passwd",
        "check --btf /nonexistent -- true",
        "check --output /nonexistent/dir/file -- true",
    ];
    for line in cannot {
        assert_one_line(&run(line)?, 1, line)?;
    }
    Ok(())
}

#[test]
fn arguments_may_be_any_bytes() -> Result<()> {
    let odd = OsStr::from_bytes;
    let cases: [(&[&OsStr], i32); 6] = [
        (&[odd(b"\xff")], 2),
        (&[odd(b"ps"), odd(b"--comm"), odd(b"\xff")], 2),
        (&[odd(b"ps"), odd(b"--pid"), odd(b"\x1b[31m\n\n")], 2),
        (
            &[odd(b"ps"), odd(b"--netns"), odd("\u{202e}\n".as_bytes())],
            2,
        ),
        (
            &[odd(b"ps"), odd(b"-o"), odd(b"/nonexistent/\xff\x1b\n")],
            1,
        ),
        (
            &[odd(b"leaks"), odd(b"--btf"), odd(b"/nonexistent/\xff\n")],
            1,
        ),
    ];
    for (args, code) in cases {
        let output = Command::new(TCPLEAK).args(args).output()?;
        assert_one_line(&output, code, &format!("{args:?}"))?;
    }
    Ok(())
}

#[test]
fn types_that_lie_are_refused() -> Result<()> {
    const OWN: &str = "/sys/kernel/btf/vmlinux";
    let whole = fs::read(OWN).with_context(|| format!("this test needs {OWN}"))?;
    let temp = Temp::new()?;
    let file = temp.0.join("lying.btf");
    let word = |at: usize| -> Result<u32> { Ok(u32::from_le_bytes(whole[at..at + 4].try_into()?)) };
    let refused = |changes: &[(usize, u32)], what: &str| -> Result<()> {
        let mut bytes = whole.clone();
        for &(at, value) in changes {
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        fs::write(&file, &bytes)?;
        let output = run(&format!("leaks --for 100ms --btf {}", file.display()))?;
        assert_one_line(&output, 1, what)?;
        let said = text(&output.stderr)?;
        assert!(
            said.contains("lying.btf does not describe this kernel"),
            "{what}: {said}"
        );
        Ok(())
    };

    // The header (Documentation/bpf/btf.rst): its own length, then where the types
    // and the strings are behind it, and how long.
    for (at, name) in [
        (4, "hdr_len"),
        (8, "type_off"),
        (12, "type_len"),
        (16, "str_off"),
        (20, "str_len"),
    ] {
        for value in [1, u32::try_from(whole.len())?, u32::MAX - 3, u32::MAX] {
            refused(&[(at, value)], &format!("{name} {value}"))?;
        }
    }
    // Each field of struct sock elsewhere, first within it and then beyond.
    let members = members_of(&whole, "sock")?;
    let read = ["__sk_common", "sk_err", "sk_protocol", "sk_shutdown"];
    for name in read {
        let at = *members.get(name).with_context(|| format!("no {name}"))?;
        for bit in [word(at)? + 8, word(at)? + 64, 1 << 16, u32::MAX] {
            refused(&[(at, bit)], &format!("{name} at bit {bit}"))?;
        }
    }
    Ok(())
}

/// Where in BTF the offsets of a struct's members are written, by name.
fn members_of(btf: &[u8], of: &str) -> Result<HashMap<String, usize>> {
    let word = |at: usize| -> Result<usize> {
        let bytes = btf.get(at..at + 4).context("BTF is cut short")?;
        Ok(usize::try_from(u32::from_le_bytes(bytes.try_into()?))?)
    };
    let (types, strings) = (24 + word(8)?, 24 + word(16)?);
    let name = |at: usize| -> Result<&str> {
        let rest = &btf[strings + word(at)?..];
        let end = rest.iter().position(|&byte| byte == 0).context("no end")?;
        text(&rest[..end])
    };
    let mut at = types;
    while at < types + word(12)? {
        let info = word(at + 4)?;
        let (kind, len) = (info >> 24 & 0x1f, info & 0xffff);
        // What follows the three common words, in bytes.
        let (each, once) = match kind {
            4 | 5 | 15 | 19 => (12, 0),
            6 | 13 => (8, 0),
            1 | 14 | 17 => (0, 4),
            3 => (0, 12),
            _ => (0, 0),
        };
        if kind == 4 && name(at)? == of {
            let members = (0..len).map(|index| at + 12 + index * 12);
            return members
                .map(|at| Ok((name(at)?.to_owned(), at + 8)))
                .collect();
        }
        at += 12 + len * each + once;
    }
    bail!("no struct {of}")
}

#[test]
fn types_that_are_cut_short_are_refused() -> Result<()> {
    const OWN: &str = "/sys/kernel/btf/vmlinux";
    let whole = fs::read(OWN).with_context(|| format!("this test needs {OWN}"))?;
    let temp = Temp::new()?;
    let file = temp.0.join("cut.btf");
    for length in [0, 1, 23, 24, 4_096, whole.len() / 2, whole.len() - 1] {
        fs::write(&file, &whole[..length])?;
        let args = format!("--btf {}", file.display());
        assert_one_line(&run(&format!("leaks {args}"))?, 1, &format!("{length}"))?;
        let doctor = run(&format!("doctor --format json {args}"))?;
        assert_eq!(doctor.status.code(), Some(1), "{length}");
        let types = check(&serde_json::from_slice(&doctor.stdout)?, "kernel types")?;
        assert_eq!(types["status"], "missing", "{length}");
        assert_eq!(
            types["fix"],
            format!("leave out --btf: this kernel shows its types at {OWN}")
        );
    }
    Ok(())
}
