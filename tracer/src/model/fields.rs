//! The fields of a connection, once: names, titles, kinds, units and getters for JSON,
//! CSV, table columns and sorting. Pure.

use jiff::Timestamp;

use crate::{
    model::{
        connection::{Connection, Holder},
        untrusted::Untrusted,
    },
    tcp::{State, named},
};

named! {
    /// What a number counts.
    Unit {
        /// Milliseconds.
        Milliseconds = "ms",
        /// Microseconds.
        Microseconds = "us",
        /// Bytes of payload.
        Bytes = "bytes",
        /// TCP segments.
        Segments = "segments",
    }
}

named! {
    /// What the values of a field are.
    Kind {
        /// True or false.
        Boolean = "boolean",
        /// A whole number.
        Integer = "integer",
        /// Words.
        Text = "text",
        /// An instant.
        Time = "time",
        /// States entered, with times.
        History = "history",
        /// Who has a connection open.
        Holders = "holders",
    }
}

/// One field's value in one connection. Values of one field are of one kind, so
/// that the derived order sorts them; those not known come last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value<'a> {
    /// True or false.
    Bool(bool),
    /// A number that may be negative.
    Int(i64),
    /// A number that may not.
    Uint(u64),
    /// Our own words, or an address.
    Text(&'a str),
    /// Words that a process chose.
    Untrusted(&'a Untrusted),
    /// An instant.
    Time(Timestamp),
    /// States entered, with times.
    History(&'a [(State, Timestamp)]),
    /// Who has it open.
    Holders(&'a [Holder]),
    /// Not known.
    Missing,
}

/// What is known of a field by the type of what it is made from.
pub(crate) trait Typed {
    const KIND: Kind;
    const MAY_MISS: bool = false;
}

macro_rules! value_from {
    ($($from:ty => $kind:ident |$value:ident| $to:expr,)+) => {
        $(impl<'a> From<$from> for Value<'a> {
            fn from($value: $from) -> Self {
                $to
            }
        }

        impl<'a> Typed for $from {
            const KIND: Kind = Kind::$kind;
        })+
    };
}

value_from! {
    bool => Boolean |truth| Self::Bool(truth),
    i32 => Integer |number| Self::Int(number.into()),
    u16 => Integer |number| Self::Uint(number.into()),
    u32 => Integer |number| Self::Uint(number.into()),
    u64 => Integer |number| Self::Uint(number),
    &'a str => Text |text| Self::Text(text),
    &'a String => Text |text| Self::Text(text),
    &'a Untrusted => Text |text| Self::Untrusted(text),
    Timestamp => Time |at| Self::Time(at),
    State => Text |state| Self::Text(state.name()),
    &'a Vec<(State, Timestamp)> => History |history| Self::History(history),
    &'a Vec<Holder> => Holders |holders| Self::Holders(holders),
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Missing, Into::into)
    }
}

impl<T: Typed> Typed for Option<T> {
    const KIND: Kind = T::KIND;
    const MAY_MISS: bool = true;
}

/// Kind of what `get` gives, and whether that may be missing.
pub(crate) const fn kind_of<R: 'static, T: Typed, F: Fn(&'static R) -> T>(_: &F) -> (Kind, bool) {
    (T::KIND, T::MAY_MISS)
}

/// Holders in short: `pid:fd pid:fd`, and a word for nobody.
#[must_use]
pub fn holders_text(holders: &[Holder]) -> String {
    if holders.is_empty() {
        return "none".to_owned();
    }
    let pairs: Vec<_> = holders
        .iter()
        .map(|holder| format!("{}:{}", holder.pid, holder.fd))
        .collect();
    pairs.join(" ")
}

/// One field of a connection, or of another kind of row.
#[derive(Debug)]
pub struct Field<R: 'static = Connection> {
    /// Its name in JSON and CSV, and as a sort key.
    pub name: &'static str,
    /// Its column's title.
    pub title: &'static str,
    /// What its values are; and whether one may be missing.
    pub kind: (Kind, bool),
    /// What it counts, if it counts.
    pub unit: Option<Unit>,
    /// What it says.
    pub help: &'static str,
    /// Its value.
    pub get: for<'a> fn(&'a R) -> Value<'a>,
}

/// The field of that JSON name.
#[must_use]
pub fn field(name: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.name == name)
}

macro_rules! fields {
    ($row:ty; $($name:ident $($title:literal)? $($unit:ident)? : $help:literal, |$c:ident| $get:expr;)+) => {
        &[$($crate::model::fields::Field {
            name: stringify!($name),
            title: $crate::model::fields::title!($name $($title)?),
            kind: $crate::model::fields::kind_of(&|$c: &'static $row| $get),
            unit: $crate::model::fields::unit!($($unit)?),
            help: $help,
            get: |$c| $get.into(),
        },)+]
    };
}
pub(crate) use fields;

macro_rules! title {
    ($name:ident) => {
        stringify!($name)
    };
    ($name:ident $title:literal) => {
        $title
    };
}
pub(crate) use title;

macro_rules! unit {
    () => {
        None
    };
    ($unit:ident) => {
        Some($crate::model::fields::Unit::$unit)
    };
}
pub(crate) use unit;

/// Every field, in the order of the JSON output.
pub const FIELDS: &[Field] = fields! {
    Connection;
    id "ID": "socket cookie and the number of its connection", |c| &c.id;
    pid "PID": "owner's process id", |c| c.pid;
    tid "TID": "thread that opened or accepted it", |c| c.tid;
    comm "COMM": "owner's name", |c| c.comm.as_ref();
    fd "FD": "file descriptor in the owner", |c| c.fd;
    uid "UID": "effective uid of the opener", |c| c.uid;
    netns "NETNS": "inode of the network namespace", |c| c.netns;
    role "ROLE": "client, server or listener", |c| c.role.name();
    local "LOCAL": "this host's end", |c| &c.local;
    remote "REMOTE": "the other end", |c| &c.remote;
    state "STATE": "TCP state now", |c| c.state;
    known "KNOWN": "observed, inherited, or repaired after a loss", |c| c.known.name();
    opened_at "OPENED": "when it was opened", |c| c.opened_at;
    established_at "ESTABLISHED": "when the handshake was done", |c| c.established_at;
    app_closed_at "APP-CLOSED": "when the program let go", |c| c.app_closed_at;
    closed_at "CLOSED": "when it ended", |c| c.closed_at;
    closed_by "CLOSED-BY": "who ended it first", |c| c.closed_by.map(crate::tcp::ClosedBy::name);
    age_ms "AGE" Milliseconds: "from open to end, or to now", |c| c.age_ms;
    state_ms "IN-STATE" Milliseconds: "time in the present state", |c| c.state_ms;
    idle_ms "IDLE" Milliseconds: "since payload moved", |c| c.idle_ms;
    tx_bytes "TX" Bytes: "payload sent", |c| c.tx_bytes;
    rx_bytes "RX" Bytes: "payload received", |c| c.rx_bytes;
    // Bytes, but connections for a listener: without a unit, as `ss` shows them.
    recv_q "RECV-Q": "not read by the owner, in bytes; a listener's unaccepted connections", |c| c.recv_q;
    send_q "SEND-Q": "not acknowledged by the peer, in bytes; a listener's backlog", |c| c.send_q;
    retransmits "RETRANS" Segments: "segments sent again", |c| c.retransmits;
    srtt_us "SRTT" Microseconds: "smoothed round-trip time", |c| c.srtt_us;
    history "HISTORY": "states entered since it is traced", |c| &c.history;
    error "ERROR": "errno it died of", |c| c.error;
    connect_errno "CONNECT-ERRNO": "errno of connect(2), 0 for success", |c| c.connect_errno;
    connect_us "CONNECT" Microseconds: "time spent in connect(2)", |c| c.connect_us;
    lingers "LINGERS": "state that the kernel keeps after the close", |c| c.lingers;
    lingers_until "LINGERS-UNTIL": "when the kernel drops it", |c| c.lingers_until;
    reset_by "RESET-BY": "whose RST it met", |c| c.reset_by.map(crate::tcp::ResetBy::name);
    holders "HOLDERS": "who has it open: process id and file descriptor", |c| c.holders.as_ref();
    owner_known "OWNER-KNOWN": "by connect, accept, listen, or its fds", |c| c.owner_known.map(crate::tcp::OwnerKnown::name);
    opener_pid "OPENER": "process that opened it", |c| c.opener_pid;
    opener_tid "OPENER-TID": "thread that opened it", |c| c.opener_tid;
    opener_comm "OPENER-COMM": "name of who opened it", |c| c.opener_comm.as_ref();
    opener_fd "OPENER-FD": "file descriptor that the opener got", |c| c.opener_fd;
};

#[cfg(test)]
mod tests {
    use super::{FIELDS, Value, field};

    #[test]
    fn names_and_order_are_the_contract() {
        let names: Vec<_> = FIELDS.iter().map(|field| field.name).collect();
        assert_eq!(
            names.join(" "),
            "id pid tid comm fd uid netns role local remote state known opened_at established_at \
             app_closed_at closed_at closed_by age_ms state_ms idle_ms tx_bytes rx_bytes recv_q \
             send_q retransmits srtt_us history error connect_errno connect_us lingers \
             lingers_until reset_by holders owner_known opener_pid opener_tid opener_comm \
             opener_fd"
        );
    }

    #[test]
    fn units_agree_with_names() {
        for field in FIELDS {
            for (end, unit) in [("_ms", "ms"), ("_us", "us"), ("_bytes", "bytes")] {
                if field.name.ends_with(end) {
                    assert_eq!(
                        field.unit.map(super::Unit::name),
                        Some(unit),
                        "{}",
                        field.name
                    );
                }
            }
        }
    }

    #[test]
    fn a_field_is_found_by_name_and_the_unknown_sorts_last() {
        assert_eq!(field("recv_q").map(|field| field.title), Some("RECV-Q"));
        assert!(field("nonsense").is_none());
        assert!(Value::Uint(u64::MAX) < Value::Missing);
        assert!(Value::Uint(9) < Value::Uint(10));
    }
}
