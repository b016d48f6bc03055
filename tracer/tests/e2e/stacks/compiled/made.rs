//! Code that a virtual machine makes while it runs, named by the perf map that it writes.

use std::{fs, process::Command};

use anyhow::Result;

use super::{frames, server, watched};
use crate::support::{
    compiled::{Client, Compiled},
    process::output,
    report::group_of,
};

/// What the call site of its connections is called, and the frames. `map` has the virtual
/// machine write its perf map.
fn site_of(
    compiled: &Compiled,
    map: impl Fn(&Client) -> Result<()>,
) -> Result<(String, Vec<String>)> {
    let port = server()?;
    let (report, client) = watched(port, |_| {
        let mut client = compiled.start(&format!("{port} 4"))?;
        map(&client)?;
        client.open()?;
        Ok(client)
    })?;
    let group = group_of(&report, client.pid(), "client")?;
    let site = group["site"]["call_site"].as_str().unwrap_or_default();
    let found = (site.to_owned(), frames(group)?);
    fs::remove_file(format!("/tmp/perf-{}.map", client.pid()))?;
    Ok(found)
}

#[test]
fn java_is_named_by_class_and_method() -> Result<()> {
    let (site, frames) = site_of(&Compiled::java()?, |client| {
        let pid = client.pid().to_string();
        output(Command::new("jcmd").args([&pid, "Compiler.perfmap"])).map(drop)
    })?;
    assert_eq!(site, "void Client.fetch(int)", "{frames:?}");
    Ok(())
}

/// Node connects in the next round of its loop: the program's own code is not on the
/// stack by then.
#[test]
fn javascript_is_named_by_function_and_place() -> Result<()> {
    let (site, frames) = site_of(&Compiled::node()?, |_| Ok(()))?;
    assert!(site.starts_with("JS:"), "{site}, {frames:?}");
    assert!(site.contains(" node:net:"), "{site}, {frames:?}");
    Ok(())
}
