//! `check` as JUnit's XML: a test case for each finding, so that a CI server shows a
//! leak beside the tests, and that it is gone.

use std::io::{self, Write};

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::{end, place};
use crate::check::report::{Finding, Run};

pub(super) fn write(out: &mut dyn Write, run: &Run) -> io::Result<()> {
    let mut suite = TestSuite::new("tcpleak check");
    suite.add_property(("command", words(run).as_str()));
    suite.add_test_cases(run.findings.iter().map(case));
    if run.findings.is_empty() {
        let name = "no connection is left open";
        suite.add_test_case(TestCase::new(name, TestCaseStatus::success()));
    }
    let mut report = Report::new("tcpleak");
    report.add_test_suite(suite);
    report.serialize(&mut *out).map_err(io::Error::other)
}

fn words(run: &Run) -> String {
    let words: Vec<_> = run.command.iter().map(ToString::to_string).collect();
    words.join(" ")
}

fn case(finding: &Finding) -> TestCase {
    let place = finding.site.place().map(place);
    let whereabouts = place.map_or_else(|| end(finding), |place| place.to_string());
    let mut status = match (&finding.allowed_by, finding.fails) {
        (Some(_), _) => TestCaseStatus::skipped(),
        (None, true) => TestCaseStatus::non_success(NonSuccessKind::Failure),
        (None, false) => TestCaseStatus::success(),
    };
    match &finding.allowed_by {
        Some(pattern) => status.set_message(format!("allowed by {pattern}")),
        None => status
            .set_type(finding.code)
            .set_message(finding.why.as_str()),
    };
    if finding.fails {
        status.set_description(description(finding));
    }
    let mut case = TestCase::new(format!("{} at {whereabouts}", finding.code), status);
    if let Some(comm) = &finding.comm {
        case.set_classname(comm.to_string());
    }
    if let Some(frame) = finding.site.place()
        && let (Some(file), Some(line)) = (&frame.file, frame.line)
    {
        let file = finding.site.path.as_ref().unwrap_or(file);
        case.extra.insert("file".into(), file.to_string().into());
        case.extra.insert("line".into(), line.to_string().into());
    }
    if !finding.fails {
        case.set_system_out(description(finding));
    }
    case
}

fn description(finding: &Finding) -> String {
    let mut text = format!("{}\n{}\n{}\n", finding.why, end(finding), finding.fix);
    for frame in finding.site.frames.iter() {
        text += &format!("  {frame}\n");
    }
    text
}
