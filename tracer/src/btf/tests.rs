//! Against types built here by hand, after the kernel's own shapes.

use proptest::prelude::*;

use super::{BtfError, KernelTypes, Place, offsets};

/// Writes BTF (Documentation/bpf/btf.rst): header, types, strings.
#[derive(Default)]
struct Builder {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
}

const INT: u32 = 1;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const TYPEDEF: u32 = 8;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;

impl Builder {
    fn new() -> Self {
        Self {
            strings: vec![0],
            ..Self::default()
        }
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = u32::try_from(self.strings.len()).expect("small");
        self.strings.extend(name.as_bytes());
        self.strings.push(0);
        at
    }

    fn words(&mut self, words: &[u32]) {
        self.types
            .extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }

    fn head(&mut self, name: &str, kind: u32, len: usize, size_or_type: u32) -> u32 {
        let name = self.name(name);
        let len = u32::try_from(len).expect("small");
        self.words(&[name, kind << 24 | len, size_or_type]);
        self.count += 1;
        self.count
    }

    fn int(&mut self, name: &str) -> u32 {
        let id = self.head(name, INT, 0, 4);
        self.words(&[32]);
        id
    }

    /// Members: name, type, bit offset.
    fn aggregate(&mut self, name: &str, kind: u32, members: &[(&str, u32, u32)]) -> u32 {
        let id = self.head(name, kind, members.len(), 64);
        for &(name, of, bit) in members {
            let name = self.name(name);
            self.words(&[name, of, bit]);
        }
        id
    }

    fn typedef(&mut self, name: &str, of: u32) -> u32 {
        self.head(name, TYPEDEF, 0, of)
    }

    fn enumeration(&mut self, name: &str, values: &[(&str, u32)]) -> u32 {
        let id = self.head(name, ENUM, values.len(), 4);
        for &(name, value) in values {
            let name = self.name(name);
            self.words(&[name, value]);
        }
        id
    }

    fn function(&mut self, name: &str, parameters: usize) {
        let prototype = self.head("", FUNC_PROTO, parameters, 0);
        for _ in 0..parameters {
            self.words(&[0, 1]);
        }
        self.head(name, FUNC, 0, prototype);
    }

    fn bytes(&self) -> Vec<u8> {
        let len = |bytes: &[u8]| u32::try_from(bytes.len()).expect("small");
        let mut out = 0xeb9fu16.to_le_bytes().to_vec();
        out.extend([1, 0]);
        let types = len(&self.types);
        for word in [24, 0, types, types, len(&self.strings)] {
            out.extend(word.to_le_bytes());
        }
        out.extend(&self.types);
        out.extend(&self.strings);
        out
    }
}

fn sample() -> Builder {
    let mut builder = Builder::new();
    let int = builder.int("int");
    let inner = builder.aggregate("", STRUCT, &[("deep", int, 32)]);
    let either = builder.aggregate("", UNION, &[("flat", int, 0), ("", inner, 0)]);
    let pair = builder.aggregate("pair", STRUCT, &[("first", int, 0), ("second", int, 32)]);
    let alias = builder.typedef("pair_t", pair);
    builder.aggregate(
        "outer",
        STRUCT,
        &[
            ("head", int, 0),
            ("", either, 64),
            ("pair", alias, 128),
            ("bit", int, 201),
        ],
    );
    builder.enumeration("colour", &[("RED", 0), ("GREEN", 7)]);
    builder.function("accepts", 4);
    builder
}

fn types(builder: &Builder) -> KernelTypes {
    KernelTypes::parse(&builder.bytes()).expect("valid BTF")
}

#[test]
fn fields_are_found_through_anonymous_members_and_typedefs() {
    let types = types(&sample());
    let bit = |path| types.place("outer", path).map(|Place { bit }| bit).ok();
    assert_eq!(bit("head"), Some(0));
    assert_eq!(bit("flat"), Some(64));
    assert_eq!(bit("deep"), Some(96));
    assert_eq!(bit("pair.second"), Some(160));
    assert_eq!(bit("bit"), Some(201));
    assert_eq!(bit("nothing"), None);
    assert_eq!(bit("head.inside"), None);
    assert!(types.place("nowhere", "head").is_err());
}

#[test]
fn enums_and_functions_are_found_by_name() {
    let types = types(&sample());
    assert_eq!(types.enum_value("colour", "GREEN").ok(), Some(7));
    assert!(types.enum_value("colour", "BLUE").is_err());
    assert_eq!(types.function_arity("accepts"), Some(4));
    assert_eq!(types.function_arity("refuses"), None);
}

#[test]
fn a_kernel_without_a_field_is_named_by_it() {
    let error = offsets(&types(&sample())).expect_err("no struct sock");
    assert!(
        matches!(&error, BtfError::NoField { of, .. } if of == "sock"),
        "{error}"
    );
}

#[test]
fn a_field_outside_of_its_struct_is_at_an_impossible_place() {
    let mut builder = Builder::new();
    let int = builder.int("int");
    // A struct made here has 64 bytes.
    let inner = builder.aggregate("inner", STRUCT, &[("far", int, 32 * 8)]);
    let members = [
        ("last", int, 60 * 8),
        ("next", int, 64 * 8),
        ("inner", inner, 40 * 8),
    ];
    builder.aggregate("outer", STRUCT, &members);
    let types = types(&builder);
    assert!(types.place("outer", "last").is_ok());
    for path in ["next", "inner.far"] {
        let place = types.place("outer", path);
        assert!(
            matches!(&place, Err(BtfError::BadPlace { field, .. }) if field == path),
            "{place:?}"
        );
    }
}

#[test]
fn what_is_not_btf_is_an_error() {
    for bytes in [b"".as_slice(), b"\x7fELF", &[0x9f, 0xeb, 1, 0], &[0; 64]] {
        assert!(KernelTypes::parse(bytes).is_err());
    }
}

proptest! {
    #[test]
    fn damaged_btf_never_panics(at in 0usize..400, value: u8, cut in 0usize..500) {
        let mut bytes = sample().bytes();
        let len = bytes.len();
        bytes[at % len] = value;
        bytes.truncate(cut.max(1));
        if let Ok(types) = KernelTypes::parse(&bytes) {
            let _ = types.place("outer", "pair.second");
            let _ = types.place("outer", "deep");
            let _ = types.function_arity("accepts");
            let _ = offsets(&types);
        }
    }
}
