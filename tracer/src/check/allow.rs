//! What the user lets pass. Pure.

use std::convert::Infallible;

use wildmatch::WildMatch;

use super::site::Site;
use crate::model::{frame::Frame, untrusted::Untrusted};

/// A pattern of `--allow`: `*` stands for any text, `?` for any character.
#[derive(Clone, Debug)]
pub struct Allow {
    text: String,
    pattern: WildMatch,
}

impl std::str::FromStr for Allow {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self {
            text: text.to_owned(),
            pattern: WildMatch::new(text),
        })
    }
}

impl Allow {
    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it matches the whole of one of these: the process's name, the other
    /// end with or without its port, the verdict's code, or of any function on the
    /// call stack its name, its file, or `file:line`.
    #[must_use]
    pub fn matches(&self, code: &str, comm: &str, remote: &str, site: &Site) -> bool {
        let host = remote.rsplit_once(':').map_or(remote, |(host, _)| host);
        let is_it = |text: &str| self.pattern.matches(text);
        [code, comm, remote, host].into_iter().any(is_it)
            || site.frames.iter().any(|frame| self.matches_frame(frame))
    }

    fn matches_frame(&self, frame: &Frame) -> bool {
        let is_it = |text: &Untrusted| self.pattern.matches(text.raw());
        let line = frame
            .line
            .zip(frame.file.as_ref())
            .is_some_and(|(line, file)| self.pattern.matches(&format!("{}:{line}", file.raw())));
        line || frame.function.as_ref().is_some_and(is_it) || frame.file.as_ref().is_some_and(is_it)
    }
}
