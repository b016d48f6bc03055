//! `tcpleak doctor`: what this host supports.

use std::io::{self, Write};

use comfy_table::{Cell, Color};
use serde::Serialize;

use super::{
    Format, Style, csv, json, table,
    text::{Page, count},
};
use crate::model::{
    report::{Check, Doctor, Status},
    untrusted::spelled_out,
};

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    #[serde(flatten)]
    doctor: &'a Doctor,
}

/// Writes what was found, and what to do.
///
/// # Errors
/// As `out` fails.
pub fn doctor(
    out: &mut dyn Write,
    doctor: &Doctor,
    format: Format,
    style: Style,
) -> io::Result<()> {
    match format {
        Format::Table => people(&mut Page::new(out, style), doctor),
        Format::Json => json::document(
            out,
            &Document {
                schema: "tcpleak.doctor/1",
                doctor,
            },
        ),
        Format::Jsonl => doctor
            .checks
            .iter()
            .try_for_each(|check| json::line(out, check)),
        Format::Csv => {
            csv::record(out, ["check", "status", "found", "fix"])?;
            doctor.checks.iter().try_for_each(|check| {
                let fix = csv::maybe(check.fix.as_ref());
                let cells = [
                    csv::text(check.name),
                    word(check.status).0.into(),
                    csv::text(&check.found),
                    fix,
                ];
                csv::record(out, cells)
            })
        }
    }
}

const fn word(status: Status) -> (&'static str, Color) {
    match status {
        Status::Ok => ("ok", Color::Green),
        Status::Degraded => ("degraded", Color::Yellow),
        Status::Missing => ("missing", Color::Red),
    }
}

fn people(page: &mut Page<'_>, doctor: &Doctor) -> io::Result<()> {
    let mut table = table::empty(page.style, ["CHECK", "STATUS", "FOUND"]);
    for check in &doctor.checks {
        let mut found = spelled_out(&check.found).into_owned();
        if let Some(fix) = &check.fix {
            found.push_str("\nfix: ");
            found.push_str(&spelled_out(fix));
        }
        let (status, color) = word(check.status);
        table.add_row([
            Cell::new(check.name),
            Cell::new(status).fg(color),
            Cell::new(found),
        ]);
    }
    table::lines(page.out, 0, &table)?;
    page.blank()?;
    if let (Some(plan), false) = (doctor.plan, doctor.blind.is_empty()) {
        page.text(format_args!("The {plan} plan cannot see:"))?;
        for blind in &doctor.blind {
            page.labelled("- ", blind)?;
        }
    }
    page.text(closing(doctor))
}

fn closing(doctor: &Doctor) -> String {
    let kernel = &doctor.kernel;
    let first = |status| {
        doctor
            .checks
            .iter()
            .find(|check: &&Check| check.status == status)
    };
    let Some(plan) = doctor.plan else {
        let fix = first(Status::Missing).and_then(|check| check.fix.as_deref());
        let fix = fix.map_or_else(
            || "no probe plan works here".to_owned(),
            |fix| format!("first, {fix}"),
        );
        return format!("tcpleak cannot trace on kernel {kernel}: {fix}.");
    };
    let short = doctor
        .checks
        .iter()
        .filter(|check| check.status != Status::Ok)
        .count();
    let ready = format!("tcpleak can trace on kernel {kernel} with the {plan} plan");
    match u64::try_from(short) {
        Ok(n @ 1..) => format!("{ready}; {} above could be better.", count(n, "check")),
        _ => format!("{ready}; nothing is missing."),
    }
}
