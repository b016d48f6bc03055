//! What the views see. Pure: made from `table` and `diagnosis`, read by `view`.

pub mod assemble;
pub mod connection;
pub mod event;
pub mod fields;
pub mod report;
pub mod untrusted;
