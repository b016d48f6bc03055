//! JSON objects of a connection's fields, many a second: byte for byte what [`json`]
//! writes of them, in a fraction of its time. A busy host's trace is a hundred
//! megabytes of them a second.

use std::io;

use jiff::Timestamp;

use super::json;
use crate::model::{
    connection::{Connection, Holder},
    fields::{FIELDS, Value},
};

/// Writes one line after the other.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    line: Vec<u8>,
    /// What stands before the value of each field, comma, name and colon; and the same
    /// with the word for what is not known, which every third field is.
    names: Vec<(String, String)>,
    /// The second that was written last, from the year to its decimal point: most times
    /// of a line, and of the next, lie in it.
    second: Option<(i64, String)>,
}

impl Default for Lines {
    fn default() -> Self {
        let names = FIELDS.iter().map(|field| {
            let name = format!(",\"{}\":", field.name);
            let unknown = format!("{name}null");
            (name, unknown)
        });
        Self {
            line: Vec::new(),
            names: names.collect(),
            second: None,
        }
    }
}

impl Lines {
    /// An object of `first`, whose names are ours, and of the connection's fields; with the
    /// end of its line.
    pub(super) fn of(
        &mut self,
        first: &[(&str, Value<'_>)],
        connection: &Connection,
    ) -> io::Result<&[u8]> {
        self.line.clear();
        self.object(first.iter().copied())?;
        // The fields come before its end.
        self.line.pop();
        for (index, field) in FIELDS.iter().enumerate() {
            let (name, unknown) = &self.names[index];
            match (field.get)(connection) {
                Value::Missing => self.line.extend_from_slice(unknown.as_bytes()),
                value => {
                    self.line.extend_from_slice(name.as_bytes());
                    self.value(value)?;
                }
            }
        }
        self.line.extend_from_slice(b"}\n");
        Ok(&self.line)
    }

    fn object<'a>(
        &mut self,
        entries: impl IntoIterator<Item = (&'a str, Value<'a>)>,
    ) -> io::Result<()> {
        let mut before = b'{';
        for (name, value) in entries {
            self.line.extend_from_slice(&[before, b'"']);
            self.line.extend_from_slice(name.as_bytes());
            self.line.extend_from_slice(b"\":");
            self.value(value)?;
            before = b',';
        }
        self.line.push(b'}');
        Ok(())
    }

    fn array<T>(
        &mut self,
        items: &[T],
        mut write: impl FnMut(&mut Self, &T) -> io::Result<()>,
    ) -> io::Result<()> {
        self.line.push(b'[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.line.push(b',');
            }
            write(self, item)?;
        }
        self.line.push(b']');
        Ok(())
    }

    fn value(&mut self, value: Value<'_>) -> io::Result<()> {
        match value {
            Value::Bool(true) => self.line.extend_from_slice(b"true"),
            Value::Bool(false) => self.line.extend_from_slice(b"false"),
            Value::Int(number) => self.number(number),
            Value::Uint(number) => self.number(number),
            Value::Text(text) => self.text(text)?,
            Value::Untrusted(text) => self.text(text.raw())?,
            Value::Time(at) => self.time(at),
            Value::Missing => self.line.extend_from_slice(b"null"),
            // In as few pieces as can be: half of a line is history.
            Value::History(history) => self.array(history, |lines, &(state, at)| {
                lines.line.extend_from_slice(b"{\"state\":\"");
                lines.line.extend_from_slice(state.name().as_bytes());
                lines.line.extend_from_slice(b"\",\"at\":");
                lines.time(at);
                lines.line.push(b'}');
                Ok(())
            })?,
            Value::Holders(holders) => self.array(holders, |lines, holder| {
                let Holder { pid, fd, comm } = holder;
                let pid = ("pid", Value::from(*pid));
                lines.object([pid, ("fd", (*fd).into()), ("comm", comm.into())])
            })?,
        }
        Ok(())
    }

    fn number(&mut self, number: impl itoa::Integer) {
        let mut room = itoa::Buffer::new();
        self.line.extend_from_slice(room.format(number).as_bytes());
    }

    fn quoted(&mut self, plain: &str) {
        self.line.push(b'"');
        self.line.extend_from_slice(plain.as_bytes());
        self.line.push(b'"');
    }

    fn text(&mut self, text: &str) -> io::Result<()> {
        let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
        if text.bytes().all(is_plain) {
            self.quoted(text);
        } else {
            self.line.extend_from_slice(json::text(&text)?.as_bytes());
        }
        Ok(())
    }

    fn time(&mut self, at: Timestamp) {
        let (second, part) = (at.as_second(), at.subsec_microsecond());
        // Before 1970 the parts of a second count backwards.
        let Ok(part) = u32::try_from(part) else {
            return self.quoted(&json::time(at));
        };
        if self
            .second
            .as_ref()
            .is_none_or(|(known, _)| *known != second)
        {
            let whole = json::time(at);
            let (stamp, _) = whole.rsplit_once('.').unwrap_or((&whole, ""));
            self.second = Some((second, format!("\"{stamp}.")));
        }
        if let Some((_, stamp)) = &self.second {
            self.line.extend_from_slice(stamp.as_bytes());
        }
        // With a digit before it, which keeps its zeros.
        let mut room = itoa::Buffer::new();
        let digits = room.format(1_000_000 + part);
        self.line.extend_from_slice(&digits.as_bytes()[1..]);
        self.line.extend_from_slice(b"Z\"");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::ser::{Serialize, SerializeMap, Serializer};

    use super::*;
    use crate::{
        model::untrusted::Untrusted,
        view::{fixture, hostile::HOSTILE},
    };

    /// The same object, by way of `json`.
    struct Slowly<'a>(&'a [(&'a str, Value<'a>)], &'a Connection);

    impl Serialize for Slowly<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            for (name, value) in self.0 {
                map.serialize_entry(name, value)?;
            }
            json::Row(self.1).entries(&mut map)?;
            map.end()
        }
    }

    fn check(lines: &mut Lines, first: &[(&str, Value<'_>)], connection: &Connection) {
        let mut slowly = Vec::new();
        json::line(&mut slowly, &Slowly(first, connection)).expect("in memory");
        let quickly = lines.of(first, connection).expect("in memory");
        assert_eq!(
            std::str::from_utf8(quickly).expect("text"),
            std::str::from_utf8(&slowly).expect("text")
        );
    }

    #[test]
    fn whatever_a_process_calls_itself() {
        let mut lines = Lines::default();
        for name in HOSTILE.into_iter().chain(["", "nginx"]) {
            for connection in fixture::connections(name) {
                check(&mut lines, &[("event", Value::Text("open"))], &connection);
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_the_values_are(
            at in proptest::collection::vec(-2_000_000_000_000_000_i64..4_000_000_000_000_000, 1..6),
            later in 0..2_000_000_i64,
            comm: String,
            fd: i32,
            tx_bytes: u64,
            truth: bool,
        ) {
            let mut lines = Lines::default();
            for at in at.into_iter().flat_map(|at| [at, at + later]) {
                let at = Timestamp::from_microsecond(at).expect("in range");
                let holder = Holder { pid: 1, fd, comm: Untrusted::from(comm.as_str()) };
                let connection = Connection {
                    comm: Some(Untrusted::from(comm.as_str())),
                    fd: Some(fd),
                    tx_bytes,
                    opened_at: Some(at),
                    holders: Some(vec![holder; 2]),
                    ..fixture::close_wait("", 7)
                };
                check(&mut lines, &[("at", at.into()), ("is", truth.into())], &connection);
            }
        }
    }
}
