//! Where bytes come from.

pub mod ring;
