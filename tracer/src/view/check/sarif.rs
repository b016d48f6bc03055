//! `check` as SARIF 2.1.0 (OASIS): what code review shows beside the line.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    check::{
        report::{Finding, Run},
        rule::{HELD, Verdict},
    },
    diagnosis::explain,
    model::untrusted::Untrusted,
};

/// The whole log.
pub(super) fn log(run: &Run) -> Value {
    let codes: BTreeSet<&str> = run.findings.iter().map(|finding| finding.code).collect();
    let command: Vec<&str> = run.command.iter().map(Untrusted::raw).collect();
    let folder = run.folder.as_ref().map(Untrusted::raw);
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "tcpleak",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": codes.into_iter().map(rule).collect::<Vec<_>>(),
            }},
            "invocations": [{
                "commandLine": command.join(" "),
                "exitCode": run.ended.code(),
                "executionSuccessful": true,
            }],
            "results": run.findings.iter().map(|finding| result(finding, folder)).collect::<Vec<_>>(),
        }],
    })
}

fn rule(code: &str) -> Value {
    let title = match explain::of(code) {
        Some(text) => text.title(),
        None => "closed by nothing but the end of a process",
    };
    let help = match code {
        HELD => "Fails a run with --strict only.".to_owned(),
        _ => format!("tcpleak explain {code}"),
    };
    json!({"id": code, "shortDescription": {"text": title}, "help": {"text": help}})
}

fn result(finding: &Finding, folder: Option<&str>) -> Value {
    let level = match (finding.fails, finding.verdict) {
        (true, _) => "error",
        (false, Verdict::Held) => "note",
        (false, _) => "warning",
    };
    let mut result = json!({
        "ruleId": finding.code,
        "level": level,
        "message": {"text": format!("{}. {}", finding.why, finding.fix)},
        "partialFingerprints": {"site/v1": format!("{:016x}", finding.site.code())},
    });
    if let Some(location) = location(finding, folder) {
        result["locations"] = json!([location]);
    }
    if let Some(pattern) = &finding.allowed_by {
        let why = format!("--allow {pattern}");
        result["suppressions"] = json!([{"kind": "external", "justification": why}]);
    }
    result
}

fn location(finding: &Finding, folder: Option<&str>) -> Option<Value> {
    let frame = finding.site.place()?;
    let name = frame.function.as_ref().map(Untrusted::raw);
    let mut location = json!({"logicalLocations": [{"fullyQualifiedName": name}]});
    if let (Some(file), Some(line)) = (&frame.file, frame.line) {
        let path = finding.site.path.as_ref().unwrap_or(file).raw();
        // Viewers look a file up below the folder that they have.
        let below = folder.and_then(|folder| path.strip_prefix(folder)?.strip_prefix('/'));
        location["physicalLocation"] = json!({
            "artifactLocation": {"uri": uri(below.unwrap_or(path))},
            "region": {"startLine": line.max(1)},
        });
    }
    Some(location)
}

/// A path as a relative reference, or as one from the root.
fn uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                uri.push(byte.into());
            }
            _ => uri += &format!("%{byte:02X}"),
        }
    }
    if path.starts_with('/') {
        uri.insert_str(0, "file://");
    }
    uri
}
