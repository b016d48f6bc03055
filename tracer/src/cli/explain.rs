//! `tcpleak explain`

use std::io::{self, Write};

use anyhow::Result;

use super::{Outcome, args::ExplainArgs, say};
use crate::diagnosis::explain;

/// Prints a verdict's text, or the list of all.
pub(super) fn run(args: &ExplainArgs) -> Result<Outcome> {
    let mut out = io::stdout().lock();
    let Some(code) = &args.code else {
        let width = explain::ALL.iter().map(|text| text.code.len()).max();
        for text in explain::ALL {
            let width = width.unwrap_or(0);
            writeln!(out, "{:width$}  {}", text.code, text.title())?;
        }
        return Ok(Outcome::Fine);
    };
    match explain::of(code) {
        Some(text) => write!(out, "{text}")?,
        None => {
            say(&format!(
                "no verdict is called '{code}'; the nearest is '{}', `tcpleak explain --list` \
                 shows all",
                explain::nearest(code)
            ));
            return Ok(Outcome::Misused);
        }
    }
    Ok(Outcome::Fine)
}
