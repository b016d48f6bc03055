//! What was recorded is what is told.

use super::*;

#[test]
fn a_recording_tells_what_was_learned() -> Result<()> {
    let folder = TempDir::new()?;
    let path = folder.path().join("a");
    let mut live = Live::start(file(&path))?;
    live.live(3, 100)?;
    let (course, told) = live.end(3 * SECOND)?;
    let (replay, heard) = replay(&path)?;
    assert_eq!(heard, told);
    assert_eq!(replay.course.loss(), course.loss());
    assert_eq!(replay.course.loss().events_generated, 3 * (300 + 1));
    assert_eq!(replay.flaws(), [""; 0]);
    assert!(
        replay.course.setup.blind[0].contains("\\u{1b}"),
        "{:?}",
        replay.course.setup.blind
    );
    Ok(())
}

#[test]
fn it_is_told_up_to_an_instant() -> Result<()> {
    let folder = TempDir::new()?;
    let path = folder.path().join("a");
    let mut live = Live::start(file(&path))?;
    live.live(3, 100)?;
    live.end(3 * SECOND)?;
    let at = BootTime::from_ns(SECOND + SECOND / 2);
    let mut replay = Replay::open(&path, false, Selection::default())?.until(at);
    while replay.step(&mut ())? {}
    assert!(replay.has_come_there());
    // Of 150 that were opened every second one is gone.
    assert_eq!(replay.course.table.open().count(), 75);
    Ok(())
}

#[test]
fn rotated_files_are_one_and_each_a_beginning() -> Result<()> {
    let folder = TempDir::new()?;
    let path = folder.path().join("all");
    let place = |rotate| Place {
        path: path.clone(),
        max_size: Some(1),
        rotate: Some(rotate),
    };
    let mut live = Live::start(place(100))?;
    live.live(5, 100)?;
    live.learn(Entry::Owner(10, Default::default()))?;
    let (course, told) = live.end(5 * SECOND)?;
    let mut files: Vec<PathBuf> = fs::read_dir(&path)?
        .map(|e| Ok(e?.path()))
        .collect::<Result<_>>()?;
    files.sort();
    assert!(files.len() >= 5, "{files:?}");
    let (replayed, heard) = replay(&path)?;
    assert_eq!((heard, replayed.course.loss()), (told, course.loss()));
    assert!(Disk::open(place(100)).is_err(), "it would mix two");

    // Without the first two: what it still holds is told, and none of it is missing.
    for gone in &files[..2] {
        fs::remove_file(gone)?;
    }
    let (replayed, _) = replay(&path)?;
    assert_eq!(replayed.flaws(), [""; 0]);
    let loss = replayed.course.loss();
    assert_eq!(loss.events_lost, 0);
    assert!(
        loss.events_generated > 0 && loss.events_generated < 1_500,
        "{loss:?}"
    );

    // Without one in between: that much is missing.
    fs::remove_file(&files[3])?;
    let (replayed, _) = replay(&path)?;
    let loss = replayed.course.loss();
    assert!(loss.unrecorded > 0, "{loss:?}");
    assert_eq!(
        loss.events_generated,
        loss.events_delivered + loss.events_lost
    );
    Ok(())
}

#[test]
fn only_the_newest_files_are_kept() -> Result<()> {
    let folder = TempDir::new()?;
    let mut live = Live::start(Place {
        path: folder.path().to_owned(),
        max_size: Some(1),
        rotate: Some(2),
    })?;
    for second in 0..5 {
        live.second(second * SECOND)?;
    }
    live.end(5 * SECOND)?;
    assert_eq!(fs::read_dir(folder.path())?.count(), 2);
    Ok(())
}

#[test]
fn what_is_still_written_is_read_as_it_comes() -> Result<()> {
    let folder = TempDir::new()?;
    let (path, growing) = (folder.path().join("a"), folder.path().join("b"));
    let mut live = Live::start(file(&path))?;
    live.live(2, 50)?;
    let (_, told) = live.end(2 * SECOND)?;
    let whole = fs::read(&path)?;
    let mut heard = Heard::default();
    fs::write(&growing, &whole[..whole.len() / 2])?;
    let mut replay = Replay::open(&growing, true, Selection::default())?;
    for len in (whole.len() / 2..=whole.len())
        .step_by(100)
        .chain([whole.len()])
    {
        fs::write(&growing, &whole[..len])?;
        while replay.step(&mut heard)? {}
    }
    replay.finish(&mut heard)?;
    assert_eq!((heard, replay.flaws()), (told, Vec::new()));
    Ok(())
}

#[test]
fn what_is_no_recording_is_said_to_be_none() -> Result<()> {
    let folder = TempDir::new()?;
    let path = folder.path().join("a");
    fs::write(&path, b"127.0.0.1 localhost\n")?;
    let said = Recording::open(&path, false).err().map(|e| e.to_string());
    assert!(said.is_some_and(|said| said.contains("is no recording")));
    let mut block = seal(Kind::Start, 0, b"")?;
    block[4] = VERSION + 1;
    let checksum = crc32fast::hash(&block[..HEADER - 4]);
    block[HEADER - 4..HEADER].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&path, block)?;
    let said = Recording::open(&path, false).err().map(|e| e.to_string());
    assert!(said.is_some_and(|said| said.contains("later tcpleak")));
    Ok(())
}

#[test]
fn a_file_that_is_full_says_so_once_it_is_written() -> Result<()> {
    let folder = TempDir::new()?;
    let disk = Disk::open(Place {
        max_size: Some(1),
        ..file(&folder.path().join("a"))
    })?;
    let state = disk.state();
    let course = Course::new(setup(), Selection::default(), Standing::default());
    let mut recorder = Recorder::new(disk, &course, Vec::new());
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !state.is_full() && std::time::Instant::now() < patience {
        recorder.entry(&Entry::Tick(BootTime::from_ns(1)), &course);
    }
    assert!(state.is_full());
    recorder.close()
}

#[test]
fn a_recording_of_which_nothing_came_leaves_no_file() -> Result<()> {
    let folder = TempDir::new()?;
    let path = folder.path().join("a");
    drop(Disk::open(file(&path))?);
    assert!(!path.exists());
    // What was there before is not ours.
    fs::write(&path, "")?;
    drop(Disk::open(file(&path))?);
    assert!(path.exists());
    Ok(())
}

#[test]
fn a_full_disk_costs_what_does_not_fit_and_says_so() -> Result<()> {
    let place = file(Path::new("/dev/full"));
    let mut live = Live::start(place)?;
    live.live(1, 10)?;
    let said = live.end(SECOND).err().map(|error| format!("{error:#}"));
    assert!(said.is_some_and(|said| said.contains("No space left")));
    Ok(())
}

#[test]
fn items_are_what_was_pushed() {
    let mut payload = Vec::new();
    push_record(&mut payload, b"record", StackId::at(5));
    push_entry(&mut payload, &Entry::Tick(BootTime::from_ns(7)));
    push_record(&mut payload, b"", None);
    let mut all = items(&payload);
    let Some(Ok(Item::Record(b"record", stack))) = all.next() else {
        panic!("no record");
    };
    assert_eq!(stack, StackId::at(5));
    assert!(matches!(
        all.next(),
        Some(Ok(Item::Entry(Entry::Tick(at)))) if at == BootTime::from_ns(7)
    ));
    assert!(matches!(all.next(), Some(Ok(Item::Record(b"", None)))));
    assert!(all.next().is_none());
}
