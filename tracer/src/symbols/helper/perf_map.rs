//! The perf map of a just-in-time compiler: `START SIZE NAME` a line, numbers in
//! hexadecimal digits. Written by the process itself, so anything may be in it. Pure.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use crate::symbols::protocol::{MAX_FUNCTION, Name};

/// The names at these addresses. Of several entries the last counts: code is
/// compiled again and put in another's place.
#[must_use]
pub fn names(text: &[u8], addresses: &[u64]) -> Vec<Vec<Name>> {
    let mut found = vec![Vec::new(); addresses.len()];
    for line in text.split(|&b| b == b'\n') {
        let Some((start, size, name)) = entry(line) else {
            continue;
        };
        for (address, names) in addresses.iter().zip(&mut found) {
            let Some(offset) = address.checked_sub(start).filter(|&offset| offset < size) else {
                continue;
            };
            let name = &name[..name.len().min(MAX_FUNCTION)];
            *names = vec![Name {
                function: String::from_utf8_lossy(name).into_owned(),
                offset: Some(offset),
                ..Name::default()
            }];
        }
    }
    found
}

fn entry(line: &[u8]) -> Option<(u64, u64, &[u8])> {
    let mut fields = line.splitn(3, |&b| b == b' ');
    let mut number = || {
        let digits = std::str::from_utf8(fields.next()?).ok()?;
        u64::from_str_radix(digits.trim_start_matches("0x"), 16).ok()
    };
    let (start, size) = (number()?, number()?);
    let name = fields.next()?.trim_ascii();
    (!name.is_empty()).then_some((start, size, name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::names;

    #[test]
    fn the_last_entry_counts() {
        let text =
            b"1000 10 old\nff\n\nzz 3 x\n1000 20 LazyCompile:*fetch /app/a.js:3\n2000 0 none\n";
        let found = names(text, &[0x1008, 0x1020, 0x2000]);
        assert_eq!(found[0][0].function, "LazyCompile:*fetch /app/a.js:3");
        assert_eq!(found[0][0].offset, Some(8));
        assert!(found[1].is_empty() && found[2].is_empty());
    }

    proptest! {
        #[test]
        fn no_text_disturbs(text in proptest::collection::vec(any::<u8>(), 0..400), address: u64) {
            prop_assert_eq!(names(&text, &[address]).len(), 1);
        }

        #[test]
        fn numbers_at_the_edge_are_read(start: u64, size: u64, address: u64) {
            let text = format!("{start:x} {size:x} f\n");
            let is_inside = u128::from(address) >= u128::from(start)
                && u128::from(address) < u128::from(start) + u128::from(size);
            prop_assert_eq!(!names(text.as_bytes(), &[address])[0].is_empty(), is_inside);
        }
    }
}
