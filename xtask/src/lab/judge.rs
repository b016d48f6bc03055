//! A report against what is true. Pure.

use serde::{Deserialize, Serialize};

use super::expectation::{Class, Expectation, Role};

/// What the lab reads of a report of `tcpleak leaks`.
#[derive(Debug, Deserialize)]
pub(crate) struct Report {
    pub(crate) groups: Vec<Group>,
}

/// Connections of one owner to one end, and what was said of them.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Group {
    pub(crate) verdict: Verdict,
    pub(crate) owner: Owner,
    pub(crate) role: Role,
    pub(crate) remote: String,
    pub(crate) local_port: u16,
    pub(crate) site: Frames,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) code: String,
    pub(crate) class: Class,
    pub(crate) why: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Owner {
    pub(crate) pid: Option<u32>,
    pub(crate) comm: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Frames {
    pub(crate) frames: Vec<String>,
}

/// A scenario of a run, for the judge.
pub(crate) struct Tried<'a> {
    pub(crate) name: &'a str,
    pub(crate) expected: &'a Expectation,
    /// Whether a group's owner is the program that the expectation names
    pub(crate) is_owner: Box<dyn Fn(&Owner) -> bool + 'a>,
}

/// How a scenario came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Outcome {
    pub(crate) scenario: String,
    pub(crate) expected_class: Class,
    pub(crate) expected_code: String,
    /// The worst that was said of the expected owner; `unknown`, `nothing-seen`
    /// where it is in no group
    pub(crate) told_class: Class,
    /// The same; the expected one where another was told that is as true
    pub(crate) told_code: String,
    pub(crate) why: String,
    /// Whether the expected call site was named; `None` where none is expected
    pub(crate) site: Option<bool>,
    /// Leaks and stuck sockets that were told of programs which are healthy
    pub(crate) false_alarms: Vec<String>,
}

impl Outcome {
    pub(crate) fn class_is_right(&self) -> bool {
        self.told_class == self.expected_class
    }

    pub(crate) fn code_is_right(&self) -> bool {
        self.told_code == self.expected_code
    }
}

/// Judges every scenario of one run. An alarm that none of them expects goes to
/// the account of the one whose owner it names, else of the first.
pub(crate) fn judge(report: &Report, tried: &[Tried<'_>]) -> Vec<Outcome> {
    let mut outcomes: Vec<_> = tried.iter().map(|one| outcome(report, one)).collect();
    for group in report
        .groups
        .iter()
        .filter(|group| group.verdict.class.is_alarm())
    {
        let is_true = |one: &Tried<'_>| one.expected.class.is_trouble() && one.speaks_of(group);
        if tried.iter().any(is_true) {
            continue;
        }
        let owner = tried.iter().position(|one| (one.is_owner)(&group.owner));
        outcomes[owner.unwrap_or(0)]
            .false_alarms
            .push(group.shown());
    }
    outcomes
}

impl Tried<'_> {
    /// Whether `group` is what the expectation is about.
    fn speaks_of(&self, group: &Group) -> bool {
        let role = self.expected.role;
        // Connections that nobody accepted may be told of the listener too.
        let is_side = group.role == role || (role == Role::Server && group.role == Role::Listener);
        is_side && (self.is_owner)(&group.owner)
    }
}

fn outcome(report: &Report, tried: &Tried<'_>) -> Outcome {
    let expected = tried.expected;
    let worst = report
        .groups
        .iter()
        .filter(|group| tried.speaks_of(group))
        // The expected code first among equals.
        .min_by_key(|group| {
            let verdict = &group.verdict;
            (verdict.class, !expected.allows(&verdict.code))
        });
    let (class, code, why) = worst.map_or((Class::Unknown, "nothing-seen", ""), |group| {
        let verdict = &group.verdict;
        (verdict.class, verdict.code.as_str(), verdict.why.as_str())
    });
    let told_code = if expected.allows(code) {
        &expected.code
    } else {
        code
    };
    Outcome {
        scenario: tried.name.to_owned(),
        expected_class: expected.class,
        expected_code: expected.code.clone(),
        told_class: class,
        told_code: told_code.to_owned(),
        why: why.to_owned(),
        site: expected
            .site
            .as_ref()
            .map(|site| worst.is_some_and(|group| site.is_in(&group.site.frames))),
        false_alarms: Vec::new(),
    }
}

impl Group {
    fn shown(&self) -> String {
        let comm = self.owner.comm.as_deref().unwrap_or("unknown");
        let end = match self.role {
            Role::Client => format!("client of {}", self.remote),
            Role::Server | Role::Listener => format!("server on port {}", self.local_port),
        };
        format!("{}: {comm}, {end}: {}", self.verdict.code, self.verdict.why)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(groups: &[(u32, &str, &str, &str)]) -> Report {
        let groups: Vec<_> = groups
            .iter()
            .map(|(pid, role, code, class)| {
                json!({
                    "verdict": {"code": code, "class": class, "why": "", "fix": "", "evidence": []},
                    "owner": {"pid": pid, "comm": "x", "processes": 1},
                    "role": role, "remote": "127.0.0.1:80", "local_port": 0,
                    "site": {"id": "0", "frames": ["main.fetch main.go:3"]},
                })
            })
            .collect();
        serde_json::from_value(json!({"groups": groups})).expect("a report")
    }

    fn expected(class: &str, code: &str) -> Expectation {
        let text = format!(
            "class = '{class}'\ncode = '{code}'\nalso = ['other']\nrole = 'client'\n\
             site = {{ function = 'main.fetch' }}"
        );
        toml::from_str(&text).expect("an expectation")
    }

    /// The outcome of one scenario whose owner is process 1.
    fn judged(expected: &Expectation, groups: &[(u32, &str, &str, &str)]) -> Outcome {
        let tried = Tried {
            name: "go/x",
            expected,
            is_owner: Box::new(|owner| owner.pid == Some(1)),
        };
        judge(&report(groups), &[tried]).remove(0)
    }

    #[test]
    fn the_worst_of_the_owner_counts() {
        let leaks = expected("leak", "missing-close");
        let told = judged(
            &leaks,
            &[
                (1, "client", "healthy", "healthy"),
                (1, "client", "missing-close", "leak"),
            ],
        );
        assert!(told.class_is_right() && told.code_is_right());
        assert_eq!(told.site, Some(true));
        assert!(told.false_alarms.is_empty());
    }

    #[test]
    fn another_code_may_be_as_true() {
        let leaks = expected("leak", "missing-close");
        assert!(judged(&leaks, &[(1, "client", "other", "leak")]).code_is_right());
        let wrong = judged(&leaks, &[(1, "client", "dead-fd", "leak")]);
        assert!(wrong.class_is_right() && !wrong.code_is_right());
    }

    #[test]
    fn an_owner_not_seen_is_a_miss() {
        let leaks = expected("leak", "missing-close");
        let told = judged(&leaks, &[(1, "server", "healthy", "healthy")]);
        assert_eq!(told.told_code, "nothing-seen");
        assert!(!told.class_is_right());
        assert_eq!(told.site, Some(false));
    }

    #[test]
    fn alarms_of_others_are_false() {
        let leaks = expected("leak", "missing-close");
        let found = (1, "client", "missing-close", "leak");
        let bystander = judged(&leaks, &[found, (2, "client", "dead-fd", "leak")]);
        assert_eq!(bystander.false_alarms.len(), 1);
        let other_side = judged(&leaks, &[found, (1, "server", "accept-stalled", "stuck")]);
        assert_eq!(other_side.false_alarms.len(), 1);
        let mild = judged(&leaks, &[found, (2, "server", "peer-leaks", "peer")]);
        assert!(mild.false_alarms.is_empty());
    }

    #[test]
    fn a_healthy_owner_called_leaking_is_a_false_alarm() {
        let healthy = expected("healthy", "healthy");
        let told = judged(&healthy, &[(1, "client", "unbounded-growth", "leak")]);
        assert_eq!(told.false_alarms.len(), 1);
        assert_eq!(told.told_class, Class::Leak);
    }

    #[test]
    fn two_in_one_namespace_are_judged_apart() {
        let (leaks, healthy) = (
            expected("leak", "missing-close"),
            expected("healthy", "healthy"),
        );
        let tried = |expected, pid| Tried {
            name: "x",
            expected,
            is_owner: Box::new(move |owner: &Owner| owner.pid == Some(pid)),
        };
        let report = report(&[
            (1, "client", "missing-close", "leak"),
            (2, "client", "dead-fd", "leak"),
        ]);
        let outcomes = judge(&report, &[tried(&leaks, 1), tried(&healthy, 2)]);
        assert!(outcomes[0].false_alarms.is_empty());
        assert_eq!(outcomes[1].false_alarms.len(), 1);
    }
}
