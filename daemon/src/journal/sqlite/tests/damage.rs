//! Journals that are damaged, truncated, incomplete or just being created.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// A journal with one deployment, closed, in one file.
async fn closed(folder: &Path) -> PathBuf {
    let journal = SqliteJournal::open(folder).unwrap();
    for number in 0..30 {
        let id = format!("shop-{number}");
        tell(&journal, deployment(&id, "blue", "green", "2"), completed()).await;
    }
    drop(journal);
    let path = folder.join("journal.sqlite");
    assert!(!folder.join("journal.sqlite-wal").exists(), "closed");
    path
}

fn refusal(folder: &Path) -> String {
    SqliteJournal::open(folder).expect_err("it is no journal").to_string()
}

#[tokio::test]
async fn an_empty_file_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = closed(folder.path()).await;
    fs::write(&path, "").unwrap();
    let said = refusal(folder.path());
    assert!(said.contains("is damaged: it is empty") && said.contains("move it away"), "{said}");
    assert_eq!(fs::metadata(&path).unwrap().len(), 0, "and it is left as it was found");
}

#[tokio::test]
async fn a_file_that_was_cut_off_is_damage_wherever_it_was_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = closed(folder.path()).await;
    let whole = fs::read(&path).unwrap();
    let pages =
        (0..whole.len()).step_by(1024).chain([1, 15, 16, 50, 99, 100, 101, 511, 512, 4095, 4096, 4097]);
    for length in pages.chain([whole.len() - 1]) {
        fs::write(&path, &whole[..length]).unwrap();
        let said = refusal(folder.path());
        assert!(said.contains("is damaged: ") && said.contains("move it away"), "{length}: {said}");
        assert_eq!(fs::read(&path).unwrap(), whole[..length], "{length}: it is left as it was found");
    }
    fs::write(&path, vec![0; whole.len()]).unwrap();
    let said = refusal(folder.path());
    assert!(said.contains("is damaged: ") && said.contains("move it away"), "zeroes: {said}");
    fs::write(&path, &whole).unwrap();
    assert_eq!(SqliteJournal::open(folder.path()).unwrap().history(None, 100).await.unwrap().len(), 30);
}

#[tokio::test]
async fn what_is_left_of_a_journal_that_is_gone_is_not_taken_for_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let journal = SqliteJournal::open(folder.path()).unwrap();
    tell(&journal, deployment("shop-1", "blue", "green", "2"), []).await;
    // As after SIGKILL, with the main file lost.
    let elsewhere = tempfile::tempdir().unwrap();
    fs::copy(folder.path().join("journal.sqlite-wal"), elsewhere.path().join("journal.sqlite-wal")).unwrap();
    let said = refusal(elsewhere.path());
    assert!(said.contains("is missing, but \"") && said.contains("journal.sqlite-wal\" exists"), "{said}");
    assert!(said.contains("restore the journal") && said.contains("move"), "{said}");
    assert!(elsewhere.path().join("journal.sqlite-wal").metadata().unwrap().len() > 0, "nothing is lost");
    fs::copy(&path, elsewhere.path().join("journal.sqlite")).unwrap();
    let back = SqliteJournal::open(elsewhere.path()).unwrap();
    assert_eq!(back.open_deployments().await.unwrap().len(), 1, "put back, it is whole");
    // Empty files of SQLite are ignored.
    let third = tempfile::tempdir().unwrap();
    fs::write(third.path().join("journal.sqlite-wal"), "").unwrap();
    fs::write(third.path().join("journal.sqlite-shm"), "x").unwrap();
    assert!(SqliteJournal::open(third.path()).unwrap().open_deployments().await.unwrap().is_empty());
}

/// A power loss can remove only the part of the log that was not flushed. No effect had begun after it.
#[tokio::test]
async fn a_log_that_was_cut_off_leaves_an_earlier_journal() {
    let folder = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(folder.path()).unwrap();
    for number in 0..5 {
        let id = format!("shop-{number}");
        tell(&journal, deployment(&id, "blue", "green", "2"), completed()).await;
    }
    let main = fs::read(folder.path().join("journal.sqlite")).unwrap();
    let log = fs::read(folder.path().join("journal.sqlite-wal")).unwrap();
    let mut seen = 0;
    for length in (0..log.len()).step_by(997).chain([log.len()]) {
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("journal.sqlite"), &main).unwrap();
        fs::write(elsewhere.path().join("journal.sqlite-wal"), &log[..length]).unwrap();
        let cut = SqliteJournal::open(elsewhere.path()).unwrap();
        let number = cut.history(None, 100).await.unwrap().len();
        assert!(number >= seen, "{length}: {number} after {seen}");
        seen = number;
    }
    assert_eq!(seen, 5);
}

#[tokio::test]
async fn the_daemon_itself_never_leaves_half_a_journal() {
    let folder = tempfile::tempdir().unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let place = folder.path().to_owned();
    let watch = std::thread::spawn({
        let over = Arc::clone(&over);
        move || {
            let mut looks = 0;
            while !over.load(Ordering::Relaxed) {
                let Ok(bytes) = fs::read(place.join("journal.sqlite")) else { continue };
                looks += 1;
                assert!(bytes.len() >= 4096 && bytes.starts_with(b"SQLite format 3\0"), "{}", bytes.len());
                assert_eq!(bytes[68..72], 0x4375_7476_u32.to_be_bytes(), "it says whose it is");
            }
            looks
        }
    });
    for _ in 0..50 {
        drop(SqliteJournal::open(folder.path()).unwrap());
        fs::remove_file(folder.path().join("journal.sqlite")).unwrap();
    }
    over.store(true, Ordering::Relaxed);
    assert!(watch.join().unwrap() > 0, "it was seen");
}

#[tokio::test]
async fn what_a_killed_daemon_left_of_a_draft_is_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["journal.sqlite.new", "journal.sqlite.new-journal", "journal.sqlite.new-wal"] {
        fs::write(folder.path().join(name), "half of something").unwrap();
    }
    let journal = SqliteJournal::open(folder.path()).unwrap();
    tell(&journal, deployment("shop-1", "blue", "green", "2"), []).await;
    let mut names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["journal.sqlite", "journal.sqlite-shm", "journal.sqlite-wal", "reserve"]);
    assert_eq!(fs::metadata(folder.path().join("journal.sqlite")).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn a_folder_that_cannot_be_written() {
    // Not even root can create files there.
    let said = refusal(Path::new("/proc/self/fdinfo"));
    assert!(said.contains("/proc/self/fdinfo/journal.sqlite cannot be created: "), "{said}");
    assert!(said.contains("daemon.state must be a folder that the daemon's user can write"), "{said}");
}
