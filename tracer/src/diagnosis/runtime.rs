//! What a program is written in, or which well-known program it is. Pure; told by
//! `enrich`.

use crate::tcp::named;

named! {
    /// What decides how a fix is written.
    #[derive(Default)]
    Runtime {
        /// A Go binary.
        Go = "Go",
        /// A JVM.
        Java = "Java",
        /// CPython, or a server that runs it.
        Python = "Python",
        /// Node.js.
        Node = "Node",
        /// A Rust binary.
        Rust = "Rust",
        /// nginx, or what is built on it.
        Nginx = "nginx",
        /// HAProxy.
        Haproxy = "HAProxy",
        /// Any other.
        #[default]
        Unknown = "unknown",
    }
}
