//! Which process belongs to which program of a run.

use std::{
    collections::{HashMap, HashSet},
    fs,
};

/// Processes by program; what has ended is remembered.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    /// Process id to the number of its program
    programs: HashMap<u32, usize>,
    /// Names that processes of a program had
    names: HashMap<usize, HashSet<String>>,
}

impl Processes {
    /// `pid` was started as program number `program`.
    pub(crate) fn add(&mut self, pid: u32, program: usize) {
        self.programs.insert(pid, program);
    }

    /// Adds the descendants among `pids`, and what all are called now.
    pub(crate) fn look(&mut self, pids: &[u32]) {
        // A grandchild may be listed ahead of its parent.
        while pids.iter().any(|&pid| self.adopt(pid)) {}
        for pid in pids {
            if let (Some(&program), Some(name)) = (self.programs.get(pid), name(*pid)) {
                self.names.entry(program).or_default().insert(name);
            }
        }
    }

    /// Whether `pid` was unknown, and its parent is not.
    fn adopt(&mut self, pid: u32) -> bool {
        if self.programs.contains_key(&pid) {
            return false;
        }
        let parent = parent(pid).and_then(|parent| self.programs.get(&parent));
        let Some(&program) = parent else { return false };
        self.programs.insert(pid, program);
        true
    }

    /// Whether a report's owner is a process of `program`. One without a pid
    /// stands for processes that have ended, known by their name.
    pub(crate) fn owns(&self, program: usize, pid: Option<u32>, comm: Option<&str>) -> bool {
        match pid.and_then(|pid| self.programs.get(&pid)) {
            Some(&owner) => owner == program,
            None => {
                let names = self.names.get(&program);
                comm.is_some_and(|comm| names.is_some_and(|names| names.contains(comm)))
            }
        }
    }
}

fn name(pid: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // PID (NAME) STATE PARENT, and a name may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_without_pid_is_known_by_name() {
        let mut processes = Processes::default();
        processes.add(std::process::id(), 4);
        processes.look(&[std::process::id()]);
        let own = name(std::process::id()).expect("we run");
        assert!(processes.owns(4, Some(std::process::id()), None));
        assert!(processes.owns(4, None, Some(&own)));
        assert!(!processes.owns(4, None, Some("another")));
        assert!(!processes.owns(5, Some(std::process::id()), Some(&own)));
        assert!(!processes.owns(4, None, None));
    }
}
