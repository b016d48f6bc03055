//! What `trace` records of a connection is what was done to it, live and once more from
//! its recording: a driver makes random connections, does random legal things with them,
//! and says of each side what the record must be. The driver holds itself to the kernel
//! at every step.
//!
//! `TCPLEAK_MODEL_CONNECTIONS` makes it more than a few, and
//! `TCPLEAK_MODEL_SEED` the same again.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    env,
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::support::{
    Netns, Program, Tcpleak, Witness,
    net::{Listed, ss_in},
    report::{list, states},
    tcpleak::{Finished, unless_lossy},
    temp::TempDir,
    wait_for,
    witness::ordered,
};

/// Connections in an ordinary run.
const CONNECTIONS: usize = 400;

/// Connections of a run where the kernel skips programs in longer ones.
const FEWEST: usize = 25;

/// Connections that a failure shows.
const SHOWN: usize = 12;

/// Fields that say how a connection went, as the driver names them too.
const COURSE: [&str; 6] = [
    "closed_by",
    "reset_by",
    "error",
    "lingers",
    "tx_bytes",
    "rx_bytes",
];

#[test]
fn every_record_is_what_was_done() -> Result<()> {
    compare_with("")
}

/// Where the kernel side tells the first second of each connection at once.
#[test]
fn every_folded_record_is_what_was_done() -> Result<()> {
    compare_with("--fold-above 0")
}

fn compare_with(options: &str) -> Result<()> {
    let count = setting("TCPLEAK_MODEL_CONNECTIONS")?.unwrap_or(CONNECTIONS);
    let seed = setting("TCPLEAK_MODEL_SEED")?;
    let (mut left, mut size) = (count, count);
    while left > 0 {
        let mut tries = 0;
        let (finished, run) = unless_lossy(|| {
            if tries > 0 {
                // In several runs, then: of so many one is always skipped.
                size = FEWEST.max(size / 2);
            }
            tries += 1;
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
            run(seed.unwrap_or(now.subsec_nanos()), size.min(left), options)
        })?;
        left -= run.count;
        run.compare(&finished)?;
    }
    Ok(())
}

/// What was done, and what was told of it.
struct Run {
    seed: u32,
    count: usize,
    done: Vec<Value>,
    /// Ports of connections that the kernel hid from all eBPF programs.
    hidden: HashSet<(u16, u16)>,
    lives: Lives,
    /// How far they have been read from what was written.
    read: u64,
    /// What `ss` listed before the end.
    open: Vec<Listed>,
    /// Where it is recorded.
    folder: TempDir,
}

/// The recording in its folder.
const RECORDING: &str = "model.tcpleak";

fn run(seed: u32, count: usize, options: &str) -> Result<(Finished, Run)> {
    println!("TCPLEAK_MODEL_SEED={seed} TCPLEAK_MODEL_CONNECTIONS={count}");
    let netns = Netns::new()?;
    let witness = Witness::new()?;
    let folder = TempDir::new()?;
    let arguments = format!(
        "trace --netns {} --format jsonl --stacks off --record {} {options}",
        netns.name,
        folder.path().join(RECORDING).display()
    );
    let tcpleak = Tcpleak::watching(&arguments)?;
    let driver = Program::start_in(&netns, "model/main", &format!("{seed} {count}"))?;
    let done = hear(&driver)?;

    let mut lives = Lives::default();
    let mut read = 0;
    let hidden = witness.hidden()?;
    let gone = done.iter().filter(|side| side["gone"] == true);
    let gone = gone.filter(|side| !is_hidden(side, &hidden)).count();
    // An end that is never told is a difference like any other, and shown as such.
    let told = wait_for("every end to be told", || {
        lives.add(tcpleak.lines_after(&mut read)?)?;
        Ok((lives.gone >= gone).then_some(()))
    });
    if let Err(why) = told {
        println!("{why}: {} of {gone} were", lives.gone);
    }
    let open = ss_in(&netns)?;
    let finished = tcpleak.interrupt()?;
    ensure!(finished.code == Some(0), "{}", finished.stderr);
    driver.finish()?;
    let run = Run {
        seed,
        count,
        done,
        hidden: witness.hidden()?,
        lives,
        read,
        open,
        folder,
    };
    Ok((finished.whole()?, run))
}

impl Run {
    fn compare(mut self, finished: &Finished) -> Result<()> {
        self.lives.add(finished.lines_after(self.read)?)?;
        self.compare_lives("live", &self.lives)?;
        let recording = self.folder.path().join(RECORDING);
        let from = format!("trace --format jsonl --from {}", recording.display());
        let replayed = Tcpleak::start(&from)?.finish()?;
        ensure!(replayed.code == Some(0), "{}", replayed.stderr);
        let mut lives = Lives::default();
        lives.add(replayed.lines()?)?;
        self.compare_lives("recorded", &lives)
    }

    fn compare_lives(&self, which: &str, lives: &Lives) -> Result<()> {
        let Self { seed, count, .. } = self;
        let done = self.done.iter().cloned();
        let (hidden, seen): (Vec<_>, Vec<_>) = done.partition(|side| is_hidden(side, &self.hidden));
        let differences = compare(&seen, &hidden, lives, &self.open)?;
        println!(
            "{which}: {} sides of {count} connections compared; {} left out, as this kernel ran no eBPF \
             program at some moment of theirs",
            seen.len(),
            hidden.len()
        );
        ensure!(
            hidden.len() * 100 <= seen.len(),
            "too much is hidden to tell"
        );
        ensure!(
            differences.is_empty(),
            "{which}: {} of {} sides differ, with TCPLEAK_MODEL_SEED={seed} \
             TCPLEAK_MODEL_CONNECTIONS={count}:\n{}",
            differences.len(),
            seen.len(),
            differences[..differences.len().min(SHOWN)].join("\n")
        );
        Ok(())
    }
}

fn is_hidden(side: &Value, hidden: &HashSet<(u16, u16)>) -> bool {
    port_pair(side).is_some_and(|ports| hidden.contains(&ports))
}

fn setting<T: FromStr>(name: &str) -> Result<Option<T>> {
    let Ok(text) = env::var(name) else {
        return Ok(None);
    };
    let number = text.parse().ok();
    Ok(Some(number.with_context(|| format!("{name}={text}"))?))
}

/// What the driver did to each side.
fn hear(driver: &Program) -> Result<Vec<Value>> {
    let mut sides = Vec::new();
    loop {
        let said = driver.hear()?;
        if said.get("done").is_some() {
            return Ok(sides);
        }
        if let Some(why) = said.get("stuck") {
            bail!("the kernel did not as the model: {why}\n{}", said["why"]);
        }
        sides.push(said);
    }
}

/// What was told of one connection.
#[derive(Debug)]
struct Life {
    told: BTreeMap<String, usize>,
    last: Value,
}

/// All connections, in the order in which they were first told of.
#[derive(Debug, Default)]
struct Lives {
    index: HashMap<String, usize>,
    lives: Vec<Life>,
    gone: usize,
}

impl Lives {
    fn add(&mut self, events: Vec<Value>) -> Result<()> {
        for event in events {
            let name = event["event"].as_str().context("no event")?.to_owned();
            // Of a program whose turn another has not taken yet: in the end nothing is lost.
            if name == "loss" {
                continue;
            }
            let id = event["id"].as_str().with_context(|| event.to_string())?;
            let next = self.lives.len();
            let index = *self.index.entry(id.to_owned()).or_insert(next);
            if index == next {
                self.lives.push(Life {
                    told: BTreeMap::new(),
                    last: Value::Null,
                });
            }
            self.gone += usize::from(name == "gone" && event["role"] != "listener");
            let life = &mut self.lives[index];
            *life.told.entry(name).or_default() += 1;
            life.last = event;
        }
        Ok(())
    }
}

/// What the two sides of a connection are told apart by, and from all others but
/// those between the same ends later.
fn ends(side: &Value) -> [String; 3] {
    ["role", "local", "remote"].map(|name| side[name].to_string())
}

fn port_pair(side: &Value) -> Option<(u16, u16)> {
    let port = |name: &str| side[name].as_str()?.rsplit_once(':')?.1.parse().ok();
    Some(ordered(port("local")?, port("remote")?))
}

/// Where the tracer's record differs from what was done: a text for each side.
/// `hidden`: sides whose records may be anything.
fn compare(
    done: &[Value],
    hidden: &[Value],
    lives: &Lives,
    open: &[Listed],
) -> Result<Vec<String>> {
    let mut recorded: HashMap<_, Vec<&Life>> = HashMap::new();
    let connections = lives.lives.iter();
    for life in connections.filter(|life| life.last["role"] != "listener") {
        recorded.entry(ends(&life.last)).or_default().push(life);
    }
    // The oldest is taken first.
    recorded.values_mut().for_each(|lives| lives.reverse());
    let open: HashSet<_> = open
        .iter()
        .map(|socket| (&*socket.state, &*socket.local, &*socket.remote, socket.pid))
        .collect();
    let mut differences = Vec::new();
    for side in done {
        let life = recorded.get_mut(&ends(side)).and_then(Vec::pop);
        let mut found = match life {
            Some(life) => differs(side, life)?,
            None => vec!["it is not recorded".to_owned()],
        };
        if let Some(missing) = unlisted(side, &open)? {
            found.push(missing);
        }
        if !found.is_empty() {
            let script: Vec<_> = list(side, "script")?.iter().map(Value::to_string).collect();
            differences.push(format!(
                "{} {} -> {}\n  {}\nrecord: {}\ndone:\n  {}\n",
                side["role"],
                side["local"],
                side["remote"],
                found.join("\n  "),
                life.map_or(&Value::Null, |life| &life.last),
                script.join("\n  ")
            ));
        }
    }
    for side in hidden {
        recorded.remove(&ends(side));
    }
    let rest = recorded.into_values().flatten();
    differences.extend(rest.map(|life| format!("nobody made {}", life.last)));
    Ok(differences)
}

/// How a record differs from what was done.
fn differs(side: &Value, life: &Life) -> Result<Vec<String>> {
    let record = &life.last;
    let is_let_go = side["let_go"] == true;
    let is_gone = side["gone"].as_bool().unwrap_or(record["state"] == "CLOSE");
    let is_owned = !side["opener"].is_null();
    let mut found = Vec::new();
    let mut is = |what: &str, recorded: &Value, done: Value| {
        if *recorded != done {
            found.push(format!("{what} is {recorded}, not {done}"));
        }
    };
    is("known", &record["known"], json!("observed"));
    if let Some(id) = side["id"].as_str().filter(|_| !is_named_by_address(record)) {
        is("id", &record["id"], json!(id));
    }
    for name in ["pid", "tid", "fd"] {
        is(
            &format!("the opener's {name}"),
            &record[format!("opener_{name}")],
            side["opener"][name].clone(),
        );
    }
    // connect(2) returns after the last that is told of an open connection.
    if is_gone || !record["connect_errno"].is_null() {
        is(
            "connect_errno",
            &record["connect_errno"],
            side["connect_errno"].clone(),
        );
    }
    is(
        "let go",
        &json!(!record["app_closed_at"].is_null()),
        json!(is_let_go),
    );

    let ways = list(side, "ways")?;
    let mut nearest: Option<Vec<String>> = None;
    for way in ways {
        let found = strays(way, record, is_gone)?;
        if nearest.as_ref().is_none_or(|best| found.len() < best.len()) {
            nearest = Some(found);
        }
    }
    let nearest = nearest.context("no way")?;

    let history = states(record)?;
    let failed = history == ["SYN_SENT", "CLOSE"] && !record["error"].is_null();
    let events = [
        ("open", true),
        ("established", history.contains(&"ESTABLISHED")),
        ("connect-failed", failed),
        ("time-wait", !record["lingers"].is_null()),
        ("app-close", is_let_go && is_owned),
        ("gone", is_gone),
    ];
    for (name, is_told) in events {
        let told = life.told.get(name).copied().unwrap_or(0);
        is(
            &format!("times told `{name}`"),
            &json!(told),
            json!(usize::from(is_told)),
        );
    }
    found.extend(nearest);
    Ok(found)
}

/// How a record strays from one way that the kernel may have gone.
fn strays(way: &Value, record: &Value, is_gone: bool) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let history = json!(states(record)?);
    if history != way["history"] {
        found.push(format!("history is {history}, not {}", way["history"]));
    }
    for name in COURSE {
        // Of an open connection bytes are told by snapshots, and a RST that we
        // send follows the last transition.
        let comes_later = name.ends_with("bytes") || name == "reset_by";
        if comes_later && !is_gone {
            continue;
        }
        if record[name] != way[name] {
            found.push(format!("{name} is {}, not {}", record[name], way[name]));
        }
    }
    Ok(found)
}

/// What is still open must be in `ss`: otherwise the driver itself is wrong.
fn unlisted(
    side: &Value,
    open: &HashSet<(&str, &str, &str, Option<u64>)>,
) -> Result<Option<String>> {
    let history = list(&side["ways"][0], "history")?;
    let state = history.last().and_then(Value::as_str).context("no state")?;
    if side["gone"] != false || state == "CLOSE" {
        return Ok(None);
    }
    let text = |name: &str| side[name].as_str().with_context(|| format!("no {name}"));
    let holder = list(side, "holders")?
        .iter()
        .filter_map(Value::as_u64)
        .min();
    let listed = (state, text("local")?, text("remote")?, holder);
    let is_listed = open.contains(&listed);
    Ok((!is_listed).then(|| format!("`ss` does not list {listed:?}")))
}

/// Kernels without a cookie helper for tracing programs have sockets named by
/// their address, which is in the kernel's half.
fn is_named_by_address(record: &Value) -> bool {
    record["id"]
        .as_str()
        .is_some_and(|id| id.starts_with("ffff"))
}
