//! Cut anywhere, each bit flipped: only the damaged block is lost, and that is said.

use super::*;
use crate::store::block::{Found, find, open};

/// A recording of about 1 MB, and where its blocks are.
fn megabyte() -> Result<(Vec<u8>, Vec<Range<usize>>)> {
    let folder = TempDir::new()?;
    let path = folder.path().join("a");
    let mut live = Live::start(file(&path))?;
    live.live(250, 200)?;
    live.end(250 * SECOND)?;
    let bytes = fs::read(&path)?;
    let mut blocks = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        assert_eq!(bytes[at..at + MAGIC.len()], MAGIC);
        let stored = bytes[at + 16..at + 20].try_into().map(u32::from_le_bytes)?;
        let end = at + HEADER + usize::try_from(stored)?;
        blocks.push(at..end);
        at = end;
    }
    assert!(
        bytes.len() > 900_000 && blocks.len() > 200,
        "{} {}",
        bytes.len(),
        blocks.len()
    );
    Ok((bytes, blocks))
}

/// A block's number and payload; none where it is damaged.
type Told = Option<(u64, Vec<u8>)>;

/// The pieces of these bytes.
fn pieces(bytes: &[u8]) -> Result<Vec<Told>> {
    let mut blocks = Blocks::new(bytes, false);
    let mut pieces = Vec::new();
    while let Some(piece) = blocks.next(|_| true)? {
        pieces.push(match piece {
            Piece::Block(_, sequence, payload) => Some((sequence, payload)),
            _ => None,
        });
    }
    Ok(pieces)
}

/// Runs `each` for all of them, on every processor.
fn for_all(
    blocks: &[Range<usize>],
    each: impl Fn(&Range<usize>) -> Result<()> + Sync,
) -> Result<()> {
    let workers = thread::available_parallelism()?.get();
    thread::scope(|scope| {
        let chunks = blocks.chunks(blocks.len().div_ceil(workers));
        let running: Vec<_> = chunks
            .map(|chunk| scope.spawn(|| chunk.iter().try_for_each(&each)))
            .collect();
        running
            .into_iter()
            .try_for_each(|worker| worker.join().expect("no panic"))
    })
}

/// One bit in so many is looked at with the block behind it, too.
const WITH_NEXT: usize = 1_009;

#[test]
fn each_flipped_bit_costs_its_block_and_no_other() -> Result<()> {
    let (bytes, blocks) = megabyte()?;
    let end_of_next = |range: &Range<usize>| {
        let next = blocks.iter().find(|block| block.start == range.end);
        next.map_or(range.end, |next| next.end)
    };
    for_all(&blocks, |range| {
        let len = range.len();
        let mut part = bytes[range.start..end_of_next(range)].to_vec();
        let whole = pieces(&part)?;
        for bit in 0..len * 8 {
            part[bit / 8] ^= 1 << (bit % 8);
            if let Found::Block(0, header) = find(&part[..len]) {
                assert!(
                    open(&header, &part[HEADER..len]).is_err(),
                    "bit {bit} of {range:?}"
                );
            }
            if (range.start * 8 + bit) % WITH_NEXT == 0 {
                let found = pieces(&part)?;
                assert_eq!(found[0], None, "bit {bit} of {range:?}");
                let told = found.iter().flatten();
                assert!(
                    told.eq(whole[1..].iter().flatten()),
                    "bit {bit} of {range:?}"
                );
            }
            part[bit / 8] ^= 1 << (bit % 8);
        }
        Ok(())
    })
}

#[test]
fn cut_at_each_byte_it_tells_all_whole_blocks() -> Result<()> {
    let (bytes, blocks) = megabyte()?;
    for_all(&blocks, |range| {
        for cut in (0..range.len()).rev() {
            let found = pieces(&bytes[range.start..range.start + cut])?;
            assert!(found.iter().all(Option::is_none), "{cut} of {range:?}");
            assert_eq!(found.is_empty(), cut == 0);
        }
        Ok(())
    })
}

/// Whole recordings, with bytes of any value in some places.
#[test]
fn what_is_told_of_a_damaged_one_is_what_was_recorded() -> Result<()> {
    let folder = TempDir::new()?;
    let path = folder.path().join("a");
    let mut live = Live::start(file(&path))?;
    live.live(10, 100)?;
    let (course, told) = live.end(10 * SECOND)?;
    let told: std::collections::HashSet<String> = told.0.into_iter().collect();
    let bytes = fs::read(&path)?;
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..100 {
        let mut damaged = bytes.clone();
        for _ in 0..random.usize(1..4) {
            damaged[random.usize(..bytes.len())] = random.u8(..);
        }
        if random.bool() {
            damaged.truncate(random.usize(..bytes.len()));
        }
        fs::write(&path, &damaged)?;
        let Ok((replay, heard)) = replay(&path) else {
            // Without a start there is none.
            continue;
        };
        let loss = replay.course.loss();
        assert_eq!(
            loss.events_generated,
            loss.events_delivered + loss.events_lost
        );
        assert!(loss.events_generated <= course.loss().events_generated);
        // Openings are told by one record each; of what follows one may be missing.
        for line in heard.0.iter().filter(|line| line.starts_with("Opened")) {
            assert!(told.contains(line), "nobody recorded {line}");
        }
        let is_whole = damaged == bytes;
        assert_eq!(replay.flaws().is_empty(), is_whole);
    }
    Ok(())
}

#[test]
fn a_wrong_checksum_of_ours_would_be_seen() {
    let exit = ExitRecord {
        header: header(kind::EXIT, 0, 1),
    };
    let mut payload = Vec::new();
    push_record(&mut payload, exit.as_bytes(), None);
    let block = seal(Kind::Course, 9, &payload).expect("memory");
    let pieces = pieces(&block).expect("no I/O");
    assert_eq!(pieces, [Some((9, payload))]);
}
