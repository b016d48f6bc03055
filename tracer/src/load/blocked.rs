//! Why nothing can be traced.

use thiserror::Error;

/// Why nothing can be traced, and what to do about it.
#[derive(Debug, Error)]
#[error("{why}; {fix}")]
pub struct Blocked {
    /// What is missing or in the way.
    pub why: String,
    /// What the user can do.
    pub fix: String,
}
