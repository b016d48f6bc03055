//! `missing-close`: the peer hung up and the program never closed.
//!
//! CLOSE_WAIT alone proves nothing: a pool without a background reader
//! (urllib3, Apache HttpClient, many JDBC pools) keeps a bounded number of
//! sockets that the peer timed out until it next needs one. So some sign must
//! say that the program knew, or that the number is not bounded.

use crate::{
    diagnosis::{
        Case, Class, Confidence, Evidence, Fault, Verdict,
        abandoned::Abandoned,
        rules::Hint,
        signs::{PATIENCE_MS, SEVERAL},
        text::{connections, have, place, program, span},
        trend::piles_up,
    },
    table::connection::Sample,
    tcp::Role,
};

/// This verdict's name.
pub const CODE: &str = "missing-close";

/// From this many milliseconds on a CLOSE_WAIT is worth a word: most programs
/// close within milliseconds.
const NOTABLE_MS: u64 = 1_000;

/// The site's abandoned connections, sorted out.
struct Finding<'a> {
    all: Vec<Abandoned<'a>>,
    /// How many have lasted long enough to count.
    old: usize,
    /// Of the old, those that no pool explains.
    definite: usize,
    /// Whether their number grows without bound.
    growing: bool,
    /// Milliseconds since the first hang-up, at the least.
    oldest_ms: u64,
}

impl<'a> Finding<'a> {
    fn of(case: &Case<'a>) -> Self {
        let all: Vec<_> = case
            .live
            .iter()
            .filter_map(|c| Abandoned::of(case, c))
            .collect();
        let times: Vec<_> = all.iter().filter_map(|a| a.at).collect();
        let growing = piles_up(case, &times);
        let grace = case.grace_ms();
        let old: Vec<_> = all
            .iter()
            .filter(|a| {
                let patient = a.may_be_at_work() && !growing;
                a.outlasts(if patient {
                    grace.max(PATIENCE_MS)
                } else {
                    grace
                })
            })
            .collect();
        Self {
            old: old.len(),
            definite: old.iter().filter(|a| a.is_definite()).count(),
            growing,
            oldest_ms: all.iter().map(|a| a.ms).max().unwrap_or(0),
            all,
        }
    }

    fn is_proven(&self) -> bool {
        let most = self.definite >= SEVERAL && self.definite * 2 > self.old;
        self.old >= SEVERAL && (self.growing || most)
    }

    fn count(&self, is_it: impl Fn(&Sample) -> bool) -> usize {
        let samples = self.all.iter().filter_map(|a| a.sample);
        samples.filter(|sample| is_it(sample)).count()
    }
}

/// See the module.
#[must_use]
pub fn check(case: &Case<'_>) -> Option<Verdict> {
    let found = Finding::of(case);
    if !found.is_proven() {
        return None;
    }
    let affected = found.all.len();
    let unread = found.count(|sample| sample.recv_q > 1);
    let why = format!(
        "{} {} have been in CLOSE_WAIT, the oldest for at least {}: the peer closed them, and {} never did{}{}",
        connections(affected),
        place(case.key),
        span(found.oldest_ms),
        program(case.key),
        match unread {
            0 => String::new(),
            n => format!("; {n} of them hold data that nobody has read"),
        },
        if found.growing {
            "; their number keeps growing"
        } else {
            ""
        },
    );
    let fix = match case.key.role {
        Role::Client => {
            "Read each response to its end and close it on every path, errors too: \
             `defer resp.Body.Close()` in Go, `with` in Python, try-with-resources in Java."
        }
        Role::Server | Role::Listener => {
            "Close the connection when a read returns end-of-file (0 bytes) or an error, on every \
             path of the handler: `defer conn.Close()` in Go, `with` in Python, \
             try-with-resources in Java."
        }
    };
    Some(Verdict {
        code: CODE,
        class: Class::Leak,
        confidence: Confidence::High,
        fault: Some(Fault::LocalApp),
        why,
        fix: fix.to_owned(),
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
            Evidence::new("unread data (Recv-Q > 1)", unread),
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
    let lasting = found.all.iter().filter(|a| a.outlasts(NOTABLE_MS)).count();
    let sit = format!(
        "{} {} {} been in CLOSE_WAIT, the oldest for at least {}",
        connections(lasting),
        place(case.key),
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
