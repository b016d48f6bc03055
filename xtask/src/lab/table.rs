//! The result of the lab: what was told against what is true. Pure.

use std::{collections::BTreeMap, fmt};

use serde_json::{Value, json};

use super::{expectation::Class, judge::Outcome};

/// Every outcome, by scenario.
#[derive(Debug)]
pub(crate) struct Table {
    outcomes: Vec<Outcome>,
}

/// How many were told, were so, and were both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Score {
    right: usize,
    told: usize,
    expected: usize,
}

impl Score {
    /// Of what was told, the share that is so; 1 where nothing was told.
    pub(crate) fn precision(self) -> f64 {
        share(self.right, self.told)
    }

    /// Of what is so, the share that was told; 1 where nothing is.
    pub(crate) fn recall(self) -> f64 {
        share(self.right, self.expected)
    }

    fn add(&mut self, told: bool, expected: bool, right: bool) {
        self.told += usize::from(told);
        self.expected += usize::from(expected);
        self.right += usize::from(right && expected);
    }

    fn json(self) -> Value {
        json!({
            "told": self.told, "expected": self.expected, "right": self.right,
            "precision": self.precision(), "recall": self.recall(),
        })
    }
}

fn share(part: usize, whole: usize) -> f64 {
    let number = |count| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    if whole == 0 {
        1.0
    } else {
        number(part) / number(whole)
    }
}

impl Table {
    /// Sorts them by name.
    pub(crate) fn of(mut outcomes: Vec<Outcome>) -> Self {
        outcomes.sort_by(|a, b| a.scenario.cmp(&b.scenario));
        Self { outcomes }
    }

    /// Alarms that were told of what is healthy.
    pub(crate) fn false_alarms(&self) -> usize {
        self.outcomes.iter().map(|one| one.false_alarms.len()).sum()
    }

    /// Expected call sites that were named, of how many.
    pub(crate) fn sites(&self) -> (usize, usize) {
        let sites: Vec<_> = self.outcomes.iter().filter_map(|one| one.site).collect();
        (sites.iter().filter(|named| **named).count(), sites.len())
    }

    /// Of all classes of trouble together. Alarms of bystanders count as told.
    pub(crate) fn by_class(&self) -> Score {
        self.score(Outcome::class_is_right)
    }

    /// The same, right only where the code is too.
    pub(crate) fn overall_by_code(&self) -> Score {
        self.score(|one| one.class_is_right() && one.code_is_right())
    }

    fn score(&self, is_right: impl Fn(&Outcome) -> bool) -> Score {
        let mut score = Score::default();
        for one in &self.outcomes {
            let told = one.told_class.is_trouble();
            score.add(told, one.expected_class.is_trouble(), is_right(one));
            // An alarm of the owner itself has been counted.
            let counted =
                usize::from(one.told_class.is_alarm() && !one.expected_class.is_trouble());
            score.told += one.false_alarms.len().saturating_sub(counted);
        }
        score
    }

    /// Of each code of trouble that is expected or was told.
    fn by_code(&self) -> BTreeMap<&str, Score> {
        let mut scores: BTreeMap<&str, Score> = BTreeMap::new();
        for one in &self.outcomes {
            if one.expected_class.is_trouble() {
                let score = scores.entry(&one.expected_code).or_default();
                score.add(false, true, one.code_is_right());
            }
            if one.told_class.is_trouble() {
                scores.entry(&one.told_code).or_default().told += 1;
            }
        }
        scores
    }

    /// How often `told` was said of what is `expected`.
    fn confusion(&self, expected: Class, told: Class) -> usize {
        let outcomes = self.outcomes.iter();
        outcomes
            .filter(|one| one.expected_class == expected && one.told_class == told)
            .count()
    }

    /// The whole for programs.
    pub(crate) fn json(&self) -> Value {
        let codes: serde_json::Map<_, _> = self
            .by_code()
            .into_iter()
            .map(|(code, score)| (code.to_owned(), score.json()))
            .collect();
        let confusion: serde_json::Map<_, _> = Class::ALL
            .into_iter()
            .map(|expected| {
                let row: serde_json::Map<_, _> = Class::ALL
                    .into_iter()
                    .map(|told| {
                        (
                            told.name().to_owned(),
                            self.confusion(expected, told).into(),
                        )
                    })
                    .collect();
                (expected.name().to_owned(), row.into())
            })
            .collect();
        let (named, of) = self.sites();
        json!({
            "scenarios": self.outcomes,
            "confusion": confusion,
            "by_class": self.by_class().json(),
            "by_code": self.overall_by_code().json(),
            "codes": codes,
            "sites": {"named": named, "of": of},
            "false_alarms": self.false_alarms(),
        })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.scenarios(f)?;
        self.matrix(f)?;
        self.scores(f)?;
        let (named, of) = self.sites();
        writeln!(f, "call sites named: {named} of {of}")?;
        writeln!(f, "false alarms: {}", self.false_alarms())
    }
}

impl Table {
    fn scenarios(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n  {:<26} {:<21} {:<21} SITE",
            "SCENARIO", "EXPECTED", "TOLD"
        )?;
        for one in &self.outcomes {
            let mark = match (one.class_is_right(), one.code_is_right()) {
                (true, true) => ' ',
                (true, false) => '~',
                _ => '!',
            };
            let site = match one.site {
                Some(true) => "named",
                Some(false) => "no",
                None => "-",
            };
            writeln!(
                f,
                "{mark} {:<26} {:<21} {:<21} {site}",
                one.scenario, one.expected_code, one.told_code
            )?;
            for alarm in &one.false_alarms {
                wrapped(f, &format!("FALSE ALARM {alarm}"))?;
            }
        }
        writeln!(f, "! wrong class, ~ right class with another code\n")
    }

    fn matrix(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<13}", "IS \\ TOLD")?;
        for told in Class::ALL {
            write!(f, " {:>8}", told.name())?;
        }
        writeln!(f)?;
        for expected in Class::ALL {
            if self
                .outcomes
                .iter()
                .all(|one| one.expected_class != expected)
            {
                continue;
            }
            write!(f, "{:<13}", expected.name())?;
            for told in Class::ALL {
                write!(f, " {:>8}", self.confusion(expected, told))?;
            }
            writeln!(f)?;
        }
        writeln!(f)
    }

    fn scores(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<23} {:>5} {:>5} {:>5}  PRECISION  RECALL",
            "", "IS", "TOLD", "RIGHT"
        )?;
        let codes = self.by_code();
        let totals = [
            ("all, by class", self.by_class()),
            ("all, by code", self.overall_by_code()),
        ];
        for (name, score) in codes.into_iter().chain(totals) {
            writeln!(
                f,
                "{name:<23} {:>5} {:>5} {:>5}  {:>9.2}  {:>6.2}",
                score.expected,
                score.told,
                score.right,
                score.precision(),
                score.recall()
            )?;
        }
        writeln!(f)
    }
}

/// Text below a row, in lines that fit a narrow terminal.
fn wrapped(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    const WIDTH: usize = 76;
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
            writeln!(f, "    {line}")?;
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    writeln!(f, "    {line}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(expected: (Class, &str), told: (Class, &str), alarms: usize) -> Outcome {
        Outcome {
            scenario: "go/x".to_owned(),
            expected_class: expected.0,
            expected_code: expected.1.to_owned(),
            told_class: told.0,
            told_code: told.1.to_owned(),
            why: String::new(),
            site: Some(told.0 == Class::Leak),
            false_alarms: vec!["something in many words ".repeat(9); alarms],
        }
    }

    fn table() -> Table {
        let leak = (Class::Leak, "missing-close");
        let healthy = (Class::Healthy, "healthy");
        Table::of(vec![
            outcome(leak, leak, 0),
            outcome(leak, (Class::Leak, "dead-fd"), 0),
            outcome(leak, (Class::Unknown, "not-enough-data"), 0),
            outcome((Class::Stuck, "connect-stuck"), leak, 0),
            outcome(healthy, healthy, 0),
            outcome(healthy, leak, 1),
        ])
    }

    #[test]
    fn precision_and_recall_by_class() {
        // Told of trouble: five less two; two of the four were told right.
        let score = table().by_class();
        assert_eq!((score.told, score.expected, score.right), (4, 4, 2));
        assert!((score.precision() - 0.5).abs() < 1e-9);
        assert!((score.recall() - 0.5).abs() < 1e-9);
        assert_eq!(table().overall_by_code().right, 1);
    }

    #[test]
    fn precision_and_recall_by_code() {
        let table = table();
        let codes = table.by_code();
        let missing = codes["missing-close"];
        assert_eq!((missing.told, missing.expected, missing.right), (3, 3, 1));
        assert_eq!(codes["dead-fd"].told, 1);
        assert!(codes["connect-stuck"].recall().abs() < 1e-9);
        assert!(!codes.contains_key("healthy"));
    }

    #[test]
    fn the_alarm_of_a_bystander_costs_precision() {
        let leak = (Class::Leak, "missing-close");
        let table = Table::of(vec![outcome(leak, leak, 1)]);
        assert_eq!(table.by_class().told, 2);
        assert_eq!(table.false_alarms(), 1);
        assert!((table.by_class().recall() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_told_and_nothing_expected_is_no_fault() {
        let healthy = (Class::Healthy, "healthy");
        let table = Table::of(vec![outcome(healthy, healthy, 0)]);
        assert!((table.by_class().precision() - 1.0).abs() < 1e-9);
        assert!((table.by_class().recall() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn fits_a_narrow_terminal() {
        let text = table().to_string();
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        assert!(text.contains("call sites named: 4 of 6"), "{text}");
    }

    #[test]
    fn json_has_what_the_table_has() {
        let json = table().json();
        assert_eq!(json["confusion"]["leak"]["unknown"], 1);
        assert_eq!(json["scenarios"].as_array().map(Vec::len), Some(6));
        assert_eq!(json["sites"]["of"], 6);
    }
}
