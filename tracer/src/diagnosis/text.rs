//! Words that several rules use. Pure.
//!
//! Nothing here prints a process's name: a process chooses it, and a verdict's
//! words go to terminals and logs as they are.

use std::fmt::Display;

use crate::{diagnosis::Case, table::site::SiteKey, tcp::Role};

/// A duration for readers, cut to what matters: "0.8 s", "18 s", "35 min", "5 h".
pub(crate) fn span(ms: u64) -> String {
    const SECOND: u64 = 1_000;
    const MINUTE: u64 = 60 * SECOND;
    const HOUR: u64 = 60 * MINUTE;
    if ms < SECOND / 10 {
        format!("{ms} ms")
    } else if ms < SECOND {
        format!("0.{} s", ms / 100)
    } else if ms < 2 * MINUTE {
        format!("{} s", ms / SECOND)
    } else if ms < 2 * HOUR {
        format!("{} min", ms / MINUTE)
    } else {
        format!("{} h", ms / HOUR)
    }
}

/// "1 connection", "25 connections".
pub(crate) fn connections<N: Display + PartialEq + From<u8>>(n: N) -> String {
    let plural = if n == N::from(1) { "" } else { "s" };
    format!("{n} connection{plural}")
}

/// The verb that goes with `n` of something.
pub(crate) const fn have(n: usize) -> &'static str {
    if n == 1 { "has" } else { "have" }
}

/// Where a site's connections lead: "to 10.0.0.7:5432", "at local port 80".
pub(crate) fn place(case: &Case<'_>) -> String {
    match (case.key.role, case.destinations) {
        (Role::Client, 2..) => format!("to {} destinations", case.destinations),
        (Role::Client, _) => format!("to {}", case.key.end),
        (Role::Server | Role::Listener, _) => {
            format!("at local port {}", case.key.end.port())
        }
    }
}

/// Who must act: "the program (pid 123)".
pub(crate) fn program(key: &SiteKey) -> String {
    match key.pid {
        0 => "the program".to_owned(),
        pid => format!("the program (pid {pid})"),
    }
}

#[cfg(test)]
mod tests {
    use super::{connections, span};

    #[test]
    fn durations_are_cut_to_what_matters() {
        let cases = [
            (0, "0 ms"),
            (50, "50 ms"),
            (100, "0.1 s"),
            (999, "0.9 s"),
            (1_000, "1 s"),
            (119_999, "119 s"),
            (120_000, "2 min"),
            (7_199_999, "119 min"),
            (7_200_000, "2 h"),
        ];
        for (ms, text) in cases {
            assert_eq!(span(ms), text);
        }
    }

    #[test]
    fn one_connection_is_singular() {
        assert_eq!(connections(1_u64), "1 connection");
        assert_eq!(connections(0_usize), "0 connections");
    }
}
