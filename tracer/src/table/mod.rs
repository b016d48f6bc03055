//! The connection table. Pure.

pub mod connection;
pub mod site;
