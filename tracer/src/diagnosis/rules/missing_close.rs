//! `missing-close`: the peer hung up and the program never closed.
//!
//! CLOSE_WAIT alone proves nothing: a pool without a background reader
//! (urllib3, Apache HttpClient, many JDBC pools) keeps a bounded number of
//! sockets that the peer timed out until it next needs one. So some sign must
//! say that the program knew, or that the number is not bounded.

use crate::{
    diagnosis::{
        Case, Class, Confidence, Evidence, Fault, Verdict,
        abandoned::Finding,
        rules::Hint,
        signs::SEVERAL,
        text::{connections, have, place, program, span},
    },
    tcp::{ClosedBy, Role},
};

/// This verdict's name.
pub const CODE: &str = "missing-close";

/// From this many milliseconds on a CLOSE_WAIT is worth a word: most programs
/// close within milliseconds.
const NOTABLE_MS: u64 = 1_000;

/// See the module.
#[must_use]
pub fn check(case: &Case<'_>) -> Option<Verdict> {
    let found = Finding::of(case);
    if !found.is_proven() {
        return None;
    }
    let affected = found.all.len();
    let why = format!(
        "{} {} have been in CLOSE_WAIT, the oldest for at least {}: the peer closed them, and {} never did{}",
        connections(affected),
        place(case),
        span(found.oldest_ms),
        program(case.key),
        found.what_else(),
    );
    Some(Verdict {
        code: CODE,
        class: Class::Leak,
        confidence: Confidence::High,
        fault: Some(Fault::LocalApp),
        why,
        fix: case.fix(CODE),
        evidence: vec![
            Evidence::new("connections that the peer closed and we did not", affected),
            Evidence::new("of these, older than the grace period", found.old),
            Evidence::new(
                "of the older, those that no idle pool explains",
                found.definite,
            ),
            Evidence::new(
                "end-of-file read (Recv-Q 0)",
                found.count(|s| s.recv_q == 0),
            ),
            Evidence::new("unread data (Recv-Q > 1)", found.unread()),
            Evidence::new("growing in both halves of the watch", found.growing),
            Evidence::new("oldest in CLOSE_WAIT, at least, ms", found.oldest_ms),
            Evidence::new("grace period, ms", case.grace_ms()),
        ],
        affected,
    })
}

/// A few that are proven, or several that a pool may explain.
pub(crate) fn hint(case: &Case<'_>) -> Option<Hint> {
    let found = Finding::of(case);
    // Bounded is fine: a pool closed as many that were hung up on while we watched, so
    // it comes back for them.
    let all = found.all.len() as u64;
    let comes_back = case.key.role == Role::Client && case.tally.ended_by(ClosedBy::Peer) >= all;
    if comes_back && found.definite == 0 && !found.growing {
        return None;
    }
    let lasting = found.all.iter().filter(|a| a.outlasts(NOTABLE_MS)).count();
    let sit = format!(
        "{} {} {} been in CLOSE_WAIT, the oldest for at least {}",
        connections(lasting),
        place(case),
        have(lasting),
        span(found.oldest_ms),
    );
    let why = if found.definite > 0 {
        format!("{sit}: the program may have forgotten to close, but these are too few to be sure")
    } else if found.old >= SEVERAL {
        format!(
            "{sit}, unread, and they do not grow in number: an idle pool without a background \
             reader, or an old leak; watch longer under load"
        )
    } else if lasting >= SEVERAL {
        format!("{sit}: too early to tell whether the program will close them")
    } else {
        return None;
    };
    Some(Hint {
        why,
        evidence: Evidence::new("connections in CLOSE_WAIT for over 1 s", lasting),
        affected: lasting,
    })
}
