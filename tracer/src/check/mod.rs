//! `tcpleak check`: what becomes of each connection of a command's processes, and
//! whether that is a leak. Pure.
//!
//! The rules of `diagnosis` judge what is open, over a watch of a service that goes
//! on. A test run is short, and its end closes everything; so here each connection is
//! judged once, by what the kernel told of it, when its process ends.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod allow;
pub mod assemble;
pub mod ledger;
pub mod python;
pub mod report;
pub mod rule;
pub mod site;

#[cfg(test)]
mod tests;
