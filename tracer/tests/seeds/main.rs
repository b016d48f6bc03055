//! The seeds of the fuzz targets are what they are meant to be: fuzzing that
//! starts from bytes which nothing accepts finds little.
//!
//! After a change of records or fields, `TCPLEAK_CORPUS=write cargo test --test
//! seeds` writes those of `decode`, `btf` and `recording` anew. Those of `sock_diag` are what
//! a kernel answered; that of `unwind` is a program of a few instructions.

use std::{
    collections::BTreeMap,
    env, fs,
    io::Cursor,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use tracer::{
    btf::{BtfError, KernelTypes, offsets},
    decode::{
        decode,
        fold::{self, Folded},
    },
    snapshot::answer,
    symbols::{
        helper::{perf_map, unwind::Tables},
        protocol::{Answer, Question, Walked},
    },
};
use tracer_common::event::{
    AcceptRecord, Addresses, COMM_LEN, CloseRecord, ConnectRecord, ExitRecord, Figures, FoldRecord,
    GoneRecord, Header, NO_FD, NO_IDLE, OpenRecord, Phase, ResetRecord, StateRecord,
    TimeWaitRecord, flag, kind, opened, phase, reset,
};
use zerocopy::{FromZeros as _, IntoBytes};

mod recording;

#[test]
fn ring_records_decode() -> Result<()> {
    let folded = vec![folded()];
    for (name, records) in [
        ("client", client()),
        ("server", server()),
        ("folded", folded),
    ] {
        let mut seed = Vec::new();
        for record in records {
            // As the fuzz target has it, 0 stands for 256.
            seed.push(u8::try_from(record.len() % 256)?);
            seed.extend(record);
        }
        write("decode", name, &seed)?;
    }
    for (path, bytes) in seeds("decode")? {
        let mut rest = bytes.as_slice();
        while let Some((&length, after)) = rest.split_first() {
            let length = if length == 0 { 256 } else { length.into() };
            let record = after.split_at_checked(length);
            let (record, after) = record.with_context(|| format!("{path:?} is cut short"))?;
            if let Some(folded) = fold::record(record) {
                ensure!(
                    Folded::default().ends(&folded)?.events().count() == 8,
                    "{path:?}"
                );
            } else {
                decode(record).with_context(|| format!("{path:?}: {record:?}"))?;
            }
            rest = after;
        }
    }
    Ok(())
}

#[test]
fn kernel_types_suffice() -> Result<()> {
    write("btf", "kernel", &sufficient_types()?)?;
    for (path, bytes) in seeds("btf")? {
        let types = KernelTypes::parse(&bytes)?;
        offsets(&types).with_context(|| format!("{path:?}"))?;
        ensure!(
            types.function_arity("inet_csk_accept") == Some(2),
            "{path:?}"
        );
    }
    Ok(())
}

#[test]
fn kernel_answers_are_whole() -> Result<()> {
    for (path, bytes) in seeds("sock_diag")? {
        let answer = answer::read(&bytes, 1, &mut Vec::new());
        let is_refusal = path.ends_with("refused");
        ensure!(
            answer.map_or(is_refusal, |answer| answer.is_last && !is_refusal),
            "{path:?}"
        );
    }
    Ok(())
}

#[test]
fn what_the_helper_hears_and_says_is_understood() -> Result<()> {
    for (path, bytes) in seeds("symbols")? {
        let (&asked, rest) = bytes.split_first().context("an empty seed")?;
        let names = perf_map::names(rest, &[0x1008]);
        ensure!(
            Question::decode(rest).is_ok()
                || Answer::decode(rest, asked.into()).is_ok()
                || Walked::decode(rest).is_ok()
                || !names[0].is_empty(),
            "{path:?}"
        );
    }
    for (path, bytes) in seeds("unwind")? {
        Tables::read(Cursor::new(bytes)).with_context(|| format!("{path:?}"))?;
    }
    Ok(())
}

fn folder(target: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.join("fuzz/corpus").join(target)
}

fn write(target: &str, name: &str, seed: &[u8]) -> Result<()> {
    if env::var_os("TCPLEAK_CORPUS").is_none_or(|wish| wish != "write") {
        return Ok(());
    }
    fs::create_dir_all(folder(target))?;
    Ok(fs::write(folder(target).join(name), seed)?)
}

/// All seeds of a target; that there are some is a condition.
fn seeds(target: &str) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut seeds = Vec::new();
    for file in fs::read_dir(folder(target)).with_context(|| format!("no seeds of {target}"))? {
        let path = file?.path();
        seeds.push((path.clone(), fs::read(path)?));
    }
    ensure!(!seeds.is_empty(), "no seeds of {target}");
    Ok(seeds)
}

const CLOSE: u16 = 7;
const SYN_SENT: u16 = 2;
const SYN_RECV: u16 = 3;
const ESTABLISHED: u16 = 1;
const FIN_WAIT1: u16 = 4;
const FIN_WAIT2: u16 = 5;
const CLOSE_WAIT: u16 = 8;
const LAST_ACK: u16 = 9;
const LISTEN: u16 = 10;

fn header(kind: u32, sock: u64, ts_ns: u64) -> Header {
    Header {
        ts_ns,
        sock,
        kind,
        pid: 100,
        tid: 101,
        uid: 1000,
    }
}

fn addresses(local_port: u16, remote_port: u16) -> Addresses {
    let mut loopback = [0; 16];
    loopback[10..].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 1]);
    Addresses {
        local: loopback,
        remote: loopback,
        local_port,
        remote_port,
        family: 2,
        _pad: 0,
        netns: 4_026_531_840,
    }
}

/// The ends of the socket `sock`, which is the client's if even.
fn ends(sock: u64) -> Addresses {
    if sock.is_multiple_of(2) {
        addresses(40_000, 80)
    } else {
        addresses(80, 40_000)
    }
}

fn opening(sock: u64, ts_ns: u64, new: u16) -> Vec<u8> {
    OpenRecord {
        header: header(kind::OPEN, sock, ts_ns),
        addresses: ends(sock),
        fd: if new == SYN_SENT { 3 } else { NO_FD },
        comm: [b'c'; COMM_LEN],
        new,
        _pad: 0,
        stack: 5,
        chain: 0,
    }
    .as_bytes()
    .to_vec()
}

fn transition(sock: u64, ts_ns: u64, old: u16, new: u16, flags: u32, shutdown: u32) -> Vec<u8> {
    let figures = Figures {
        tx_bytes: 10,
        rx_bytes: 21,
        retransmits: 0,
        srtt_us: 40,
    };
    StateRecord {
        header: header(kind::STATE, sock, ts_ns),
        addresses: ends(sock),
        old,
        new,
        flags,
        error: 0,
        shutdown,
        idle_ms: NO_IDLE,
        figures: if new == CLOSE {
            figures
        } else {
            Figures::default()
        },
    }
    .as_bytes()
    .to_vec()
}

fn closing(sock: u64, ts_ns: u64) -> Vec<u8> {
    CloseRecord {
        header: header(kind::CLOSE, sock, ts_ns),
        flags: 0,
        _pad: 0,
    }
    .as_bytes()
    .to_vec()
}

fn time_wait(sock: u64, ts_ns: u64) -> Vec<u8> {
    TimeWaitRecord {
        header: header(kind::TIME_WAIT, sock, ts_ns),
        stays_ns: 60_000_000_000,
        state: 6,
        _pad: [0; 3],
    }
    .as_bytes()
    .to_vec()
}

fn resetting(sock: u64, ts_ns: u64) -> Vec<u8> {
    ResetRecord {
        header: header(kind::RESET, sock, ts_ns),
        by: reset::SENT,
        _pad: 0,
    }
    .as_bytes()
    .to_vec()
}

fn gone(sock: u64, ts_ns: u64) -> Vec<u8> {
    let header = header(kind::GONE, sock, ts_ns);
    GoneRecord { header }.as_bytes().to_vec()
}

/// A client's connection from connect to TIME_WAIT, then the end of its process.
fn client() -> Vec<Vec<u8>> {
    let connected = ConnectRecord {
        header: header(kind::CONNECT, 2, 30),
        latency_ns: 20,
        fd: 3,
        ret: 0,
    };
    let exit = ExitRecord {
        header: header(kind::EXIT, 0, 90),
    };
    vec![
        opening(2, 10, SYN_SENT),
        transition(2, 20, SYN_SENT, ESTABLISHED, 0, 0),
        connected.as_bytes().to_vec(),
        closing(2, 35),
        transition(2, 40, ESTABLISHED, FIN_WAIT1, 0, 3),
        transition(2, 50, FIN_WAIT1, FIN_WAIT2, 0, 3),
        time_wait(2, 55),
        transition(2, 60, FIN_WAIT2, CLOSE, flag::PEER_DONE, 3),
        gone(2, 70),
        exit.as_bytes().to_vec(),
    ]
}

/// A listener and a connection that it accepts and closes second.
fn server() -> Vec<Vec<u8>> {
    let accepted = AcceptRecord {
        header: header(kind::ACCEPT, 3, 40),
        addresses: addresses(80, 40_000),
        fd: 4,
        comm: [b's'; COMM_LEN],
        state: ESTABLISHED,
        _pad: 0,
        stack: -1,
        chain: 0,
    };
    vec![
        opening(1, 10, LISTEN),
        transition(3, 20, LISTEN, SYN_RECV, 0, 0),
        transition(3, 30, SYN_RECV, ESTABLISHED, 0, 0),
        accepted.as_bytes().to_vec(),
        transition(3, 50, ESTABLISHED, CLOSE_WAIT, 0, 1),
        transition(3, 60, CLOSE_WAIT, LAST_ACK, flag::EXITING, 3),
        transition(3, 70, LAST_ACK, CLOSE, flag::EXITING, 3),
        resetting(3, 75),
        gone(3, 80),
    ]
}

/// A client's connection in one record.
fn folded() -> Vec<u8> {
    let states: [u8; 5] = [2, 1, 4, 5, 7];
    let mut record = FoldRecord::new_zeroed();
    record.header = header(kind::FOLD, 4, 10);
    record.addresses = ends(4);
    (record.fd, record.stack) = (3, -1);
    record.opened = opened::AND_RETURNED;
    record.closed_ns = 35;
    let moves =
        states
            .windows(2)
            .map(|pair| (pair[0], pair[1], 0))
            .chain([(phase::TIME_WAIT, 6, 60_000)]);
    for ((phase, ts_ns), (old, new, value)) in record.phases.iter_mut().zip(20..).zip(moves) {
        // PEER_DONE and ORPHAN.
        *phase = Phase {
            ts_ns,
            value,
            old,
            new,
            flags: 1 << 2 | 1 << 4,
            shutdown: 3,
        };
        record.count += 1;
    }
    record.as_bytes().to_vec()
}

/// Types that have every field which is asked for and no other: whatever is
/// found missing is added.
fn sufficient_types() -> Result<Vec<u8>> {
    let mut structs: BTreeMap<String, Fields> = BTreeMap::new();
    let mut enums: BTreeMap<String, Vec<String>> = BTreeMap::new();
    // These may be missing, and nobody would ask.
    for optional in [
        "__sk_common.skc_v6_daddr",
        "__sk_common.skc_net.net",
        "sk_kern_sock",
    ] {
        structs.entry("sock".to_owned()).or_default().add(optional);
    }
    loop {
        let bytes = btf::write(&structs, &enums)?;
        match offsets(&KernelTypes::parse(&bytes)?) {
            Ok(_) => return Ok(bytes),
            Err(BtfError::NoField { of, field }) => structs.entry(of).or_default().add(&field),
            Err(BtfError::NoValue { of, value }) => enums.entry(of).or_default().push(value),
            Err(other) => bail!(other),
        }
    }
}

/// Fields of a struct by name, each with its own fields if it is a struct.
#[derive(Default)]
struct Fields(BTreeMap<String, Fields>);

impl Fields {
    fn add(&mut self, path: &str) {
        let (name, rest) = path.split_once('.').unwrap_or((path, ""));
        let field = self.0.entry(name.to_owned()).or_default();
        if !rest.is_empty() {
            field.add(rest);
        }
    }
}

/// Writes BTF (Documentation/bpf/btf.rst).
mod btf {
    use std::collections::BTreeMap;

    use anyhow::Result;

    use super::Fields;

    const INT: u32 = 1;
    const STRUCT: u32 = 4;
    const UNION: u32 = 5;
    const ENUM: u32 = 6;
    const FUNC: u32 = 12;
    const FUNC_PROTO: u32 = 13;
    /// The id of the only integer, which every field is that has no fields.
    const LONG: u32 = 1;
    const LONG_BYTES: u32 = 8;

    #[derive(Default)]
    struct Writer {
        types: Vec<u32>,
        strings: Vec<u8>,
        count: u32,
    }

    pub(super) fn write(
        structs: &BTreeMap<String, Fields>,
        enums: &BTreeMap<String, Vec<String>>,
    ) -> Result<Vec<u8>> {
        let mut writer = Writer::default();
        writer.strings.push(0);
        writer.begin("long", INT, 0, LONG_BYTES)?;
        writer.types.push(LONG_BYTES * 8);
        for (name, fields) in structs {
            writer.aggregate(name, fields)?;
        }
        for (name, values) in enums {
            writer.begin(name, ENUM, values.len(), 4)?;
            for (number, value) in (0..).zip(values) {
                let value = writer.name(value)?;
                writer.types.extend([value, number]);
            }
        }
        let prototype = writer.begin("", FUNC_PROTO, 2, LONG)?;
        writer.types.extend([0, LONG, 0, LONG]);
        writer.begin("inet_csk_accept", FUNC, 0, prototype)?;
        writer.bytes()
    }

    impl Writer {
        fn name(&mut self, name: &str) -> Result<u32> {
            if name.is_empty() {
                return Ok(0);
            }
            let at = u32::try_from(self.strings.len())?;
            self.strings.extend(name.bytes().chain([0]));
            Ok(at)
        }

        fn begin(&mut self, name: &str, kind: u32, len: usize, size_or_type: u32) -> Result<u32> {
            let name = self.name(name)?;
            let info = kind << 24 | u32::try_from(len)?;
            self.types.extend([name, info, size_or_type]);
            self.count += 1;
            Ok(self.count)
        }

        /// A struct; its first field within an anonymous union, as the kernel
        /// has many.
        fn aggregate(&mut self, name: &str, fields: &Fields) -> Result<(u32, u32)> {
            let mut members = Vec::new();
            let mut size = 0;
            for (name, fields) in &fields.0 {
                let (of, bytes) = match fields.0.is_empty() {
                    true => (LONG, LONG_BYTES),
                    false => self.aggregate("", fields)?,
                };
                let name = self.name(name)?;
                let member = if size == 0 {
                    let union = self.begin("", UNION, 1, bytes)?;
                    self.types.extend([name, of, 0]);
                    [0, union, 0]
                } else {
                    [name, of, size * 8]
                };
                members.push(member);
                size += bytes;
            }
            let id = self.begin(name, STRUCT, members.len(), size)?;
            self.types.extend(members.into_iter().flatten());
            Ok((id, size))
        }

        fn bytes(self) -> Result<Vec<u8>> {
            let types = u32::try_from(self.types.len() * 4)?;
            let strings = u32::try_from(self.strings.len())?;
            // Magic, version and flags; then the header's length, and where the
            // types and the strings are behind it.
            let mut bytes = vec![0x9f, 0xeb, 1, 0];
            let words = [24, 0, types, types, strings].into_iter().chain(self.types);
            bytes.extend(words.flat_map(u32::to_le_bytes));
            bytes.extend(self.strings);
            Ok(bytes)
        }
    }
}
