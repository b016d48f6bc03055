//! The JSON of `timeline`. Scripts rely on it: names may be added, never changed.

use serde::{Serialize, Serializer, ser::SerializeMap as _};

use crate::{
    model::{
        connection::endpoint,
        report::Loss,
        timeline::{MarkKind, Phase, Row, Timeline},
    },
    tcp::Role,
    view::json::{self, Window},
};

#[derive(Serialize)]
pub(super) struct Document<'a> {
    schema: &'static str,
    host: &'a str,
    window: Window,
    loss: &'a Loss,
    damaged: bool,
    left_out: u64,
    sites: Vec<SiteOf<'a>>,
}

#[derive(Serialize)]
struct SiteOf<'a> {
    id: &'a str,
    pid: Option<u32>,
    comm: Option<&'a str>,
    role: Role,
    end: String,
    call_site: Option<String>,
    connections: Vec<RowOf<'a>>,
}

impl<'a> Document<'a> {
    pub(super) fn new(timeline: &'a Timeline) -> Self {
        let sites = timeline.sites.iter().map(|site| SiteOf {
            id: &site.id,
            pid: site.pid,
            comm: json::raw(site.comm.as_ref()),
            role: site.role,
            end: endpoint(site.end),
            call_site: site
                .call_site
                .as_ref()
                .map(|frame| frame.text().raw().to_owned()),
            connections: site.rows.iter().map(RowOf).collect(),
        });
        Self {
            schema: "tcpleak.timeline/1",
            host: timeline.host.raw(),
            window: Window::new(timeline.window),
            loss: &timeline.loss,
            damaged: timeline.loss.is_damaged,
            left_out: timeline.left_out,
            sites: sites.collect(),
        }
    }
}

/// A connection's fields, and what it did.
struct RowOf<'a>(&'a Row);

impl Serialize for RowOf<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct SpanOf {
            phase: Phase,
            from: String,
            to: String,
        }
        #[derive(Serialize)]
        struct MarkOf {
            mark: MarkKind,
            at: String,
        }
        let spans = self.0.spans.iter().map(|span| SpanOf {
            phase: span.phase,
            from: json::time(span.from),
            to: json::time(span.to),
        });
        let marks = self.0.marks.iter().map(|mark| MarkOf {
            mark: mark.kind,
            at: json::time(mark.at),
        });
        let mut map = serializer.serialize_map(None)?;
        json::Row(&self.0.connection).entries(&mut map)?;
        map.serialize_entry("open", &self.0.is_open)?;
        map.serialize_entry("verdict", &self.0.verdict)?;
        map.serialize_entry("spans", &spans.collect::<Vec<_>>())?;
        map.serialize_entry("marks", &marks.collect::<Vec<_>>())?;
        map.end()
    }
}
