//! BTF bytes to struct fields, enum values and function arity. Pure.
//!
//! Only vmlinux's own BTF is read: that of modules can be corrupt
//! (cilium/ebpf#1902).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use btf_rs::{Btf, Type};
use thiserror::Error;

mod offsets;

pub use offsets::offsets;

/// Anonymous structs within anonymous structs are followed this deep; the
/// kernel nests three.
const MAX_NESTING: u32 = 8;
/// Typedefs and qualifiers are followed this far; the kernel chains four.
const MAX_CHAIN: u32 = 16;

/// Why BTF did not answer.
#[derive(Debug, Error)]
pub enum BtfError {
    /// Not BTF, or damaged.
    #[error("not valid BTF: {0}")]
    Invalid(#[from] btf_rs::Error),
    /// The kernel has no such struct, or the struct no such field.
    #[error("no field {field} in struct {of}")]
    NoField {
        /// The struct.
        of: String,
        /// The path within it.
        field: String,
    },
    /// The kernel has no such enum value.
    #[error("no value {value} in enum {of}")]
    NoValue {
        /// The enum.
        of: String,
        /// The value's name.
        value: String,
    },
    /// A field does not start at a byte, or lies outside of its struct.
    #[error("field {field} of struct {of} lies at an impossible place")]
    BadPlace {
        /// The struct.
        of: String,
        /// The path within it.
        field: String,
    },
}

/// Where a field lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Bits from the start of the outermost struct.
    pub bit: u32,
}

/// The types of a running kernel.
pub struct KernelTypes(Btf);

impl KernelTypes {
    /// Parses `/sys/kernel/btf/vmlinux` or a file like it.
    ///
    /// # Errors
    /// [`BtfError::Invalid`] where the bytes are not BTF.
    pub fn parse(bytes: &[u8]) -> Result<Self, BtfError> {
        Ok(Self(Btf::from_bytes(bytes)?))
    }

    /// Where `path` (`a.b.c`) lies in `struct of`. Anonymous members are looked
    /// through, as in C.
    ///
    /// # Errors
    /// [`BtfError::NoField`] where this kernel has none, [`BtfError::BadPlace`]
    /// where it would lie outside of the struct.
    pub fn place(&self, of: &str, path: &str) -> Result<Place, BtfError> {
        let missing = || BtfError::NoField {
            of: of.to_owned(),
            field: path.to_owned(),
        };
        for candidate in self.0.resolve_types_by_name(of).map_err(|_| missing())? {
            if let Type::Struct(start) = candidate
                && let Some(bit) = self.walk(&start, path)
            {
                let within = usize::try_from(bit / 8).is_ok_and(|byte| byte < start.size());
                return within.then_some(Place { bit }).ok_or(BtfError::BadPlace {
                    of: of.to_owned(),
                    field: path.to_owned(),
                });
            }
        }
        Err(missing())
    }

    /// The value named `value` of `enum of`.
    ///
    /// # Errors
    /// [`BtfError::NoValue`] where this kernel has none.
    pub fn enum_value(&self, of: &str, value: &str) -> Result<u32, BtfError> {
        let missing = || BtfError::NoValue {
            of: of.to_owned(),
            value: value.to_owned(),
        };
        for candidate in self.0.resolve_types_by_name(of).map_err(|_| missing())? {
            if let Type::Enum(list) = candidate {
                for member in &list.members {
                    if self.0.resolve_name(member).is_ok_and(|name| name == value) {
                        return Ok(member.val());
                    }
                }
            }
        }
        Err(missing())
    }

    /// How many arguments the kernel function `name` takes; `None` if there is
    /// no such function.
    #[must_use]
    pub fn function_arity(&self, name: &str) -> Option<usize> {
        self.0
            .resolve_types_by_name(name)
            .ok()?
            .into_iter()
            .find_map(|found| {
                let Type::Func(function) = found else {
                    return None;
                };
                match self.0.resolve_chained_type(&function) {
                    Ok(Type::FuncProto(prototype)) => Some(prototype.parameters.len()),
                    _ => None,
                }
            })
    }

    fn walk(&self, start: &btf_rs::Struct, path: &str) -> Option<u32> {
        let mut bit = 0u32;
        let mut within = start.clone();
        let mut names = path.split('.').peekable();
        while let Some(name) = names.next() {
            let (at, member) = self.find(&within, name, MAX_NESTING)?;
            bit = bit.checked_add(at)?;
            if names.peek().is_some() {
                within = self.aggregate(&member)?;
            }
        }
        Some(bit)
    }

    /// The member called `name`, directly or inside an anonymous member.
    fn find(
        &self,
        within: &btf_rs::Struct,
        name: &str,
        depth: u32,
    ) -> Option<(u32, btf_rs::Member)> {
        for member in &within.members {
            let label = self.0.resolve_name(member).unwrap_or_default();
            if label == name {
                return Some((member.bit_offset(), member.clone()));
            }
            if label.is_empty()
                && depth > 0
                && let Some(inner) = self.aggregate(member)
                && let Some((at, found)) = self.find(&inner, name, depth - 1)
            {
                return Some((member.bit_offset().checked_add(at)?, found));
            }
        }
        None
    }

    /// The struct or union that a member is, behind typedefs and qualifiers.
    fn aggregate(&self, member: &btf_rs::Member) -> Option<btf_rs::Struct> {
        let mut found = self.0.resolve_chained_type(member).ok()?;
        for _ in 0..MAX_CHAIN {
            match found {
                Type::Struct(inner) | Type::Union(inner) => return Some(inner),
                Type::Typedef(_)
                | Type::Const(_)
                | Type::Volatile(_)
                | Type::Restrict(_)
                | Type::TypeTag(_) => {
                    found = self.0.resolve_chained_type(found.as_btf_type()?).ok()?;
                }
                _ => return None,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
