//! A timeline for Perfetto and chrome://tracing: the Trace Event Format, in JSON.
//!
//! A site is a process there, a connection a thread, a phase a slice on it.

use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::json;
use crate::model::{
    connection::endpoint,
    timeline::{Row, Site, Timeline},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    trace_events: Vec<Value>,
    display_time_unit: &'static str,
    other_data: Value,
}

/// Writes it. Times are microseconds from the start of the trace.
///
/// # Errors
/// As `out` fails.
pub fn perfetto(out: &mut dyn Write, timeline: &Timeline) -> io::Result<()> {
    let (from, to) = timeline.window;
    let mut events = Vec::new();
    let mut next = 1;
    for (number, site) in (1..).zip(&timeline.sites) {
        events.push(named("process_name", number, 0, &site_name(site)));
        for row in &site.rows {
            events.push(named("thread_name", number, next, &row_name(row)));
            events.extend(events_of(row, number, next, from));
            next += 1;
        }
    }
    let document = Document {
        trace_events: events,
        display_time_unit: "ms",
        other_data: json!({
            "host": timeline.host.raw(),
            "from": json::time(from),
            "to": json::time(to),
            "events_lost": timeline.loss.events_lost,
        }),
    };
    json::line(out, &document)
}

fn named(what: &str, pid: u64, tid: u64, name: &str) -> Value {
    json!({"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": name}})
}

fn site_name(site: &Site) -> String {
    let comm = site.comm.as_ref().map_or("unknown", |comm| comm.raw());
    let pid = site.pid.map_or_else(String::new, |pid| format!("[{pid}]"));
    let code = site.call_site.as_ref();
    let code = code.map_or_else(String::new, |frame| format!(", at {}", frame.text().raw()));
    format!("{comm}{pid}, {} {}{code}", site.role, endpoint(site.end))
}

fn row_name(row: &Row) -> String {
    let connection = &row.connection;
    let fd = connection
        .fd
        .map_or_else(String::new, |fd| format!("fd {fd} "));
    format!("{fd}{} {}", connection.local, connection.remote)
}

fn events_of(row: &Row, pid: u64, tid: u64, from: Timestamp) -> impl Iterator<Item = Value> {
    let us = move |at: Timestamp| u64::try_from(at.duration_since(from).as_micros()).unwrap_or(0);
    let connection = &row.connection;
    let mut args = Map::new();
    for (name, value) in [
        ("id", json!(connection.id)),
        ("tx_bytes", json!(connection.tx_bytes)),
        ("rx_bytes", json!(connection.rx_bytes)),
        ("retransmits", json!(connection.retransmits)),
        ("open", json!(row.is_open)),
        ("verdict", json!(row.verdict)),
    ] {
        args.insert(name.to_owned(), value);
    }
    let spans = row.spans.iter().map(move |span| {
        json!({
            "ph": "X", "cat": "tcp", "name": span.phase.name(), "pid": pid, "tid": tid,
            "ts": us(span.from), "dur": us(span.to) - us(span.from), "args": args,
        })
    });
    let marks = row.marks.iter().map(move |mark| {
        json!({
            "ph": "i", "s": "t", "cat": "tcp", "name": mark.kind.name(), "pid": pid,
            "tid": tid, "ts": us(mark.at),
        })
    });
    spans.chain(marks)
}
