//! Any bytes as what the helper that reads symbols says, as what it is asked, and as the
//! perf map that it reads.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tracer::symbols::{
    helper::perf_map,
    protocol::{Answer, MAX_ADDRESSES, MAX_CALLERS, MAX_MESSAGE, Question, Walked},
};

fuzz_target!(|bytes: &[u8]| {
    // By the first byte: how many addresses were asked for.
    let asked = bytes
        .first()
        .map_or(0, |&byte| usize::from(byte) % MAX_ADDRESSES);
    let rest = bytes.get(1..).unwrap_or_default();
    if let Ok(answer) = Answer::decode(rest, asked) {
        assert_eq!(answer.names.len(), asked);
        let again = answer.encode();
        assert!(again.len() <= MAX_MESSAGE);
        assert!(Answer::decode(&again, asked).is_ok());
    }
    if let Ok(walked) = Walked::decode(rest) {
        assert!(walked.callers.len() <= MAX_CALLERS);
    }
    let _ = Question::decode(rest);
    let addresses = [0, 0x1000, u64::MAX];
    assert_eq!(perf_map::names(rest, &addresses).len(), addresses.len());
});
