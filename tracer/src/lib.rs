//! tcpleak: TCP connections that never close, sockets stuck in wait states,
//! and who must act.
//!
//! Data flows one way, and the modules are its stations:
//! `load` and `source` (kernel) -> `decode` -> `table` -> `diagnosis` ->
//! `model` -> `view`; `snapshot` -> `reconcile` -> `table` beside it.
//! ARCHITECTURE.md says what each may touch.

pub mod clock;
pub mod decode;
pub mod diagnosis;
pub mod model;
pub mod table;
pub mod tcp;
pub mod view;
