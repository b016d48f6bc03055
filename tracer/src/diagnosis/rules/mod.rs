//! The rules, in the order in which they are asked; the first that answers wins.
//!
//! A rule may also have a hint: what looks suspicious and is not proven. A hint
//! never accuses; it turns "healthy" into "cannot tell yet".

use crate::diagnosis::{Case, Evidence, Verdict};

/// The rules' modules, and the names of their verdicts.
macro_rules! rules {
    ($($module:ident,)+) => {
        $(pub mod $module;)+

        /// The name of every verdict.
        pub const CODES: &[&str] = &[$($module::CODE,)+];
    };
}

rules! {
    missing_close,
    response_not_finished,
    inherited_fd,
    dead_fd,
    half_closed_held,
    client_per_request,
    pool_exhausted,
    idle_growth,
    unbounded_growth,
    accept_stalled,
    connect_stuck,
    half_open_peer,
    peer_wedged,
    peer_not_reading,
    timeout_not_passed,
    keepalive_race,
    silent_drop,
    peer_leaks,
    time_wait_churn,
    not_enough_data,
    healthy_pool,
    healthy,
}

/// What a rule says of a site; `None` is "not this", or "too early".
pub type Rule = fn(&Case<'_>) -> Option<Verdict>;

/// Every rule, in order. First proven leaks: whoever holds what another opened before
/// whoever forgot to close, unread answers before hang-ups in general. Then growth,
/// the particular before the general; sockets that are stuck, by a path that forgets
/// some before by a peer that is gone; what the other side does; waste; and those that need no trouble. The last always answers.
pub const RULES: &[Rule] = &[
    inherited_fd::check,
    response_not_finished::check,
    missing_close::check,
    dead_fd::check,
    half_closed_held::check,
    client_per_request::check,
    pool_exhausted::check,
    idle_growth::check,
    unbounded_growth::check,
    accept_stalled::check,
    peer_not_reading::check,
    silent_drop::check,
    half_open_peer::check,
    peer_wedged::check,
    timeout_not_passed::check,
    connect_stuck::check,
    unbounded_growth::check_served,
    keepalive_race::check,
    peer_leaks::check,
    time_wait_churn::check,
    not_enough_data::check,
    healthy_pool::check,
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
    peer_not_reading::hint,
    half_open_peer::hint,
    unbounded_growth::hint,
];
