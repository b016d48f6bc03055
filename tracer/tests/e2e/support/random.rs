//! Chance that can be repeated.

use std::{env, str::FromStr};

use anyhow::{Context, Result};
use fastrand::Rng;

/// Chance from a seed, which is printed; `TCPLEAK_SEED` repeats a run.
pub(crate) fn chance() -> Result<Rng> {
    let seed = number("TCPLEAK_SEED")?.unwrap_or_else(|| fastrand::u64(..));
    println!("TCPLEAK_SEED={seed}");
    Ok(Rng::with_seed(seed))
}

/// A number that the environment sets.
pub(crate) fn number<T: FromStr>(name: &str) -> Result<Option<T>> {
    let Some(text) = env::var_os(name) else {
        return Ok(None);
    };
    let number = text.to_str().and_then(|text| text.parse().ok());
    let number = number.with_context(|| format!("{name} is no number: {text:?}"))?;
    Ok(Some(number))
}
