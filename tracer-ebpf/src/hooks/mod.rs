//! What each hook does, whatever it is attached to.

pub mod accept;
pub mod connect;
pub mod exit;
pub mod gone;
pub mod shutdown;
pub mod state;
