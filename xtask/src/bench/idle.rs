//! What many idle connections cost whoever watches them.

use std::{path::Path, thread::sleep, time::Duration};

use anyhow::Result;
use serde_json::{Value, json};

use super::{crowd::Crowd, kernel, watcher::LEAKS};
use crate::command::step;

/// Sockets, two for each connection.
const SOCKETS: [usize; 4] = [0, 1_000, 200_000, 400_000];

/// The steady state is looked at for so long: some snapshots.
const STEADY: Duration = Duration::from_secs(30);

/// A crowd watched.
struct Seen {
    sockets: usize,
    start: Duration,
    resident: u64,
    kernel: u64,
    /// Share of one processor in the steady state
    steady: f64,
}

/// All sizes of crowds.
pub(crate) struct Table {
    seen: Vec<Seen>,
}

/// `tcpleak leaks` beside each crowd.
pub(crate) fn measure(tcpleak: &Path, folder: &Path) -> Result<Table> {
    let mut seen = Vec::new();
    for sockets in SOCKETS {
        step(format_args!("{sockets} idle sockets"));
        let crowd = Crowd::start(sockets / 2)?;
        let watching = LEAKS.start(tcpleak, folder)?;
        let used = watching.used();
        sleep(STEADY);
        let used = watching.used().saturating_sub(used);
        seen.push(Seen {
            sockets,
            start: watching.began_after,
            resident: watching.resident(),
            kernel: kernel::memory_of(&watching.programs()?)?,
            steady: used.as_secs_f64() / STEADY.as_secs_f64(),
        });
        watching.stop()?;
        drop(crowd);
    }
    Ok(Table { seen })
}

impl Table {
    /// Bytes for each socket, above what none take.
    fn each(&self, one: &Seen, of: impl Fn(&Seen) -> u64) -> Option<f64> {
        let none = self.seen.first().map_or(0, &of);
        (one.sockets > 0).then(|| of(one).saturating_sub(none) as f64 / one.sockets as f64)
    }

    /// For people.
    pub(crate) fn print(&self) {
        println!(
            "{:>9}{:>10}{:>12}{:>16}{:>12}{:>18}",
            "sockets", "start s", "memory MB", "bytes a socket", "kernel MB", "% of a processor"
        );
        for one in &self.seen {
            let each = self.each(one, |one| one.resident);
            println!(
                "{:>9}{:>10.2}{:>12.1}{:>16}{:>12.1}{:>18.1}",
                one.sockets,
                one.start.as_secs_f64(),
                one.resident as f64 / 1e6,
                each.map_or_else(|| "-".to_owned(), |each| format!("{each:.0}")),
                one.kernel as f64 / 1e6,
                one.steady * 100.0,
            );
        }
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let seen = self.seen.iter().map(|one| {
            json!({
                "sockets": one.sockets,
                "start_s": one.start.as_secs_f64(),
                "resident_bytes": one.resident,
                "bytes_per_socket": self.each(one, |one| one.resident),
                "kernel_bytes": one.kernel,
                "kernel_bytes_per_socket": self.each(one, |one| one.kernel),
                "steady_processors": one.steady,
            })
        });
        seen.collect()
    }
}
