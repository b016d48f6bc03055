//! What each hook does, whatever it is attached to.

pub mod accept;
pub mod close;
pub mod connect;
pub mod exec;
pub mod exit;
pub mod fork;
pub mod gone;
pub mod reset;
pub mod shutdown;
pub mod state;
pub mod time_wait;
