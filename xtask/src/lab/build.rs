//! The programs of the scenarios, built once into `target/lab`.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

use anyhow::{Context as _, Result};

use super::scenario::{Language, Scenario};
use crate::{
    command::{run, shown, step},
    place,
};

/// Where the sources are.
pub(crate) fn sources() -> PathBuf {
    place::root().join("lab")
}

fn built() -> PathBuf {
    place::target().join("lab/bin")
}

/// Builds what `scenarios` run.
pub(crate) fn all(scenarios: &[Scenario]) -> Result<()> {
    go()?;
    for scenario in scenarios {
        let Some((compiler, output, sources)) = compiler(scenario)? else {
            continue;
        };
        if is_newer(&output, &sources) {
            continue;
        }
        let mut compiler = compiler;
        step(shown(&compiler));
        run(&mut compiler).with_context(|| format!("cannot build {}", scenario.name))?;
    }
    Ok(())
}

/// All of Go's at once: it keeps a cache itself.
fn go() -> Result<()> {
    fs::create_dir_all(built().join("go"))?;
    let mut go = Command::new("go");
    go.args(["build", "-buildvcs=false", "-o"])
        .arg(built().join("go"))
        .args(["./go/...", "./ends/..."])
        .envs([("GOFLAGS", "-mod=mod"), ("GOPROXY", "off")])
        .current_dir(sources());
    step(shown(&go));
    run(&mut go)
}

/// How a scenario's own program is compiled, to what, and from what; `None`
/// where it is not, or was by Go.
fn compiler(scenario: &Scenario) -> Result<Option<(Command, PathBuf, Vec<PathBuf>)>> {
    let shared = sources();
    Ok(match scenario.language {
        Language::Rust => {
            let source = scenario.dir.join("main.rs");
            let output = built().join(&scenario.name);
            fs::create_dir_all(built().join("rust"))?;
            let mut rustc = Command::new("rustc");
            rustc
                .args(["--edition=2024", "-O", "-g", "--crate-name=main", "-o"])
                .args([&output, &source])
                .current_dir(&shared);
            Some((rustc, output, vec![source, shared.join("rust/lab.rs")]))
        }
        Language::Java => {
            let source = scenario.dir.join("Main.java");
            let common = shared.join("java/Lab.java");
            let output = built().join(&scenario.name);
            let mut javac = Command::new("javac");
            javac.arg("-g").arg("-d").args([&output, &common, &source]);
            Some((javac, output.join("Main.class"), vec![source, common]))
        }
        Language::Go | Language::Node | Language::Proxy | Language::Python => None,
    })
}

fn is_newer(output: &Path, sources: &[PathBuf]) -> bool {
    let time = |path: &Path| -> Option<SystemTime> { fs::metadata(path).ok()?.modified().ok() };
    time(output).is_some_and(|built| {
        sources
            .iter()
            .all(|source| time(source).is_some_and(|changed| changed < built))
    })
}

/// The command line that starts `program` of `scenario`.
pub(crate) fn command_line(scenario: &Scenario, program: &str) -> Vec<OsString> {
    let words = |words: &[&str], last: PathBuf| {
        let words = words.iter().map(OsString::from);
        words.chain([last.into_os_string()]).collect()
    };
    let own = built().join(&scenario.name);
    match (program, scenario.language) {
        ("answerer" | "caller", _) => words(&[], built().join("go").join(program)),
        ("main", Language::Go | Language::Rust) => words(&[], own),
        ("main", Language::Python) => words(&["python3"], scenario.dir.join("main.py")),
        ("main", Language::Node) => words(&["node"], scenario.dir.join("main.js")),
        ("main", Language::Java) => {
            let mut java = words(&["java", "-Xmx64m", "-XX:+UseSerialGC", "-cp"], own);
            java.push("Main".into());
            java
        }
        (other, _) => vec![other.into()],
    }
}
