//! The module replies to a change when it is on disk, and no worker blocks until then (promise 3).

use std::fs::{self, File};
use std::process::{Child, Command};

use cutover_tests::nginx::Nginx;
use cutover_tests::process::{self, Pid};
use cutover_tests::wait;

const HTTP: &str = "
    cutover_state %%prefix%%/state;
    upstream b { server 127.0.0.1:1; }
    upstream g { server 127.0.0.1:2; }
    cutover shop { slot blue b; slot green g; active blue; }
    server { listen %%admin%%; location / { cutover_api write=on; } }
";

/// The kernel accepts the flush and never finishes it.
const NEVER_DONE: &[&str] = &["inject=io_submit:retval=1"];

/// The kernel has no AIO context left: `fs.aio-max-nr` is used up.
const NO_QUEUE: &[&str] = &["inject=io_setup:error=EAGAIN"];

/// The same, and a flush takes four seconds.
const NO_QUEUE_AND_SLOW: &[&str] = &["inject=io_setup:error=EAGAIN", "inject=fdatasync:delay_enter=4000000"];

async fn started() -> Nginx {
    Nginx::builder().main("worker_shutdown_timeout 1s;").http(HTTP).start().await.unwrap()
}

/// Attaches strace to all current workers, with these faults, until the workers end.
async fn inject(nginx: &Nginx, how: &[&str]) -> Vec<Child> {
    let attach = |pid: Pid| {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-e", "trace=io_setup,io_submit,fdatasync", "-p", &pid.to_string()]);
        strace.args(how.iter().flat_map(|how| ["-e", *how]));
        strace.stderr(File::create(nginx.prefix().join(format!("strace.{pid}"))).unwrap()).spawn().unwrap()
    };
    let children = nginx.workers().into_iter().map(attach).collect();
    let traced = |pid: &Pid| status(*pid, "TracerPid:").is_some_and(|tracer| tracer != "0");
    wait::until("strace at each worker", || nginx.workers().iter().all(traced)).await.unwrap();
    children
}

/// A line of `/proc/PID/status`.
fn status(pid: Pid, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(status.lines().find_map(|line| line.strip_prefix(name))?.trim().to_owned())
}

/// A reload ends a call that waits for its flush: the call fails, the traffic has moved, and the worker exits normally.
async fn flush_outlives_its_call(how: &[&str]) {
    let nginx = started().await;
    let stracers = inject(&nginx, how).await;
    let (old, admin) = (nginx.workers(), nginx.admin());
    let call = tokio::spawn(async move { admin.switch("shop", "green").await });
    wait::until("the switch in the log", || nginx.error_log().contains("switched from")).await.unwrap();
    nginx.reload().await.unwrap();
    assert!(call.await.unwrap().is_err(), "nginx has closed the connection");
    process::gone(&old, wait::PATIENCE).await.unwrap();
    for mut child in stracers {
        child.wait().unwrap();
    }
    let route = nginx.admin().group("shop").await.unwrap().route;
    assert_eq!((route.active.as_str(), route.generation), ("green", 1), "the traffic has moved");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_that_never_ends_may_outlive_its_request() {
    flush_outlives_its_call(NEVER_DONE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_on_a_thread_may_outlive_its_request() {
    flush_outlives_its_call(NO_QUEUE_AND_SLOW).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_work_without_an_aio_context() {
    let nginx = started().await;
    let stracers = inject(&nginx, NO_QUEUE).await;
    for slot in ["green", "blue", "green"] {
        nginx.admin().switch("shop", slot).await.unwrap();
    }
    let pids = nginx.workers();
    nginx.stop().await.unwrap();
    for mut child in stracers {
        child.wait().unwrap();
    }
    let calls: String = pids
        .iter()
        .map(|pid| fs::read_to_string(nginx.prefix().join(format!("strace.{pid}"))).unwrap())
        .collect();
    assert!(calls.contains("fdatasync(") && !calls.contains("io_submit("), "{calls}");
}

/// A process that has ever had a second thread is slower for every later request.
#[tokio::test]
async fn a_change_makes_no_thread() {
    let nginx = started().await;
    // Enough calls that each worker serves some. The threads are counted while a flush may be in progress.
    for round in 0..100 {
        let admin = nginx.admin();
        let slot = if round % 2 == 0 { "green" } else { "blue" };
        let mut call = std::pin::pin!(admin.switch("shop", slot));
        loop {
            let alone = nginx.workers().iter().all(|pid| status(*pid, "Threads:").as_deref() == Some("1"));
            assert!(alone, "round {round}");
            let soon = tokio::time::timeout(std::time::Duration::from_micros(50), &mut call);
            if let Ok(switched) = soon.await {
                switched.unwrap();
                break;
            }
        }
    }
}
