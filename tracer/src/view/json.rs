//! JSON that is safe to print to a terminal: the only place that takes untrusted
//! text raw, but for Parquet, which is not printed.

use std::io::{self, Write};

use jiff::fmt::temporal::DateTimePrinter;
use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeSeq},
};
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};

use crate::model::{
    connection::Connection,
    fields::{FIELDS, Value},
    untrusted::{Untrusted, is_harmless},
};

/// One indented document.
pub(super) fn document(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    write(out, value, PrettyFormatter::new())
}

/// One object on one line.
pub(super) fn line(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    write(out, value, CompactFormatter)
}

/// As `line`, without its end: a text that is no less safe.
pub(super) fn text(value: &impl Serialize) -> io::Result<String> {
    let mut bytes = Vec::new();
    line(&mut bytes, value)?;
    bytes.pop();
    String::from_utf8(bytes).map_err(io::Error::other)
}

fn write(out: &mut dyn Write, value: &impl Serialize, layout: impl Formatter) -> io::Result<()> {
    // In memory first: a trace writes many small pieces, each of which would be a call.
    let mut text = Vec::with_capacity(2_048);
    value.serialize(&mut serde_json::Serializer::with_formatter(
        &mut text,
        Harmless(layout),
    ))?;
    text.push(b'\n');
    out.write_all(&text)
}

/// A layout that escapes every character that could act on a terminal. A parser
/// gets the text back as it was.
struct Harmless<L>(L);

macro_rules! as_the_layout_does {
    ($($method:ident($($arg:ident: $type:ty)?);)+) => {
        $(fn $method<W: ?Sized + Write>(&mut self, out: &mut W $(, $arg: $type)?) -> io::Result<()> {
            self.0.$method(out $(, $arg)?)
        })+
    };
}

impl<L: Formatter> Formatter for Harmless<L> {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        if fragment.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return out.write_all(fragment.as_bytes());
        }
        while let Some((at, c)) = rest.char_indices().find(|&(_, c)| !is_harmless(c)) {
            out.write_all(&rest.as_bytes()[..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = &rest[at + c.len_utf8()..];
        }
        out.write_all(rest.as_bytes())
    }

    as_the_layout_does! {
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first: bool);
        begin_object_value();
        end_object_value();
    }
}

/// Untrusted text as it is; only `Harmless` makes that safe.
pub(super) fn raw(text: Option<&Untrusted>) -> Option<&str> {
    text.map(Untrusted::raw)
}

/// A time in RFC 3339 with microseconds.
pub(super) fn time(at: jiff::Timestamp) -> String {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(6));
    PRINTER.timestamp_to_string(&at)
}

/// From when to when a report speaks.
#[derive(Serialize)]
pub(super) struct Window {
    from: String,
    to: String,
}

impl Window {
    pub(super) fn new((from, to): (jiff::Timestamp, jiff::Timestamp)) -> Self {
        Self {
            from: time(from),
            to: time(to),
        }
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Bool(truth) => serializer.serialize_bool(truth),
            Self::Int(number) => serializer.serialize_i64(number),
            Self::Uint(number) => serializer.serialize_u64(number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Untrusted(text) => serializer.serialize_str(text.raw()),
            Self::Time(at) => serializer.serialize_str(&time(at)),
            Self::Missing => serializer.serialize_none(),
            Self::History(history) => {
                let mut seq = serializer.serialize_seq(Some(history.len()))?;
                for &(state, at) in history {
                    seq.serialize_element(&Entry {
                        state: state.name(),
                        at: Value::Time(at),
                    })?;
                }
                seq.end()
            }
            Self::Holders(holders) => {
                serializer.collect_seq(holders.iter().map(|holder| Process {
                    pid: holder.pid,
                    fd: holder.fd,
                    comm: holder.comm.raw(),
                }))
            }
        }
    }
}

#[derive(Serialize)]
struct Process<'a> {
    pid: u32,
    fd: i32,
    comm: &'a str,
}

#[derive(Serialize)]
struct Entry<'a> {
    state: &'static str,
    at: Value<'a>,
}

/// A connection as an object.
pub(super) struct Row<'a>(pub(super) &'a Connection);

impl Row<'_> {
    /// The fields, into an object that may hold others.
    pub(super) fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        for field in FIELDS {
            map.serialize_entry(field.name, &(field.get)(self.0))?;
        }
        Ok(())
    }
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(FIELDS.len()))?;
        self.entries(&mut map)?;
        map.end()
    }
}

/// Connections as an array.
pub(super) struct Rows<'a>(pub(super) &'a [Connection]);

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Row))
    }
}
