//! What the collector and the helper that reads symbols say to each other. Pure.
//!
//! One question and one answer at a time, each one message of JSON. The helper
//! reads hostile files and may be taken over by one: an answer is believed only
//! within these limits, and its text is untrusted.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracer_common::event::STACK_WORDS;

pub use walk::{MAX_CALLERS, Registers, Walk, Walked};

mod walk;

/// Addresses in one question, so that an answer fits in a message.
pub const MAX_ADDRESSES: usize = 32;
/// Functions at one address: what was inlined there, and what it was inlined in.
pub const MAX_INLINED: usize = 12;
/// Bytes of a function's name that are kept. Names of templates grow without bound.
pub const MAX_FUNCTION: usize = 256;
/// Bytes of a file's name that are kept: `NAME_MAX`.
pub const MAX_FILE: usize = 255;
/// Bytes of a message: what a socket takes as one by default, with room to spare.
pub const MAX_MESSAGE: usize = 128 << 10;

/// What kind of file the names are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// An ELF file; addresses are offsets in the file.
    Elf,
    /// The perf map of a just-in-time compiler; addresses are the process's own.
    PerfMap,
}

/// What is asked of the file that comes with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// Which names are at these addresses?
    Names {
        /// The file's kind.
        kind: Kind,
        /// The addresses.
        addresses: Vec<u64>,
    },
    /// Who called the code of this ELF file? An answer is a [`Walked`].
    Walk(Walk),
}

/// A function at an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Name {
    /// The function, demangled.
    pub function: String,
    /// Bytes from its start to the address; `None` where it was inlined.
    pub offset: Option<u64>,
    /// Name of the source file, without its folders.
    pub file: Option<String>,
    /// Line in it.
    pub line: Option<u32>,
}

/// The names at each address, innermost first; none where it has no name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// In the order of the question.
    pub names: Vec<Vec<Name>>,
}

/// Why a message is not believed.
#[derive(Debug, Error)]
pub enum Implausible {
    /// Not what it should be at all.
    #[error("not a message: {0}")]
    Garbage(#[from] serde_json::Error),
    /// Too much of something.
    #[error("{0} beyond its limit")]
    TooMuch(&'static str),
    /// Another number of addresses than asked for.
    #[error("{found} addresses answered, {asked} asked for")]
    Count {
        /// In the answer.
        found: usize,
        /// In the question.
        asked: usize,
    },
}

fn within(is_within: bool, what: &'static str) -> Result<(), Implausible> {
    is_within.then_some(()).ok_or(Implausible::TooMuch(what))
}

impl Question {
    /// From a message.
    ///
    /// # Errors
    /// [`Implausible`] where it is no question within the limits.
    pub fn decode(bytes: &[u8]) -> Result<Self, Implausible> {
        within(bytes.len() <= MAX_MESSAGE, "length")?;
        let question: Self = serde_json::from_slice(bytes)?;
        match &question {
            Self::Names { addresses, .. } => {
                within(addresses.len() <= MAX_ADDRESSES, "addresses")?;
            }
            Self::Walk(walk) => within(walk.words.len() <= STACK_WORDS, "words of a stack")?,
        }
        Ok(question)
    }
}

impl Answer {
    /// From a message that answers a question about so many addresses.
    ///
    /// # Errors
    /// [`Implausible`] where it is no answer to it within the limits.
    pub fn decode(bytes: &[u8], asked: usize) -> Result<Self, Implausible> {
        within(bytes.len() <= MAX_MESSAGE, "length")?;
        let answer: Self = serde_json::from_slice(bytes)?;
        let found = answer.names.len();
        if found != asked {
            return Err(Implausible::Count { found, asked });
        }
        for names in &answer.names {
            within(names.len() <= MAX_INLINED, "inlined functions")?;
            for name in names {
                within(name.function.len() <= MAX_FUNCTION, "a function's name")?;
                let file = name.file.as_ref().map_or(0, String::len);
                within(file <= MAX_FILE, "a file's name")?;
            }
        }
        Ok(answer)
    }

    /// As a message within the limits: what is too long is cut short, and the names
    /// that do not fit any more are left out.
    #[must_use]
    pub fn encode(mut self) -> Vec<u8> {
        // An address without a name takes this much: `[],`.
        let mut room = MAX_MESSAGE - 64 - 3 * self.names.len();
        for names in &mut self.names {
            names.truncate(MAX_INLINED);
            for name in names.iter_mut() {
                cut(&mut name.function, MAX_FUNCTION);
                if let Some(file) = &mut name.file {
                    cut(file, MAX_FILE);
                }
            }
            let bytes = serde_json::to_vec(names).map_or(usize::MAX, |bytes| bytes.len());
            match room.checked_sub(bytes) {
                Some(left) => room = left,
                None => names.clear(),
            }
        }
        serde_json::to_vec(&self).unwrap_or_default()
    }
}

/// Cuts text to so many bytes, between two characters.
fn cut(text: &mut String, len: usize) {
    if text.len() > len {
        let at = (0..=len).rev().find(|&at| text.is_char_boundary(at));
        text.truncate(at.unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name() -> impl Strategy<Value = Name> {
        let text = || "\\PC{0,600}";
        (
            text(),
            any::<Option<u64>>(),
            proptest::option::of(text()),
            any::<Option<u32>>(),
        )
            .prop_map(|(function, offset, file, line)| Name {
                function,
                offset,
                file,
                line,
            })
    }

    proptest! {
        /// Whatever names a file holds, the answer gets through.
        #[test]
        fn what_is_encoded_is_believed(
            names in proptest::collection::vec(proptest::collection::vec(name(), 0..20), 0..=MAX_ADDRESSES)
        ) {
            let asked = names.len();
            let bytes = Answer { names: names.clone() }.encode();
            prop_assert!(bytes.len() <= MAX_MESSAGE);
            let answer = Answer::decode(&bytes, asked).expect("plausible");
            for (was, is) in names.iter().zip(&answer.names) {
                prop_assert!(is.len() <= was.len());
                for (was, is) in was.iter().zip(is) {
                    prop_assert!(was.function.starts_with(&is.function));
                    prop_assert_eq!(was.line, is.line);
                }
            }
        }

        #[test]
        fn garbage_is_an_error_or_within_the_limits(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Answer::decode(&bytes, 1);
            let _ = Walked::decode(&bytes);
            let _ = Question::decode(&bytes);
        }
    }

    #[test]
    fn what_exceeds_a_limit_is_not_believed() {
        let long = |function: usize, file: usize, names: usize| {
            let name = Name {
                function: "f".repeat(function),
                file: Some("c".repeat(file)),
                ..Name::default()
            };
            let answer = Answer {
                names: vec![vec![name; names]],
            };
            serde_json::to_vec(&answer).expect("JSON")
        };
        assert!(Answer::decode(&long(256, 255, 12), 1).is_ok());
        assert!(Answer::decode(&long(257, 255, 12), 1).is_err());
        assert!(Answer::decode(&long(256, 256, 12), 1).is_err());
        assert!(Answer::decode(&long(256, 255, 13), 1).is_err());
        assert!(Answer::decode(&long(1, 1, 1), 2).is_err());
        assert!(Answer::decode(&vec![b' '; MAX_MESSAGE + 1], 1).is_err());
        let walked = |callers: usize| Walked {
            callers: vec![u64::MAX; callers],
            registers: REGISTERS,
            is_whole: false,
        };
        assert!(Walked::decode(&walked(MAX_CALLERS).encode()).is_ok());
        assert!(Walked::decode(&walked(MAX_CALLERS + 1).encode()).is_err());
    }

    const REGISTERS: Registers = Registers {
        ip: u64::MAX,
        sp: u64::MAX,
        fp: u64::MAX,
    };

    /// The largest copy there is fits in a message, one larger is not believed, and what
    /// is on a stack shows in no message of ours about it.
    #[test]
    fn a_stack_fits_and_stays_secret() {
        let asked = |words: usize| {
            Question::Walk(Walk {
                registers: REGISTERS,
                is_innermost: true,
                code: (0, u64::MAX, u64::MAX),
                from: u64::MAX,
                words: vec![0x7365_6372_6574_2121; words],
            })
        };
        let message = |words| serde_json::to_vec(&asked(words)).expect("JSON");
        assert_eq!(
            Question::decode(&message(STACK_WORDS)).expect("a question"),
            asked(STACK_WORDS)
        );
        assert!(Question::decode(&message(STACK_WORDS + 1)).is_err());
        let said = format!("{:?}", asked(3));
        assert!(
            said.contains("3 words") && !said.contains("8315180"),
            "{said}"
        );
    }
}
