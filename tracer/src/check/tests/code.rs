//! Which code is named, and which patterns match it.

use std::{num::NonZeroU32, sync::Arc};

use proptest::prelude::*;

use super::{at, task};
use crate::{
    check::{
        allow::Allow,
        python::{Recorded, is_of_deaf_pool},
        site::Site,
    },
    model::{frame::Frame, untrusted::Untrusted},
};

fn site(frames: &[(&str, &str, u32)]) -> Site {
    let frame = |&(function, file, line): &(&str, &str, u32)| Frame {
        function: Some(Untrusted::from(function)),
        file: Some(Untrusted::from(file)),
        line: Some(line),
        ..Frame::default()
    };
    Site::native(frames.iter().map(frame).collect())
}

fn named(frame: Option<&Frame>) -> String {
    frame.map_or_else(String::new, ToString::to_string)
}

#[test]
fn the_test_is_what_its_framework_called() {
    let go = site(&[
        ("net.Dial", "dial.go", 1),
        ("suite.fetch", "client.go", 2),
        ("suite.TestFetch", "client_test.go", 3),
        ("testing.tRunner", "testing.go", 4),
        ("runtime.goexit", "asm.s", 5),
    ]);
    assert_eq!(named(go.test_frame()), "suite.TestFetch client_test.go:3");
    assert_eq!(named(go.call_site()), "suite.fetch client.go:2");
    assert_eq!(named(go.place()), "suite.TestFetch client_test.go:3");

    let rust = site(&[
        ("std::net::tcp::TcpStream::connect", "tcp.rs", 1),
        ("suite::tests::leaks", "lib.rs", 12),
        ("suite::tests::leaks::{closure#0}", "lib.rs", 11),
        ("core::ops::function::FnOnce::call_once", "function.rs", 250),
        (
            "<fn() -> () as core::ops::function::FnOnce<()>>::call_once",
            "function.rs",
            250,
        ),
        ("test::run_test", "lib.rs", 607),
    ]);
    assert_eq!(named(rust.test_frame()), "suite::tests::leaks lib.rs:12");

    let service = site(&[("net.Dial", "dial.go", 1), ("main.main", "main.go", 2)]);
    assert_eq!(service.test_frame(), None);
    assert_eq!(named(service.place()), "main.main main.go:2");
    assert_eq!(Site::default().place(), None);
}

const PYTHON: &str = "7 7 5 1000000\tL\x1f840\x1fsocket.create_connection\x1f/usr/lib/python3.11/socket.py\
    \tP\x1f10\x1fclient.fetch\x1f/app/client.py\tP\x1f15\x1ftest_client.T.test_a\x1f/app/test_client.py\
    \tL\x1f57\x1funittest.case.TestCase.run\x1f/usr/lib/python3.11/unittest/case.py\n";

#[test]
fn python_names_its_own_code() {
    let recorded = Recorded::read(PYTHON.as_bytes());
    let site = recorded.find(&task(0), at(2)).expect("a site");
    assert_eq!(named(site.call_site()), "client.fetch client.py:10");
    assert_eq!(
        named(site.test_frame()),
        "test_client.T.test_a test_client.py:15"
    );
    assert_eq!(site.path, Some(Untrusted::from("/app/test_client.py")));
    assert!(!is_of_deaf_pool(&site));
}

#[test]
fn a_connection_is_of_the_latest_call_of_its_thread_by_its_descriptor() {
    let later = PYTHON
        .replace("7 7 5 1000000", "7 7 6 3000000")
        .replace("\x1f15\x1f", "\x1f16\x1f");
    let recorded = Recorded::read((later + PYTHON).as_bytes());
    assert!(recorded.find(&task(0), at(0)).is_none());
    assert!(recorded.find(&task(0), at(2)).is_some());
    // The latest is about another descriptor.
    assert!(recorded.find(&task(0), at(4)).is_none());
    let mut other = task(0);
    other.fd = Some(6);
    assert!(recorded.find(&other, at(4)).is_some());
    other.tid = NonZeroU32::new(8);
    assert!(recorded.find(&other, at(4)).is_none());
}

proptest! {
    #[test]
    fn whatever_is_written_costs_names_only(bytes: Vec<u8>, cut in 0_usize..200) {
        let mut text = PYTHON.as_bytes()[..cut.min(PYTHON.len())].to_vec();
        text.extend(bytes);
        text.extend(format!("\n{PYTHON}").bytes());
        let recorded = Recorded::read(&text);
        prop_assert!(recorded.find(&task(0), at(2)).is_some());
    }
}

#[test]
fn patterns_match_the_whole_of_a_name() {
    let site = site(&[
        ("mine.fetch", "client.go", 2),
        ("suite.TestFetch", "a_test.go", 3),
    ]);
    let matches = |pattern: &str| {
        let allow: Allow = pattern.parse().expect("a pattern");
        allow.matches("missing-close", "app", "[::1]:5432", &site)
    };
    for yes in [
        "mine.fetch",
        "mine.*",
        "client.go:2",
        "client.go",
        "*_test.go",
        "app",
        "a?p",
        "[::1]:5432",
        "[::1]",
        "*:5432",
        "missing-close",
        "suite.Test*",
    ] {
        assert!(matches(yes), "{yes}");
    }
    for no in ["mine", "client.go:3", "ap", "5432", "fetch", "", "?"] {
        assert!(!matches(no), "{no}");
    }
    let none = Arc::new(Site::default());
    let any: Allow = "*".parse().expect("a pattern");
    assert!(any.matches("", "", "", &none));
}
