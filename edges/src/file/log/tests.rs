#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::io::Write;

use super::*;
use crate::file::settings::{FileSlot, Server};

fn groups() -> Vec<FileGroup> {
    let slot = |name: &str, address: &str| FileSlot {
        name: name.to_owned(),
        servers: vec![Server::parse(address).unwrap()],
    };
    let slots = vec![slot("blue", "127.0.0.1:1"), slot("green", "127.0.0.1:2")];
    let (name, upstream) = ("shop".to_owned(), "backend".to_owned());
    vec![FileGroup { name, file: "/backend.conf".into(), upstream, slots }]
}

/// A log and its reader.
struct Written {
    folder: tempfile::TempDir,
    log: Log,
}

impl Written {
    fn new(before: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        fs::write(&path, before).unwrap();
        Self { log: Log::new(&path, &groups()), folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let mut file = File::options().create(true).append(true).open(self.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn slots(&self) -> Vec<Slot> {
        let mut slots = vec![Slot::default(), Slot::default()];
        self.log.count("shop", 0, &mut slots);
        slots
    }

    /// The successes of blue.
    fn good(&self) -> u64 {
        self.slots()[0].counters.responses.success
    }
}

const GOOD: &str = "127.0.0.1:1 200 0.012 0.010 0.011 200\n";

#[test]
fn what_was_there_before_is_not_counted() {
    let written = Written::new(GOOD);
    assert_eq!(written.good(), 0);
    written.write("access.log", GOOD);
    assert_eq!((written.good(), written.good()), (1, 1));
}

#[test]
fn half_a_line_waits_for_its_rest() {
    let written = Written::new("");
    written.write("access.log", "127.0.0.1:1 200 0.0");
    assert_eq!(written.good(), 0);
    written.write("access.log", "12 0.010 0.011 200\n127");
    assert_eq!(written.good(), 1);
    written.write("access.log", ".0.0.1:1 200 0.012\n");
    assert_eq!(written.good(), 2);
}

#[test]
fn a_renamed_log_is_read_beside_the_new_one() {
    let written = Written::new("");
    written.write("access.log", GOOD);
    assert_eq!(written.good(), 1);
    fs::rename(written.path("access.log"), written.path("access.log.1")).unwrap();
    // nginx has not opened the new file yet, and there is none.
    written.write("access.log.1", GOOD);
    assert_eq!(written.good(), 2);
    written.write("access.log", GOOD);
    assert_eq!(written.good(), 3);
    written.write("access.log.1", GOOD);
    written.write("access.log", GOOD);
    assert_eq!(written.good(), 5);
}

#[test]
fn a_log_that_is_cut_short_is_read_from_its_beginning() {
    let written = Written::new("");
    written.write("access.log", &GOOD.repeat(3));
    written.write("access.log", "127.0");
    assert_eq!(written.good(), 3);
    File::options().write(true).open(written.path("access.log")).unwrap().set_len(0).unwrap();
    written.write("access.log", GOOD);
    assert_eq!(written.good(), 4);
}

#[test]
fn a_log_that_appears_later_is_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let written = Written { log: Log::new(&path, &groups()), folder };
    assert_eq!(written.good(), 0);
    written.write("access.log", GOOD);
    assert_eq!(written.good(), 1);
}

#[test]
fn each_attempt_counts_for_its_slot() {
    let written = Written::new("");
    written.write(
        "access.log",
        "127.0.0.1:1, 127.0.0.1:2 200 0.012 -, 0.010 0.001, 0.011 502, 200\n\
         127.0.0.1:2 504 5.000 - 5.000 504\n\
         127.0.0.1:2 502 0.001 0.001 0.001 502\n\
         127.0.0.1:2 502 0.001 - 0.001 502\n\
         127.0.0.1:1, 127.0.0.1:2 200 0.002 0.001, 0.001 0.001, 0.001 503, 200\n\
         127.0.0.1:2 499 1.000 - 1.000 -\n\
         127.0.0.1:2 404 0.001 0.001 0.001 404\n\
         127.0.0.1:2 101 60.000 0.001 60.000 101\n\
         backend 502 0.000 - 0.000 502\n\
         10.0.0.9:1 200 0.001 0.001 0.001 200\n\
         - 301 0.000 - - -\n\
         nonsense\n",
    );
    let slots = written.slots();
    let (blue, green) = (&slots[0], &slots[1]);
    assert_eq!((blue.counters.requests, blue.counters.attempts, blue.counters.attempts_failed), (1, 3, 3));
    assert_eq!(blue.failures, Failures { answer: 1, status: 1, no_peer: 1, ..Failures::default() });
    assert_eq!((green.counters.requests, green.counters.attempts, green.counters.attempts_failed), (8, 8, 2));
    assert_eq!(green.failures, Failures { answer: 1, timeout: 1, ..Failures::default() });
    let responses = green.counters.responses;
    assert_eq!((responses.success, responses.server_error, responses.client_error), (2, 3, 1));
    assert_eq!((responses.aborted, responses.informational, responses.total()), (1, 1, 8));
    assert_eq!(
        green.server_errors,
        ServerErrors { bad_gateway: 2, gateway_timeout: 1, ..ServerErrors::default() }
    );
    assert_eq!((green.counters.in_flight, green.first_byte.count), (0, 5));
    assert_eq!(green.whole.count, 7, "an upgraded connection has no latency");
}

#[test]
fn the_format_of_a_log() {
    let written = Written::new(&format!("{GOOD}nonsense\n- 404 0.000 - - -\n"));
    assert_eq!(recognised(&written.path("access.log")), Ok((2, 3)));
    let long = GOOD.repeat(5000);
    written.write("long.log", &long);
    let (good, all) = recognised(&written.path("long.log")).unwrap();
    assert!(good == all && good > 1000, "{good} of {all}");
    assert!(recognised(&written.path("none.log")).unwrap_err().contains("No such file"));
}

/// Requests that end late were never seen waiting, so none may be called unanswered.
#[test]
fn nothing_is_called_unanswered() {
    use cutover_core::verdict::{Baseline, EdgeReading, Limits, Names, Reading, Sample, Verdict, Watch};

    let written = Written::new("");
    let names = Names { new: "blue".to_owned(), old: "green".to_owned() };
    let limits = Limits { min_requests: 10, ..Limits::default() };
    let mut watch = Watch::new(limits, names, Baseline::default());
    for second in 0..120 {
        // Fast answers, tries of two servers, and downloads whose line comes a minute later.
        written.write("access.log", &GOOD.repeat(20));
        written
            .write("access.log", "127.0.0.1:1, 127.0.0.1:1 200 0.002 0.001, 0.001 0.001, 0.001 503, 200\n");
        if second > 60 {
            written.write("access.log", "127.0.0.1:1 200 60.000 0.001 60.000 200\n");
        }
        let sample = Sample::from(&written.slots()[0]);
        let edges = vec![EdgeReading { edge: "nginx".to_owned(), new: Some(sample), old: None }];
        watch.observe(&Reading { at: Duration::from_secs(second), split: false, edges });
        assert_eq!(watch.seen().unanswered, 0, "{second}");
    }
    assert!(!matches!(watch.end(), Verdict::Bad(reason) if reason.to_string().contains("unanswered")));
}
