//! What both sides of the ring buffer agree on.
//!
//! The kernel side (`tracer-ebpf`) writes these types, the user side (`tracer`)
//! reads them; but for what `chain` computes nothing here does anything. Integers only,
//! no padding that is not spelled out, sizes asserted: a record is the same bytes on both sides.
#![no_std]

pub mod chain;
pub mod config;
pub mod drop;
pub mod event;
pub mod offsets;
pub mod pair;
pub mod shed;
