//! The rules, in the order in which they are asked; the first that answers wins.
//!
//! A rule may also have a hint: what looks suspicious and is not proven. A hint
//! never accuses; it turns "healthy" into "cannot tell yet".

use crate::diagnosis::{Case, Evidence, Verdict};

pub mod accept_stalled;
pub mod connect_stuck;
pub mod dead_fd;
pub mod half_closed_held;
pub mod healthy;
pub mod missing_close;
pub mod not_enough_data;
pub mod time_wait_churn;
pub mod unbounded_growth;

/// What a rule says of a site; `None` is "not this", or "too early".
pub type Rule = fn(&Case<'_>) -> Option<Verdict>;

/// Every rule, in order: proven leaks; sockets nobody accepts, which would look
/// like growth; growth; what is no leak; and the two that need no trouble. The
/// last always answers.
pub const RULES: &[Rule] = &[
    missing_close::check,
    dead_fd::check,
    half_closed_held::check,
    accept_stalled::check,
    unbounded_growth::check,
    connect_stuck::check,
    time_wait_churn::check,
    not_enough_data::check,
    healthy::check,
];

/// Something suspicious that is not proven.
pub(crate) struct Hint {
    /// In plain words, with the numbers in it.
    pub(crate) why: String,
    /// What it rests on.
    pub(crate) evidence: Evidence,
    /// How many of the site's live connections it speaks of.
    pub(crate) affected: usize,
}

/// Every rule's hint, in the rules' order.
pub(crate) const HINTS: &[fn(&Case<'_>) -> Option<Hint>] = &[
    missing_close::hint,
    dead_fd::hint,
    half_closed_held::hint,
    accept_stalled::hint,
    unbounded_growth::hint,
];
