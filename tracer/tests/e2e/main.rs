//! End-to-end tests: `tcpleak` against real programs on real sockets.

mod hostile;
mod privileges;
