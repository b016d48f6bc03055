//! Programs without frame pointers, and what the C library hides of those with them.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{frames, has, line_of, server, watched};
use crate::support::{
    compiled::Compiled,
    report::{group_of, groups_of},
};

/// Connections by each way.
const COUNT: usize = 4;

/// The call sites of a program that opens [`COUNT`] connections by each of two ways:
/// one group each, whose stacks reach to where the program starts.
fn two_sites(compiled: &Compiled, way: &str) -> Result<[Vec<String>; 2]> {
    let port = server()?;
    let (report, client) = watched(port, |_| {
        let mut client = compiled.start(&format!("{port} {COUNT} {way}"))?;
        client.open()?;
        Ok(client)
    })?;
    let groups = groups_of(&report, client.pid())?;
    for group in &groups {
        assert_eq!(group["live"], COUNT, "{}", group["site"]);
        assert_eq!(group["site"]["cut_short"], false, "{}", group["site"]);
    }
    let mut sites: Vec<_> = groups.into_iter().map(frames).collect::<Result<_>>()?;
    sites.sort();
    let count = sites.len();
    <[Vec<String>; 2]>::try_from(sites)
        .ok()
        .with_context(|| format!("{count} sites"))
}

/// Asserts that one site leads through `first` and not through `second`, and the other
/// through both or through `second` alone.
fn are_told_apart(sites: &[Vec<String>; 2], first: &str, second: &str) {
    let by_second = sites.iter().filter(|site| has(site, second)).count();
    assert_eq!(by_second, 1, "{second}: {sites:?}");
    let by_first_alone = |site: &&Vec<String>| has(site, first) && !has(site, second);
    assert_eq!(
        sites.iter().filter(by_first_alone).count(),
        1,
        "{first}: {sites:?}"
    );
}

fn c_sites_are_told_apart(flags: &[&str]) -> Result<()> {
    let sites = two_sites(&Compiled::c_with(flags)?, "twice")?;
    let line = |text| line_of("client.c", text);
    let fetch = format!("fetch client.c:{}", line("int fd = dial()")?);
    let otherwise = format!(
        "fetch_otherwise client.c:{}",
        line("int otherwise = dial()")?
    );
    are_told_apart(&sites, &fetch, &otherwise);
    for site in &sites {
        // The C library's wrapper hides its caller from frame pointers.
        assert_eq!(site[0], "connect (libc.so.6)");
        assert_eq!(
            site[1],
            format!("dial client.c:{}", line("if (connect(fd")?)
        );
        assert!(
            site.iter().any(|frame| frame.starts_with("main client.c:")),
            "{site:?}"
        );
    }
    Ok(())
}

#[test]
fn c_without_frame_pointers() -> Result<()> {
    c_sites_are_told_apart(&["-O2", "-fomit-frame-pointer"])
}

#[test]
fn c_with_frame_pointers() -> Result<()> {
    c_sites_are_told_apart(&["-O1", "-fno-omit-frame-pointer"])
}

#[test]
fn cpp_without_frame_pointers() -> Result<()> {
    let sites = two_sites(&Compiled::cpp()?, "")?;
    let line = |text| line_of("client.cpp", text);
    let fetch = format!(
        "net::Client::fetch() client.cpp:{}",
        line("if (connect(fd")?
    );
    for site in &sites {
        assert!(has(site, &fetch), "{site:?}");
    }
    let named = format!(":{}", line("        fetch();")?);
    let by_named = |site: &&Vec<String>| {
        site.iter()
            .any(|frame| frame.contains("net::Client::named<") && frame.ends_with(&named))
    };
    assert_eq!(sites.iter().filter(by_named).count(), 1, "{sites:?}");
    Ok(())
}

#[test]
fn rust_without_frame_pointers() -> Result<()> {
    let sites = two_sites(&Compiled::rust()?, "")?;
    let line = |text| line_of("client.rs", text);
    let fetch = format!("client::fetch client.rs:{}", line("TcpStream::connect((")?);
    let otherwise = format!(
        "client::fetch_otherwise client.rs:{}",
        line("TcpStream::connect(&text)")?
    );
    are_told_apart(&sites, &fetch, &otherwise);
    Ok(())
}

/// The call site of the program, and its whole stack, by a library.
#[test]
fn through_a_library() -> Result<()> {
    let compiled = Compiled::c_with(&["-O2", "-fomit-frame-pointer"])?;
    let port = server()?;
    let library = compiled.file("libfetch.so");
    let (report, client) = watched(port, |_| {
        let mut client = compiled.start(&format!("{port} 4 library {}", library.display()))?;
        client.open()?;
        Ok(client)
    })?;
    let group: &Value = group_of(&report, client.pid(), "client")?;
    let frames = frames(group)?;
    for (function, source, text) in [
        ("dial", "client.c", "if (connect(fd"),
        ("library_fetch", "library.c", "fd = dial()"),
        ("by_library", "client.c", "fd = call(dial)"),
    ] {
        let frame = format!("{function} {source}:{}", line_of(source, text)?);
        assert!(has(&frames, &frame), "{frame}: {frames:?}");
    }
    assert_eq!(group["site"]["cut_short"], false, "{group}");
    Ok(())
}

/// Nothing tells how its code is unwound, and it keeps no frame pointers.
#[test]
fn what_cannot_be_unwound_says_so() -> Result<()> {
    let compiled = Compiled::c_with(&["-O2", "-fomit-frame-pointer"])?;
    let client = compiled.file("client");
    let mut strip = std::process::Command::new("objcopy");
    for section in [".eh_frame", ".eh_frame_hdr", ".debug_frame"] {
        strip.args(["--remove-section", section]);
    }
    crate::support::process::output(strip.arg(&client))?;
    let port = server()?;
    let (report, client) = watched(port, |_| {
        let mut client = compiled.start(&format!("{port} 4 plain"))?;
        client.open()?;
        Ok(client)
    })?;
    let group = group_of(&report, client.pid(), "client")?;
    assert_eq!(group["site"]["cut_short"], true, "{}", group["site"]);
    assert!(
        has(&frames(group)?, "connect (libc.so.6)"),
        "{}",
        group["site"]
    );
    assert_eq!(group["live"], 4, "{}", group["site"]);
    Ok(())
}
