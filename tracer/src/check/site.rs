//! Which line of code, and which test. Pure.

use std::sync::Arc;

use crate::model::{
    frame::{self, Frame},
    untrusted::Untrusted,
};

/// The code that opened or accepted a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// Its call stack, innermost first.
    pub frames: Arc<[Frame]>,
    /// The frame that names it best.
    pub best: Option<usize>,
    /// The frame of the test that ran.
    pub test: Option<usize>,
    /// The source file of the frame that the report points at, with its folders; `None`
    /// where only its name is known.
    pub path: Option<Untrusted>,
}

impl Site {
    /// From a native call stack.
    #[must_use]
    pub fn native(frames: Arc<[Frame]>) -> Self {
        Self {
            best: frame::call_site(&frames),
            test: test(&frames, |at| frame::is_program(&frames[at])),
            path: None,
            frames,
        }
    }

    /// The frame to point at: the test's, or the one that names it best.
    #[must_use]
    pub fn place(&self) -> Option<&Frame> {
        self.frames.get(self.test.or(self.best)?)
    }

    /// The frame that names it best.
    #[must_use]
    pub fn call_site(&self) -> Option<&Frame> {
        self.frames.get(self.best?)
    }

    /// The frame of the test that ran.
    #[must_use]
    pub fn test_frame(&self) -> Option<&Frame> {
        self.frames.get(self.test?)
    }

    /// The same for the same code in every run.
    #[must_use]
    pub fn code(&self) -> u64 {
        frame::code(&self.frames)
    }
}

/// Functions of what runs tests.
const FRAMEWORKS: [&str; 6] = [
    "testing.tRunner",
    "test::",
    "unittest.",
    "_pytest.",
    "pluggy.",
    "twisted.trial.",
];

/// The frame that a test framework called: the outermost of the program that lies
/// within the framework's innermost.
pub(super) fn test(frames: &[Frame], is_program: impl Fn(usize) -> bool) -> Option<usize> {
    let function = |at: usize| frames[at].function.as_ref().map_or("", Untrusted::raw);
    let is_framework = |at: &usize| {
        FRAMEWORKS
            .iter()
            .any(|name| function(*at).starts_with(name))
    };
    let framework = (0..frames.len()).find(is_framework)?;
    let test = (0..framework).rev().find(|&at| is_program(at))?;
    // Rust wraps each test in a closure, whose line is that of the function's head.
    let wrapped = test.checked_sub(1).filter(|&inner| {
        let wrapper = function(test).strip_prefix(function(inner));
        wrapper.is_some_and(|rest| rest.starts_with("::{"))
    });
    Some(wrapped.unwrap_or(test))
}
