//! Which program goes to which hook, decided from facts. Pure.
//!
//! The kernel's version decides nothing: each [`Way`] is tried, and the first
//! plan whose required hooks all attach is used. Trying is the caller's, as a
//! closure, so that the decision is tested without root.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fmt;

use crate::tcp::named;

mod fentry;
mod kprobe;
mod shared;
mod tracepoint;

named! {
    /// What is to be learned from the kernel.
    Hook {
        /// Every transition of a TCP socket.
        State = "state",
        /// A program opens a connection.
        Connect = "connect",
        /// A program takes over a server-side connection.
        Accept = "accept",
        /// A program closes one direction only.
        Shutdown = "shutdown",
        /// The last reference from a program is gone.
        Close = "close",
        /// A mini-socket takes the socket's place.
        TimeWait = "time-wait",
        /// A RST goes out or comes in.
        Reset = "reset",
        /// The kernel frees the socket.
        Gone = "gone",
        /// A process becomes another program.
        Exec = "exec",
        /// A process ends.
        Exit = "exit",
        /// A process starts another.
        Fork = "fork",
    }
}

named! {
    /// A family of ways to attach.
    PlanName {
        /// Kernel functions by trampoline.
        Fentry = "fentry",
        /// Kernel functions by breakpoint.
        Kprobe = "kprobe",
        /// The kernel's static tracepoints only.
        Tracepoint = "tracepoint",
    }
}

/// What a program is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A tracepoint through its BTF type.
    Btf(&'static str),
    /// A tracepoint by name, arguments untyped.
    Raw(&'static str),
    /// A perf event of tracefs: group and name.
    Event(&'static str, &'static str),
    /// The entry of a kernel function, by trampoline.
    Fentry(&'static str),
    /// The return of a kernel function that takes this many arguments, by
    /// trampoline: the return value lies behind them.
    Fexit(&'static str, usize),
    /// The entry of a kernel function, by breakpoint.
    Kprobe(&'static str),
    /// The return of a kernel function, by breakpoint.
    Kretprobe(&'static str),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Btf(name) => write!(f, "tp_btf/{name}"),
            Self::Raw(name) => write!(f, "raw_tp/{name}"),
            Self::Event(group, name) => write!(f, "tracepoint/{group}/{name}"),
            Self::Fentry(name) => write!(f, "fentry/{name}"),
            Self::Fexit(name, _) => write!(f, "fexit/{name}"),
            Self::Kprobe(name) => write!(f, "kprobe/{name}"),
            Self::Kretprobe(name) => write!(f, "kretprobe/{name}"),
        }
    }
}

/// One program and what it is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Name of the entry point in the eBPF object.
    pub program: &'static str,
    /// Where it goes.
    pub target: Target,
}

/// One way to serve a hook: all of its probes, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Attached together.
    pub probes: &'static [Probe],
    /// Whether the programs name sockets by cookie; else by address.
    pub has_cookie: bool,
    /// What this way cannot see, for the report; `None` if nothing.
    pub blind: Option<&'static str>,
}

/// A hook and the ways to serve it, best first.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// What is to be learned.
    pub hook: Hook,
    /// Tried in order.
    pub ways: &'static [Way],
    /// What is lost where no way works; `None` if the plan is useless then.
    pub without: Option<&'static str>,
}

impl Need {
    /// Its ways; where the kernel `has_cookie` not, only those that do without, if there are
    /// any.
    fn ways_with(&self, has_cookie: bool) -> impl Iterator<Item = &Way> {
        let does_without = |way: &&Way| !way.has_cookie;
        let only = !has_cookie && self.ways.iter().any(|way| does_without(&way));
        self.ways
            .iter()
            .filter(move |way| !only || does_without(way))
    }
}

/// A plan: a way of attaching for every hook.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Its name in every report.
    pub name: PlanName,
    /// Every hook it serves.
    pub needs: &'static [Need],
    /// What it cannot see however well it attaches.
    pub blind: &'static [&'static str],
}

/// Every plan that exists, best first.
pub const PLANS: &[Plan] = &[fentry::PLAN, kprobe::PLAN, tracepoint::PLAN];

/// A hook that was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// Which.
    pub hook: Hook,
    /// How.
    pub way: Way,
}

/// A way that did not work.
#[derive(Clone, Debug)]
pub struct Refusal<E> {
    /// Of which plan.
    pub plan: PlanName,
    /// For which hook.
    pub hook: Hook,
    /// What was attached to.
    pub target: Target,
    /// Why not.
    pub error: E,
}

/// A plan that works, as far as it does.
#[derive(Clone, Debug)]
pub struct Chosen<E> {
    /// Which.
    pub plan: Plan,
    /// Hooks in place.
    pub served: Vec<Served>,
    /// Ways that were refused on the way here.
    pub refused: Vec<Refusal<E>>,
}

impl<E> Chosen<E> {
    /// What this trace cannot see, a sentence each.
    #[must_use]
    pub fn blind(&self) -> Vec<String> {
        let lost = self.plan.needs.iter().filter_map(|need| {
            match self.served.iter().find(|served| served.hook == need.hook) {
                Some(served) => served.way.blind,
                None => need.without,
            }
        });
        self.plan
            .blind
            .iter()
            .copied()
            .chain(lost)
            .map(str::to_owned)
            .collect()
    }

    /// Whether this hook is in place.
    #[must_use]
    pub fn serves(&self, hook: Hook) -> bool {
        self.served.iter().any(|served| served.hook == hook)
    }

    /// Whether sockets are named by cookie in every way chosen.
    #[must_use]
    pub fn has_cookie(&self) -> bool {
        self.served.iter().all(|served| served.way.has_cookie)
    }
}

/// Finds the first plan that works, best first, or the one called `only`.
///
/// `has_cookie`: the kernel has cookies for programs; where it has none, what needs them
/// is not tried.
///
/// `attach` tries one way and leaves nothing behind when it fails; `release`
/// undoes the ways that did attach when their plan turns out useless.
///
/// # Errors
/// Every refusal, in order, where no plan works.
pub fn choose<E>(
    only: Option<PlanName>,
    has_cookie: bool,
    mut attach: impl FnMut(&Way) -> Result<(), (Target, E)>,
    mut release: impl FnMut(),
) -> Result<Chosen<E>, Vec<Refusal<E>>> {
    let mut refused = Vec::new();
    for plan in PLANS {
        if only.is_some_and(|only| only != plan.name) {
            continue;
        }
        let mut served = Vec::new();
        let complete = plan.needs.iter().all(|need| {
            for way in need.ways_with(has_cookie) {
                match attach(way) {
                    Ok(()) => {
                        served.push(Served {
                            hook: need.hook,
                            way: *way,
                        });
                        return true;
                    }
                    Err((target, error)) => refused.push(Refusal {
                        plan: plan.name,
                        hook: need.hook,
                        target,
                        error,
                    }),
                }
            }
            need.without.is_some()
        });
        if complete {
            return Ok(Chosen {
                plan: *plan,
                served,
                refused,
            });
        }
        release();
    }
    Err(refused)
}

#[cfg(test)]
mod tests;
