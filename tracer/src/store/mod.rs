//! Recordings: what a trace learned, in a file. `docs/recording.md` has the form.
//!
//! `block`, `item` and `blocks` are pure and hold the form; `recorder` and `disk`
//! write, `recording` reads, and `replay` tells a course of it.

pub mod block;
pub mod blocks;
pub mod disk;
pub mod item;
pub mod recorder;
pub mod recording;
pub mod replay;

#[cfg(test)]
mod tests;
