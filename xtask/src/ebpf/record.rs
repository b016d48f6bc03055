//! How the committed object was built, in a file beside it.

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{pins, toolchain::Toolchain};

/// The tools that wrote an object, and the hash of its bytes.
#[derive(Deserialize, Serialize)]
pub(crate) struct Record {
    /// `rustc --version`
    pub(crate) rustc: String,
    /// The compiler's LLVM
    pub(crate) llvm: String,
    /// The linker's version
    pub(crate) bpf_linker: String,
    /// SHA-256 of the object
    pub(crate) sha256: String,
}

impl Record {
    /// The record of an `object` built by `toolchain`.
    pub(crate) fn of(toolchain: &Toolchain, object: &[u8]) -> Self {
        Self {
            rustc: toolchain.rustc_version.clone(),
            llvm: toolchain.llvm_version.clone(),
            bpf_linker: pins::BPF_LINKER.to_owned(),
            sha256: Sha256::digest(object)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        }
    }

    /// As committed.
    pub(crate) fn to_toml(&self) -> Result<String> {
        let head = "# How tcpleak.bpf.o was built: written by `cargo xtask ebpf`.\n";
        Ok(format!("{head}{}", toml::to_string(self)?))
    }

    /// Reads what [`Record::to_toml`] wrote.
    pub(crate) fn from_toml(text: &str) -> Result<Self> {
        toml::from_str(text).context("cannot read the record: run cargo xtask ebpf and commit")
    }

    /// The first tool of this record that has another version in `recorded`.
    pub(crate) fn other_tools(&self, recorded: &Self) -> Option<String> {
        let tools = [
            ("rustc", &self.rustc, &recorded.rustc),
            ("LLVM", &self.llvm, &recorded.llvm),
            ("bpf-linker", &self.bpf_linker, &recorded.bpf_linker),
        ];
        let (tool, here, there) = tools.into_iter().find(|(_, here, there)| here != there)?;
        Some(format!(
            "it was built with {tool} `{there}` and here is `{here}`"
        ))
    }
}
