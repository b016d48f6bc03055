//! What the views see. Pure: made from `table` and `diagnosis`, read by `view`.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod assemble;
pub mod connection;
pub mod event;
pub mod fields;
pub mod frame;
mod neighbours;
pub mod report;
pub mod tables;
pub mod timeline;
pub mod untrusted;
