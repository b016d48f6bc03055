//! The machine's own list of package sources, with other suites in it.

use std::{fmt::Write as _, fs, path::PathBuf};

use anyhow::{Result, bail};

/// Where apt looks for sources.
const LIST: &str = "/etc/apt/sources.list";
const LISTS: &str = "/etc/apt/sources.list.d";

/// Names that a machine's own release goes by besides its code name.
const OTHER_NAMES: [&str; 4] = ["stable", "testing", "unstable", "sid"];

/// One source of binary packages.
#[derive(Debug, Default, PartialEq)]
struct Source {
    uris: String,
    suites: String,
    components: String,
    /// Key file or, over several lines, the key; as apt wants it.
    signed_by: Option<String>,
}

/// Sources for `suites` in apt's deb822 format: from where this machine has its
/// own release and, where that is another place, the security suite.
pub(crate) fn of_suites(suites: &[&str]) -> Result<String> {
    let mut names = OTHER_NAMES.to_vec();
    let release = release()?;
    names.push(&release);
    own(|suite| other(suite, &names, suites).map(str::to_owned))
}

/// This machine's own sources in the same format, with the backports of its release,
/// and the name of that suite.
pub(crate) fn with_backports() -> Result<(String, String)> {
    let release = release()?;
    let backports = format!("{release}-backports");
    let sources = own(|suite| {
        let more = if suite == release { &*backports } else { "" };
        Some(format!("{suite} {more}").trim_end().to_owned())
    })?;
    Ok((sources, backports))
}

/// The code name of this machine's release.
fn release() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release")?;
    let name = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(name.unwrap_or_default().to_owned())
}

/// This machine's sources, with what `replace` makes of each suite.
fn own(replace: impl Fn(&str) -> Option<String>) -> Result<String> {
    let mut files = vec![PathBuf::from(LIST)];
    files.extend(fs::read_dir(LISTS)?.flatten().map(|file| file.path()));
    let mut sources = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        match file.extension().and_then(|end| end.to_str()) {
            Some("list") => sources.extend(text.lines().filter_map(one_line)),
            Some("sources") => sources.extend(text.split("\n\n").filter_map(stanza)),
            _ => {}
        }
    }
    let mut text = String::new();
    for mut source in sources {
        let own = source.suites.split_whitespace();
        let wanted: Vec<_> = own.filter_map(&replace).collect();
        if wanted.is_empty() {
            continue;
        }
        source.suites = wanted.join(" ");
        source.write(&mut text)?;
    }
    if text.is_empty() {
        bail!("apt has no source of Debian's own packages: add one to {LISTS}");
    }
    Ok(text)
}

/// The one of `suites` that is of the same kind as `own`: the release itself or,
/// with the same ending, its security updates.
fn other<'a>(own: &str, names: &[&str], suites: &[&'a str]) -> Option<&'a str> {
    let ending = names.iter().find_map(|name| own.strip_prefix(name))?;
    let is_same = |suite: &&&str| match suite.split_once('-') {
        Some((_, kind)) => ending.strip_prefix('-') == Some(kind),
        None => ending.is_empty(),
    };
    suites.iter().find(is_same).copied()
}

impl Source {
    fn write(&self, text: &mut String) -> Result<()> {
        writeln!(text, "Types: deb\nURIs: {}", self.uris)?;
        writeln!(text, "Suites: {}", self.suites)?;
        writeln!(text, "Components: {}", self.components)?;
        if let Some(key) = &self.signed_by {
            writeln!(text, "Signed-By: {key}")?;
        }
        writeln!(text, "Targets: Packages\n")?;
        Ok(())
    }
}

/// `deb [signed-by=FILE] URI SUITE COMPONENT...`
fn one_line(line: &str) -> Option<Source> {
    let mut rest = line.strip_prefix("deb ")?.trim();
    let mut source = Source::default();
    if let Some((options, after)) = rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
        let key = options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("signed-by="));
        source.signed_by = key.map(str::to_owned);
        rest = after;
    }
    let mut words = rest.split_whitespace();
    source.uris = words.next()?.to_owned();
    source.suites = words.next()?.to_owned();
    source.components = words.collect::<Vec<_>>().join(" ");
    Some(source)
}

/// A paragraph of `Field: value` lines, each of which may go on in lines that
/// start with a space.
fn stanza(paragraph: &str) -> Option<Source> {
    let mut source = Source::default();
    let mut last = None;
    let mut is_binary = false;
    for line in paragraph.lines().filter(|line| !line.starts_with('#')) {
        if line.starts_with([' ', '\t']) {
            let value: &mut String = last?;
            value.push('\n');
            value.push_str(line);
            last = Some(value);
            continue;
        }
        let (name, value) = line.split_once(':')?;
        let value = value.trim().to_owned();
        last = match name.to_ascii_lowercase().as_str() {
            "types" => {
                is_binary = value.split_whitespace().any(|kind| kind == "deb");
                None
            }
            "enabled" if value == "no" => return None,
            "uris" => Some(&mut source.uris),
            "suites" => Some(&mut source.suites),
            "components" => Some(&mut source.components),
            "signed-by" => Some(source.signed_by.insert(String::new())),
            _ => None,
        };
        if let Some(field) = &mut last {
            **field = value;
        }
    }
    is_binary.then_some(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_say_the_same() {
        let line = one_line("deb [arch=amd64 signed-by=/k.gpg] http://a.example/d bookworm main");
        let paragraph = stanza(
            "# a comment\nTypes: deb deb-src\nURIs: http://a.example/d\nSuites: bookworm\n\
             Components: main\nSigned-By: /k.gpg",
        );
        assert_eq!(line, paragraph);
        assert!(line.is_some_and(|source| source.suites == "bookworm"));
    }

    #[test]
    fn a_key_may_be_in_the_source_itself() {
        let source =
            stanza("Types: deb\nSigned-By:\n -----BEGIN\n .\n abc\nURIs: http://a.example");
        let key = source.and_then(|source| source.signed_by);
        assert_eq!(key.as_deref(), Some("\n -----BEGIN\n .\n abc"));
    }

    #[test]
    fn what_gives_no_packages_is_no_source() {
        assert_eq!(stanza("Types: deb-src\nURIs: http://a.example"), None);
        assert_eq!(stanza("Types: deb\nEnabled: no"), None);
        assert_eq!(one_line("# deb http://a.example/d bookworm main"), None);
    }

    #[test]
    fn a_suite_is_replaced_by_its_like() {
        let names = ["bookworm", "sid"];
        let wanted = ["bullseye", "bullseye-security"];
        let other = |own| other(own, &names, &wanted);
        assert_eq!(other("bookworm"), Some("bullseye"));
        assert_eq!(other("bookworm-security"), Some("bullseye-security"));
        assert_eq!(other("bookworm-updates"), None);
        assert_eq!(other("cloud-sdk-bookworm"), None);
    }
}
