//! Files, pipes and full disks that the output goes to.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::support::{Temp, assert_one_line, run, tcpleak, text};

/// A report of yesterday is worth more than none.
#[test]
fn output_files_change_only_when_there_is_output() -> Result<()> {
    let temp = Temp::new()?;
    let file = temp.0.join("report");
    let before = "yesterday\n".repeat(10_000);
    fs::write(&file, &before)?;
    let output = file.display();
    for failing in [
        "ps --pid 4194999",
        "leaks --btf /nonexistent",
        "trace --btf /nonexistent",
    ] {
        assert_one_line(&run(&format!("{failing} --output {output}"))?, 1, failing)?;
        assert_eq!(fs::read_to_string(&file)?, before, "{failing}");
    }
    let done = run(&format!("ps --format json --output {output}"))?;
    assert_eq!((done.status.code(), done.stdout.len()), (Some(0), 0));
    let document: Value = serde_json::from_slice(&fs::read(&file)?)?;
    assert_eq!(document["schema"], "tcpleak.ps/1");
    Ok(())
}

#[test]
fn a_reader_that_leaves_is_a_normal_end() -> Result<()> {
    for line in [
        "ps",
        "ps --format csv",
        "ps --format json",
        "doctor",
        "--help",
        "--version",
    ] {
        for lines in [0, 1] {
            let mut child = tcpleak(line)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            let mut pipe = BufReader::new(child.stdout.take().context("no pipe")?);
            if lines > 0 {
                pipe.read_line(&mut String::new())?;
            }
            drop(pipe);
            let end = child.wait_with_output()?;
            assert_eq!(text(&end.stderr)?, "", "{line} | head -{lines}");
            // What doctor finds may be a failure, if it could say all of it.
            let code = end.status.code();
            assert!(
                code == Some(0) || line == "doctor" && lines > 0,
                "{line}: {code:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_full_disk_is_said_in_one_line() -> Result<()> {
    let full = || File::options().write(true).open("/dev/full");
    for line in [
        "ps",
        "ps --format csv",
        "ps --format json",
        "doctor",
        "--help",
        "--version",
    ] {
        let output = tcpleak(line).stdout(full()?).output()?;
        assert_one_line(&output, 1, line)?;
        let said = text(&output.stderr)?;
        assert!(
            said.contains("cannot write the output: No space left on device"),
            "{said}"
        );
    }
    // A file goes by its name.
    let output = tcpleak("ps --format json -o /dev/full").output()?;
    assert_one_line(&output, 1, "ps -o /dev/full")?;
    let said = text(&output.stderr)?;
    assert!(said.contains("cannot write /dev/full: No space"), "{said}");
    // Nobody to tell is no reason to panic.
    assert_eq!(tcpleak("frob").stderr(full()?).status()?.code(), Some(2));
    let nowhere = tcpleak("ps").stdout(full()?).stderr(full()?).status()?;
    assert_eq!(nowhere.code(), Some(1));
    Ok(())
}
