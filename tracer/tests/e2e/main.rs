//! End-to-end tests: `tcpleak` against real programs on real sockets.
//!
//! The truth is the kernel's: what the programs did, as they say themselves, and
//! what `ss` shows. Other programs may run on the host meanwhile, so a test
//! speaks only of its own processes, ports and network namespaces.
//!
//! They need root and are run by `cargo xtask test`. A test that cannot run
//! fails, with the reason.

mod browser;
mod check;
mod complaints;
mod fallback;
mod filters;
mod governor;
mod held;
mod hostile;
mod kill;
mod leaks;
mod loss;
mod middle;
mod model;
mod mptcp;
mod netns;
mod owners;
mod privileges;
mod ps;
mod record;
mod refused;
mod stacks;
mod stop;
mod support;
mod timeline;
mod trace;
mod verdicts;
