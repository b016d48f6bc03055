//! What the kernel side is built with. Versions that float here are written to
//! the record beside the object, which tells why bytes differ.

/// The linker from LLVM bitcode to a BPF object. This release reads the bitcode
/// of LLVM 21 to 23, hence of Debian's compiler and of rustup's nightly.
pub(crate) const BPF_LINKER: &str = "0.13.0";

/// Debian's packages of a compiler and of the sources of `core`, which Debian
/// keeps current for its browsers' sake. A released compiler changes a few times
/// a year where a nightly changes every day.
pub(crate) const RUSTC_PACKAGES: [&str; 2] = ["rustc-web", "rust-web-src"];

/// Lets a released compiler build `core` too: nobody ships it built for BPF.
pub(crate) const UNSTABLE: (&str, &str) = ("RUSTC_BOOTSTRAP", "1");
