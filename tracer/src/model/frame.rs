//! A frame of a call stack, and which frames tell most. Pure.

use std::{
    fmt,
    hash::{Hash as _, Hasher as _},
    sync::Arc,
};

use rustc_hash::FxHasher;
use serde::{Deserialize, Serialize};

use crate::model::untrusted::Untrusted;

/// A function on a call stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Frame {
    /// The function, demangled; `None` where it has no name.
    pub function: Option<Untrusted>,
    /// The file that its code is in, without its folders; `None` for code that the
    /// process made, and where nothing is known of the address.
    pub module: Option<Untrusted>,
    /// The source file, without its folders.
    pub file: Option<Untrusted>,
    /// The line in it.
    pub line: Option<u32>,
    /// Bytes from the start of the function; of the module where that is all that is
    /// known; `None` where the function is inlined in the next frame's.
    pub offset: Option<u64>,
}

impl Frame {
    /// `main.fetch client.go:42`, `connect (libc.so.6)`, `unknown (libx.so)`.
    #[must_use]
    pub fn text(&self) -> Untrusted {
        let function = self.function.as_ref().map_or("unknown", Untrusted::raw);
        let text = match (&self.file, self.line, &self.module) {
            (Some(file), Some(line), _) => format!("{function} {}:{line}", file.raw()),
            (_, _, Some(module)) => format!("{function} ({})", module.raw()),
            _ => function.to_owned(),
        };
        Untrusted::from(text.as_str())
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().fmt(f)
    }
}

/// How far out the frames of a call stack reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reach {
    /// As far as is known, to where it begins.
    #[default]
    Whole,
    /// Not to where it begins: code could not be unwound, or it is too deep.
    CutShort,
    /// As far as happened to be found out, which does not tell call sites apart: what
    /// frame pointers show, or what could be read of a process that was ending.
    Unknown,
}

/// The frames of a call stack.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CallFrames {
    /// Innermost first; none where it has not been named.
    pub frames: Arc<[Frame]>,
    /// How far out they reach.
    pub reach: Reach,
}

impl CallFrames {
    /// A number for its code; `None` where that is not known well enough.
    #[must_use]
    pub fn code(&self) -> Option<u64> {
        (self.reach != Reach::Unknown).then(|| code(&self.frames))
    }
}

/// Programs, and their libraries, that run another program's code step by step. Which
/// of their functions do that changes while it runs: Python's interpreter takes
/// shorter ways for what it has met before, and Node compiles it.
const INTERPRETERS: [&str; 10] = [
    "python",
    "libpython",
    "perl",
    "libperl",
    "ruby",
    "libruby",
    "php",
    "libphp",
    "node",
    "libnode",
];

/// Whether a frame says nothing of which code of the program it is: an interpreter's, or
/// code that the process made and does not name.
fn is_interpreter(frame: &Frame) -> bool {
    let Some(module) = frame.module.as_ref().map(Untrusted::raw) else {
        return frame.function.is_none();
    };
    // `python3.11`, `php-fpm8.2`, `libruby.so`, but not `node_exporter`.
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphabetic() || c == '_');
    INTERPRETERS
        .iter()
        .any(|name| module.strip_prefix(name).is_some_and(ends))
}

/// A number for the code that a stack leads through: the same in every run of the
/// same programs, wherever they lie in memory, and for all that an interpreter does.
#[must_use]
pub fn code(frames: &[Frame]) -> u64 {
    let mut hasher = FxHasher::default();
    let is_known = |frame: &Frame| frame.function.is_some() || frame.module.is_some();
    if frames.iter().any(is_known) {
        for frame in frames.iter().filter(|frame| !is_interpreter(frame)) {
            // Code that a process makes is made anew now and then, and differs.
            let offset = frame.offset.filter(|_| frame.module.is_some());
            (&frame.function, &frame.module, offset).hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// How much a frame tells of who opened a connection. The least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tells {
    /// Nothing is known of it.
    Unknown,
    /// The system call and what wraps it: the same in every program.
    Call,
    /// What runs the program step by step: the same for all that it does.
    Runtime,
    /// The language's library.
    Library,
    /// The program.
    Program,
}

/// Files that hold the C library, its start-up code and threads.
const C_LIBRARY: [&str; 6] = [
    "libc.so",
    "libc-",
    "ld-linux",
    "libpthread",
    "ld-musl",
    "libresolv",
];

/// Functions of language runtimes that make the system call.
const CALLS: [&str; 13] = [
    "syscall.",
    "runtime/internal/syscall.",
    "internal/poll.",
    "internal/runtime/syscall.",
    "runtime.",
    "net.(*sysDialer).",
    "net.(*netFD).",
    "net.socket",
    "net.internetSocket",
    "std::sys::",
    "std::sys_common::",
    "__libc_",
    "_start",
];

/// Functions of interpreters and virtual machines.
const RUNTIMES: [&str; 12] = [
    "Py",
    "_Py",
    "node::",
    "v8::",
    "uv_",
    "Builtins_",
    "Interpreter",
    "StubRoutines",
    "JavaCalls::",
    "JavaThread::",
    "Thread::call_run",
    "thread_native_entry",
];

/// How V8 names JavaScript in a perf map: `JS:^fetch /srv/client.js:42:7`, and Node's own
/// `JS:^internalConnect node:net:1038:25`.
const JAVASCRIPT: &str = "JS:";

/// Functions of language libraries.
const LIBRARIES: [&str; 37] = [
    "<fn(",
    "testing.",
    "test::",
    "net.",
    "net/",
    "crypto/tls.",
    "context.",
    "sync.",
    "internal/",
    "bufio.",
    "io.",
    "golang.org/x/net/",
    "std::",
    "core::",
    "alloc::",
    "<std::",
    "<core::",
    "<alloc::",
    "__rust_",
    "tokio::",
    "<tokio::",
    "mio::",
    "<mio::",
    "socket2::",
    "hyper::",
    "<hyper::",
    "hyper_util::",
    "<hyper_util::",
    "futures_",
    "<F as futures_",
    "tower::",
    "<tower::",
    "Java_java_",
    "Java_sun_",
    "java.",
    "jdk.",
    "sun.",
];

fn tells(frame: &Frame) -> Tells {
    let Some(function) = frame.function.as_ref().map(Untrusted::raw) else {
        return Tells::Unknown;
    };
    let module = frame.module.as_ref().map_or("", Untrusted::raw);
    let is_in = |names: &[&str], text: &str| names.iter().any(|name| text.starts_with(name));
    if is_in(&C_LIBRARY, module) || is_in(&CALLS, function) {
        Tells::Call
    } else if function.starts_with(JAVASCRIPT) {
        javascript(function)
    } else if is_in(&RUNTIMES, without_type(function)) {
        Tells::Runtime
    } else if is_in(&LIBRARIES, function) || is_in(&LIBRARIES, without_type(function)) {
        Tells::Library
    } else {
        Tells::Program
    }
}

/// What JavaScript tells, by where it is from.
fn javascript(function: &str) -> Tells {
    let (_, place) = function.rsplit_once(' ').unwrap_or_default();
    if place.starts_with("node:internal/") {
        Tells::Runtime
    } else if place.starts_with("node:") {
        Tells::Library
    } else {
        Tells::Program
    }
}

/// A name without the type of what it returns, which C++ templates and Java have:
/// `void java.net.Socket.connect(java.net.SocketAddress)`.
fn without_type(function: &str) -> &str {
    let (mut depth, mut start) = (0_usize, 0);
    for (at, c) in function.char_indices() {
        match c {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            ' ' if depth == 0 => start = at + 1,
            '(' if depth == 0 => break,
            _ => {}
        }
    }
    &function[start..]
}

/// Whether a frame is the program's own code.
#[must_use]
pub fn is_program(frame: &Frame) -> bool {
    tells(frame) == Tells::Program
}

/// Whether frames tell one piece of code from another: more than the system call and
/// what wraps it, which are the same for all.
#[must_use]
pub fn tells_code(frames: &[Frame]) -> bool {
    let most = frames.iter().map(tells).max();
    most >= Some(Tells::Runtime)
}

/// The frame that names a call site best: the innermost of the program itself;
/// without one the outermost of its libraries, or of what runs it, which says what they
/// were asked to do; else the innermost.
#[must_use]
pub fn call_site(frames: &[Frame]) -> Option<usize> {
    let innermost = |wanted| frames.iter().position(|frame| tells(frame) == wanted);
    let outermost = |wanted| frames.iter().rposition(|frame| tells(frame) == wanted);
    innermost(Tells::Program)
        .or_else(|| outermost(Tells::Library))
        .or_else(|| outermost(Tells::Runtime))
        .or_else(|| innermost(Tells::Call))
        .or((!frames.is_empty()).then_some(0))
}

#[cfg(test)]
mod tests {
    use super::{Frame, call_site, code};
    use crate::model::untrusted::Untrusted;

    fn frame(function: &str, module: &str) -> Frame {
        Frame {
            function: (!function.is_empty()).then(|| Untrusted::from(function)),
            module: Some(Untrusted::from(module)),
            ..Frame::default()
        }
    }

    fn named(frames: &[(&str, &str)]) -> String {
        let frames: Vec<_> = frames.iter().map(|&(f, m)| frame(f, m)).collect();
        call_site(&frames).map_or_else(String::new, |at| frames[at].to_string())
    }

    #[test]
    fn the_programs_own_code_is_named() {
        assert_eq!(
            named(&[
                ("__GI___connect", "libc.so.6"),
                ("", "libx.so"),
                ("fetch", "client"),
                ("main", "client"),
                ("__libc_start_call_main", "libc.so.6"),
            ]),
            "fetch (client)"
        );
        assert_eq!(
            named(&[
                ("syscall.Syscall", "client"),
                ("net.(*netFD).connect", "client"),
                ("net.Dial", "client"),
                ("main.fetch", "client"),
                ("main.main", "client"),
                ("runtime.goexit", "client"),
            ]),
            "main.fetch (client)"
        );
        assert_eq!(
            named(&[
                ("__GI___connect", "libc.so.6"),
                ("std::sys::net::connection::socket::Socket::connect", "app"),
                ("std::net::tcp::TcpStream::connect", "app"),
                ("app::fetch", "app"),
                ("core::ops::function::FnOnce::call_once", "app"),
                ("main", "app"),
            ]),
            "app::fetch (app)"
        );
    }

    #[test]
    fn a_library_is_named_where_the_program_is_not_on_the_stack() {
        assert_eq!(
            named(&[
                ("syscall.Syscall", "client"),
                ("net.(*Dialer).DialContext", "client"),
                ("net/http.(*Transport).dialConnFor", "client"),
                ("runtime.goexit", "client"),
            ]),
            "net/http.(*Transport).dialConnFor (client)"
        );
        assert_eq!(
            named(&[("connect", "libc.so.6"), ("", "x")]),
            "connect (libc.so.6)"
        );
        assert_eq!(named(&[("", "x")]), "unknown (x)");
        assert_eq!(named(&[]), "");
    }

    #[test]
    fn what_a_perf_map_names_comes_before_what_runs_it() {
        let native = [
            ("connect", "libc.so.6"),
            (
                "void node::TCPWrap::Connect<sockaddr_in>(v8::Value const&)",
                "node",
            ),
            ("JS:^internalConnect node:net:1038:25", "x"),
            ("JS:^run node:internal/process/task_queues:67:35", "x"),
            ("JS:^fetch /srv/client.js:42:7", "x"),
            ("Builtins_JSEntry", "node"),
            (
                "node::Callback<uv_connect_s, void (*)(uv_connect_s*)>::Wrapper()",
                "node",
            ),
            ("node::Start(int, char**)", "node"),
        ];
        assert_eq!(named(&native), "JS:^fetch /srv/client.js:42:7 (x)");
        let without = [&native[..4], &native[5..]].concat();
        assert_eq!(named(&without), "JS:^internalConnect node:net:1038:25 (x)");
        assert_eq!(
            named(&[
                ("connect", "libc.so.6"),
                ("Java_sun_nio_ch_Net_connect0", "libnio.so"),
                (
                    "void java.net.Socket.connect(java.net.SocketAddress, int)",
                    "x"
                ),
                ("void Client.fetch(int)", "x"),
                ("Interpreter", "x"),
                (
                    "JavaCalls::call_helper(JavaValue*, JavaThread*)",
                    "libjvm.so"
                ),
            ]),
            "void Client.fetch(int) (x)"
        );
    }

    #[test]
    fn an_interpreter_does_not_split_a_call_site() {
        let outer = ("__libc_start_main", "libc.so.6");
        let of = |frames: &[(&str, &str)]| {
            let frames: Vec<_> = frames.iter().map(|&(f, m)| frame(f, m)).collect();
            code(&frames)
        };
        let first = of(&[
            ("connect", "libc.so.6"),
            ("sock_connect", "python3.11"),
            ("PyObject_Vectorcall", "python3.11"),
            ("_PyEval_EvalFrameDefault", "python3.11"),
            outer,
        ]);
        let later = of(&[
            ("connect", "libc.so.6"),
            ("sock_connect", "python3.11"),
            ("_PyEval_EvalFrameDefault", "python3.11"),
            outer,
        ]);
        assert_eq!(first, later);
        // Its extensions are told apart, and so are programs that are none.
        assert_ne!(
            first,
            of(&[("connect", "libc.so.6"), ("PQconnect", "libpq.so.5"), outer])
        );
        for module in ["node_exporter", "pythonic", "phpx"] {
            assert_ne!(of(&[("one", module)]), of(&[("other", module)]), "{module}");
        }
        for module in ["node", "libpython3.11.so.1.0", "php-fpm8.2", "ruby"] {
            assert_eq!(of(&[("one", module)]), of(&[("other", module)]), "{module}");
        }
    }

    #[test]
    fn a_frame_is_one_line() {
        let whole = Frame {
            file: Some(Untrusted::from("client.go")),
            line: Some(42),
            ..frame("main.fetch", "client")
        };
        assert_eq!(whole.to_string(), "main.fetch client.go:42");
        assert_eq!(frame("evil\n", "\x1b[m").to_string(), "evil\\n (\\u{1b}[m)");
        assert_eq!(Frame::default().to_string(), "unknown");
    }
}
