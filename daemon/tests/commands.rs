//! Commands as the daemon runs them, with the real program as gate and relay.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cutover::command::{CUT_OFF, MOST_OUTPUT, Runner};
use cutover::journal::SqliteJournal;
use cutover::live::Live;
use cutover_core::deployment::Time;
use cutover_edges::host::HostEdge;
use cutover_edges::module::{AdminAddress, Module};
use cutover_engine::commands::{Commands, Failed, Job};
use cutover_engine::scripted::deployment;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_cutover");

/// A folder and a runner.
struct Bench {
    folder: TempDir,
    commands: Runner,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let commands = Runner::through(folder.path().to_owned(), PROGRAM.into());
        Self { folder, commands }
    }

    async fn run(&self, script: &str, timeout: &str) -> Result<(), Failed> {
        self.commands.start(&job(script, timeout))?.finish().await.map(drop)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> PathBuf {
        self.path("shop-1/provision.log")
    }

    /// The output of the last run.
    fn output(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap();
        let begin = log.rfind("$ /bin/sh").unwrap();
        log[begin..].split_once('\n').unwrap().1.to_owned()
    }

    /// The relays of the log.
    fn relays(&self) -> Vec<String> {
        let log = self.log().display().to_string();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let lines = processes.flat_map(|process| fs::read_to_string(process.path().join("cmdline")));
        lines.filter(|line| line.contains("__copy") && line.contains(&log)).collect()
    }
}

fn job(script: &str, timeout: &str) -> Job {
    let command = serde_json::json!({"command": ["/bin/sh", "-c", script], "timeout": timeout});
    Job {
        name: "provision".to_owned(),
        deployment: "shop-1".to_owned(),
        command: serde_json::from_value(command).unwrap(),
        environment: [("CUTOVER_SLOT".to_owned(), "green".to_owned())].into(),
    }
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(15), "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

#[tokio::test]
async fn the_environment_is_clean() {
    let bench = Bench::new();
    bench.run("env | cut -d= -f1 | sort | tr '\\n' ' '", "5s").await.unwrap();
    assert_eq!(bench.output().trim(), "CUTOVER_SLOT PATH PWD", "PWD is sh's own");
}

#[tokio::test]
async fn a_failure_shows_its_last_line_and_keeps_the_rest() {
    let bench = Bench::new();
    let failed = bench.run("echo one; echo two >&2; exit 3", "5s").await.unwrap_err();
    assert!(failed.reason.starts_with("provision ended with exit status: 3: two (output in"), "{failed:?}");
    assert_eq!((failed.tail.as_str(), failed.code), ("one\ntwo", Some(3)));
    let again = bench.run("echo three; exit 1", "5s").await.unwrap_err();
    assert_eq!(again.tail, "three", "only of this run");
    assert_eq!(fs::read_to_string(bench.log()).unwrap().matches("one\ntwo\n$ ").count(), 1, "both are kept");
}

#[tokio::test]
async fn at_the_limit_the_whole_group_is_ended_and_what_it_wrote_is_kept() {
    let bench = Bench::new();
    let mark = bench.path("mark");
    let write = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done";
    let script = format!("(sleep 1; touch {}) & trap '' TERM; {write}; sleep 60; sleep 60", mark.display());
    let begin = Instant::now();
    let failed = bench.run(&script, "700ms").await.unwrap_err();
    assert!(failed.reason.contains("did not end within 700ms and was killed: line 2999"), "{failed:?}");
    assert!(begin.elapsed() < Duration::from_secs(30));
    assert_eq!(bench.output().lines().count(), 3000);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(!mark.exists(), "a child in the background has lived on");
    until("the end of the relay", || bench.relays().is_empty()).await;
}

#[tokio::test]
async fn a_command_that_fails_is_ended_with_its_children_and_one_that_succeeds_leaves_them() {
    let bench = Bench::new();
    for (code, lives) in [(0, true), (1, false)] {
        let mark = bench.path(&format!("mark-{code}"));
        let script = format!("(sleep 1; touch {}) & exit {code}", mark.display());
        let done = bench.run(&script, "5s").await;
        assert_eq!(done.is_ok(), code == 0);
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(mark.exists(), lives, "exit code {code}");
    }
}

#[tokio::test]
async fn a_child_has_its_time_after_sigterm_although_its_parent_is_gone() {
    let bench = Bench::new();
    let mark = bench.path("mark");
    let child = format!("trap 'sleep 1; touch {}; exit' TERM; while :; do sleep 0.1; done", mark.display());
    let failed = bench.run(&format!("sh -c '{}' & wait", child.replace('\'', "'\\''")), "500ms").await;
    assert!(failed.is_err());
    assert!(mark.exists());
}

#[tokio::test]
async fn it_does_not_run_before_it_is_let() {
    let bench = Bench::new();
    let mark = bench.path("mark");
    let job = job(&format!("touch {}", mark.display()), "5s");
    let started = bench.commands.start(&job).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let leader = started.leader.clone();
    assert!(leader.is_alive() && !mark.exists());
    drop(started);
    until("the end of the gate", || !leader.is_alive()).await;
    assert!(!mark.exists(), "nobody is left to let it run");
    until("the end of the relay", || bench.relays().is_empty()).await;
    let started = bench.commands.start(&job).unwrap();
    let leader = started.leader.clone();
    started.finish().await.unwrap();
    assert!(!leader.is_alive() && mark.exists());
}

#[tokio::test]
async fn a_program_that_is_not_there() {
    let bench = Bench::new();
    let mut job = job("", "5s");
    job.command.command = serde_json::from_value(serde_json::json!(["/no/such/program"])).unwrap();
    let failed = bench.commands.start(&job).unwrap_err();
    assert!(failed.reason.contains("failed to start provision \"/no/such/program\""), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn output_is_bounded_at_every_instant() {
    let bench = Bench::new();
    let log = bench.log();
    let running = tokio::spawn(bench.commands.start(&job("exec timeout 1 yes", "20s")).unwrap().finish());
    let header = "$ /bin/sh -c 'exec timeout 1 yes'\n".len();
    let most = u64::try_from(header + MOST_OUTPUT + CUT_OFF.len()).unwrap();
    let mut longest = 0;
    while !running.is_finished() {
        longest = longest.max(length(&log));
        assert!(longest <= most, "{longest} of at most {most}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(running.await.unwrap().is_err(), "timeout(1) says 124");
    assert_eq!((longest, length(&log)), (most, most));
    assert!(bench.output().ends_with(CUT_OFF));
}

#[tokio::test]
async fn the_end_is_shown_although_the_file_was_cut_off() {
    let bench = Bench::new();
    let failed = bench.run("yes | head -c 3000000; echo the very end; exit 1", "20s").await.unwrap_err();
    assert!(failed.reason.contains("exit status: 1: the very end (output in"), "{failed:?}");
    assert!(failed.tail.ends_with("y\nthe very end"), "{failed:?}");
    let exact = format!("head -c {MOST_OUTPUT} /dev/zero | tr '\\0' x; exit 1");
    bench.run(&exact, "20s").await.unwrap_err();
    assert_eq!(bench.output(), "x".repeat(MOST_OUTPUT), "all of it fits");
}

#[tokio::test]
async fn all_that_was_written_before_the_end_is_there_after_it() {
    let bench = Bench::new();
    for round in 0..50 {
        // A pipe holds 64 KiB.
        let script = format!("head -c 60000 /dev/zero | tr '\\0' x; echo; echo round {round}; exit 1");
        let failed = bench.run(&script, "5s").await.unwrap_err();
        assert!(failed.tail.ends_with(&format!("x\nround {round}")), "{round}");
        assert!(bench.output().ends_with(&format!("x\nround {round}\n")), "{round}");
    }
}

#[tokio::test]
async fn what_is_left_in_the_background_holds_nobody_up_and_goes_on_writing() {
    let bench = Bench::new();
    let begin = Instant::now();
    let stop = bench.path("stop");
    let script = format!(
        "echo begun; (while [ ! -e {} ]; do echo tick; sleep 0.05; done; echo over) & exit 0",
        stop.display()
    );
    bench.run(&script, "20s").await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(5));
    let before = length(&bench.log());
    until("a tick", || length(&bench.log()) > before + 10).await;
    assert_eq!(bench.relays().len(), 1);
    fs::write(stop, "").unwrap();
    until("the end of the relay", || bench.relays().is_empty()).await;
    assert!(bench.output().ends_with("tick\nover\n"), "{}", bench.output());
}

#[tokio::test]
async fn a_writer_in_the_background_that_never_stops_does_not_hold_the_tail_up() {
    let bench = Bench::new();
    let begin = Instant::now();
    bench.run("setsid timeout 3 yes & sleep 0.2; exit 0", "20s").await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    until("the end of the relay", || bench.relays().is_empty()).await;
}

#[tokio::test]
async fn a_command_whose_output_cannot_be_kept_runs_all_the_same() {
    let bench = Bench::new();
    fs::create_dir_all(bench.log()).unwrap();
    let mark = bench.path("mark");
    let failed = bench.run(&format!("touch {}; echo why; exit 1", mark.display()), "5s").await.unwrap_err();
    assert!(mark.exists());
    assert!(failed.reason.contains("exit status: 1: why (its output is not kept: "), "{failed:?}");
}

#[tokio::test]
async fn a_command_that_nobody_waits_for_is_ended_with_its_children() {
    let bench = Bench::new();
    let journal = SqliteJournal::open(bench.folder.path()).unwrap();
    let deployment = deployment();
    let state = deployment.plan.begin(Time(0));
    journal.begin(deployment, &state, "").await.unwrap();
    let nginx = Module::new("nginx", &AdminAddress::Unix("/no/nginx".into()), None);
    let nginx = HostEdge::Module(nginx);
    let live = Live::new([nginx].into_iter(), journal.clone().into(), bench.commands.clone());
    let mark = bench.path("mark");
    let job = job(&format!("(sleep 1; touch {}) & wait", mark.display()), "20s");

    let given_up = tokio::time::timeout(Duration::from_millis(300), live.run(&job)).await;
    assert!(given_up.is_err());
    let leaders = journal.commands("shop-1").await.unwrap();
    assert_eq!(leaders.len(), 1);
    assert!(leaders[0].leader.is_alive());
    live.end("shop-1").await.unwrap();
    assert!(!leaders[0].leader.is_alive());
    assert!(journal.commands("shop-1").await.unwrap().is_empty());
    until("the end of the relay", || bench.relays().is_empty()).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert!(!mark.exists(), "a child in the background has lived on");
}

/// `/dev/full` refuses each byte, as a full disk does.
#[test]
fn a_full_disk_makes_no_command_wait() {
    let (mut mine, its) = UnixStream::pair().unwrap();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut relay = Command::new(PROGRAM)
        .args(["__copy", "--", "a test"])
        .stdin(Stdio::piped())
        .stdout(OwnedFd::from(its))
        .stderr(full)
        .spawn()
        .unwrap();
    let mut pipe = relay.stdin.take().unwrap();
    pipe.write_all(&vec![b'x'; 10_000_000]).unwrap();
    pipe.write_all(b"\nthe end\n").unwrap();
    mine.write_all(b"\n").unwrap();
    let mut tail = String::new();
    mine.read_to_string(&mut tail).unwrap();
    assert!(tail.len() == 4096 && tail.ends_with("x\nthe end\n"), "{}", tail.len());
    pipe.write_all(&vec![b'x'; 10_000_000]).unwrap();
    drop(pipe);
    assert!(relay.wait().unwrap().success());
}
