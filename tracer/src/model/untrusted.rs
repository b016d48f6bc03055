//! Text that a process chose, made safe to show. Pure.

use std::{borrow::Cow, fmt};

/// A string that some process on the host chose: its name, its path, its
/// cgroup. Its only `Display` escapes whatever could act on a terminal, a log
/// or a reader's eye.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Untrusted(String);

impl Untrusted {
    /// From the kernel's bytes; what is not UTF-8 is kept as `\xNN`.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut text = String::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            for byte in chunk.invalid() {
                text.push_str(&format!("\\x{byte:02x}"));
            }
        }
        Self(text)
    }

    /// The text as it is: for comparisons and for encoders with an escaping of
    /// their own, never for a terminal.
    #[must_use]
    pub fn raw(&self) -> &str {
        &self.0
    }

    /// Whether there is no text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Untrusted {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&escaped(&self.0))
    }
}

/// Whether a character may reach a terminal or a page as it is: no control (C0,
/// DEL, C1), no line or paragraph separator, nothing that reorders, hides or
/// joins its neighbours.
#[must_use]
pub fn is_harmless(c: char) -> bool {
    !(c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'))
}

/// The text with every harmful character, and the backslash, spelled out.
fn escaped(text: &str) -> Cow<'_, str> {
    if text.chars().all(|c| is_harmless(c) && c != '\\') {
        return Cow::Borrowed(text);
    }
    Cow::Owned(
        text.chars()
            .map(|c| {
                if is_harmless(c) && c != '\\' {
                    c.to_string()
                } else {
                    c.escape_default().to_string()
                }
            })
            .collect(),
    )
}
