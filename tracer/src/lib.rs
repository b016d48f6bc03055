//! tcpleak: TCP connections that never close, sockets stuck in wait states,
//! and who must act.
//!
//! Data flows one way, and the modules are its stations:
//! `load` and `source` (kernel) -> `decode` -> `table` -> `diagnosis` ->
//! `model` -> `view`; `snapshot` -> `reconcile` -> `table` beside it.
//! ARCHITECTURE.md says what each may touch.

pub mod btf;
pub mod check;
pub mod cli;
pub mod clock;
pub mod collector;
pub mod course;
pub mod decode;
pub mod diagnosis;
pub mod enrich;
pub mod load;
pub mod model;
pub mod plan;
pub mod reconcile;
pub mod selection;
pub mod snapshot;
pub mod source;
pub mod store;
pub mod symbols;
pub mod table;
pub mod tcp;
pub mod view;
