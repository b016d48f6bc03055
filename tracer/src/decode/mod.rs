//! Bytes to events. Pure.
