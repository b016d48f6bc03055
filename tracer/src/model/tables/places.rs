//! To which site of a report a connection belongs. Pure.

use rustc_hash::FxHashMap;

use crate::{
    decode::Comm,
    model::{
        assemble::{comm_of, site_id},
        connection::endpoint,
        report::Leaks,
        untrusted::Untrusted,
    },
    table::{connection::Connection as Tracked, site::SiteKey},
    tcp::Role,
};

/// A site's place in a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its number, from 1.
    pub site_no: u32,
    /// Its id.
    pub site: String,
    /// Code of its verdict.
    pub verdict: &'static str,
    pid: Option<u32>,
}

/// What the sites of a process, or of a program's processes, have in common but for
/// their code: name, role, other end, port.
type End = (Option<Untrusted>, Role, String, u16);

/// The sites of a report, to be looked up.
#[derive(Debug, Default)]
pub struct Places {
    places: Vec<Place>,
    open: FxHashMap<String, usize>,
    ends: FxHashMap<End, Vec<usize>>,
}

impl Places {
    /// Those of `report`.
    #[must_use]
    pub fn new(report: &Leaks) -> Self {
        let mut all = Self::default();
        for (site_no, group) in (1..).zip(&report.groups) {
            let index = all.places.len();
            all.places.push(Place {
                site_no,
                site: group.site.id.clone(),
                verdict: group.verdict.code,
                pid: group.owner.pid,
            });
            let ids = group
                .connections
                .iter()
                .map(|open| (open.id.clone(), index));
            all.open.extend(ids);
            let comm = group.owner.comm.clone();
            let end = (comm, group.role, group.remote.clone(), group.local_port);
            all.ends.entry(end).or_default().push(index);
        }
        all
    }

    /// The place of one that is open at the end: the report tells.
    #[must_use]
    pub fn of_open(&self, id: &str) -> Option<&Place> {
        self.places.get(*self.open.get(id)?)
    }

    /// The place of one that has ended and was opened by `code`. The report has folded it
    /// into its site: that of its code, else the only one of its process to its end.
    /// Those to many ends, and of processes that have exited, are told together.
    #[must_use]
    pub fn of_ended(&self, tracked: &Tracked, code: Option<u64>) -> Option<&Place> {
        let owner = tracked.owner.as_ref();
        let (pid, comm) = owner.map_or((0, Comm::default()), |owner| (owner.pid, owner.comm));
        let key = SiteKey::of(tracked, pid, comm);
        let id = site_id(&key, code);
        let (remote, port) = match key.role {
            Role::Client => (endpoint(key.end), 0),
            Role::Server | Role::Listener => ("*".to_owned(), key.end.port()),
        };
        let comm = comm_of(&key);
        let ends = [
            (comm.clone(), key.role, remote, port),
            (comm, key.role, "*".to_owned(), 0),
        ];
        ends.iter().find_map(|end| {
            let here = self.ends.get(end)?;
            let here = || here.iter().filter_map(|&index| self.places.get(index));
            let of_pid = |pid| {
                let mut own = here().filter(move |place| place.pid == pid);
                let by_code = own.clone().find(|place| place.site == id);
                by_code.or_else(|| own.next().filter(|_| own.next().is_none()))
            };
            of_pid(Some(pid)).or_else(|| of_pid(None))
        })
    }
}
