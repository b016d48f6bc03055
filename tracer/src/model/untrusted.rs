//! Text that a process chose, made safe to show. Pure.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

/// A string that some process on the host chose: its name, its path, its
/// cgroup. Its only `Display` escapes whatever could act on a terminal, a log
/// or a reader's eye.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
/// DEL, C1), no line or paragraph separator, nothing that reorders, hides, joins
/// or piles up on its neighbours, nothing unassigned.
#[must_use]
pub fn is_harmless(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    // Letters to Unicode, blank to the eye: the Hangul fillers.
    let is_blank = matches!(c, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}');
    // The standard library knows what is printable, and takes combining marks
    // for not so: a name of nothing else would take no room and cover another.
    !is_blank && c.escape_debug().len() == 1
}

/// The text with every harmful character spelled out: for text of ours that
/// quotes another's. Does not touch what is spelled out already.
#[must_use]
pub fn spelled_out(text: &str) -> Cow<'_, str> {
    escape_unless(text, is_harmless)
}

/// As `spelled_out`, and the backslash doubled, so that no text can pretend to
/// be an escaped one.
fn escaped(text: &str) -> Cow<'_, str> {
    escape_unless(text, |c| is_harmless(c) && c != '\\')
}

fn escape_unless(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    if text.chars().all(&keep) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if keep(c) {
            out.push(c);
        } else {
            out.extend(c.escape_default());
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::{Untrusted, is_harmless, spelled_out};

    #[test]
    fn what_acts_hides_or_joins_is_harmful() {
        for harmful in [
            '\u{0}'..='\u{1f}',
            '\u{7f}'..='\u{9f}',
            '\u{ad}'..='\u{ad}',
            '\u{300}'..='\u{36f}',
            '\u{61c}'..='\u{61c}',
            '\u{115f}'..='\u{1160}',
            '\u{17b4}'..='\u{17b5}',
            '\u{180b}'..='\u{180f}',
            '\u{200b}'..='\u{200f}',
            '\u{2028}'..='\u{202e}',
            '\u{2060}'..='\u{206f}',
            '\u{3164}'..='\u{3164}',
            '\u{e000}'..='\u{f8ff}',
            '\u{fe00}'..='\u{fe0f}',
            '\u{feff}'..='\u{feff}',
            '\u{ffa0}'..='\u{ffa0}',
            '\u{fff0}'..='\u{fffb}',
            '\u{e0000}'..='\u{e0fff}',
        ] {
            for c in harmful {
                assert!(!is_harmless(c), "{c:?}");
            }
        }
    }

    #[test]
    fn words_of_any_language_stay() {
        for words in [
            "nginx: worker (1)",
            "C:\\'\"&<>",
            "Ünïcode",
            "проба",
            "名前",
            "مثال",
            "🦀",
        ] {
            assert!(words.chars().all(is_harmless), "{words}");
        }
    }

    #[test]
    fn escapes_cannot_be_feigned() {
        assert_eq!(Untrusted::from("\x1b[m\n").to_string(), "\\u{1b}[m\\n");
        assert_eq!(Untrusted::from("\\u{1b}").to_string(), "\\\\u{1b}");
        assert_eq!(Untrusted::from_bytes(b"a\xffb").raw(), "a\\xffb");
        assert_eq!(spelled_out("\\n\n"), "\\n\\n");
    }
}
