//! Runs nginx under valgrind and reads the reports.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cutover_tests::flavour::root;
use cutover_tests::process::{self, Pid, Signal};
use cutover_tests::{Flavour, Nginx, wait};

/// nginx under valgrind starts slowly.
const PATIENCE: Duration = Duration::from_secs(60);

const MODULE: &str = "ngx_http_cutover_module.so";

/// nginx under valgrind. Drop kills all its processes.
pub(crate) struct ValgrindRun {
    child: Child,
    /// The folder of the reports, one for each process.
    reports: PathBuf,
}

impl ValgrindRun {
    pub(crate) async fn start(nginx: &Nginx, program: &Path) -> Self {
        let reports = nginx.prefix().join("valgrind");
        fs::create_dir(&reports).unwrap();
        let output = fs::File::create(nginx.prefix().join("valgrind.log")).unwrap();
        let child = Command::new("valgrind")
            .args(["--quiet", "--leak-check=full", "--show-leak-kinds=definite", "--num-callers=40"])
            .args([
                "--fair-sched=yes",
                "--vgdb=no",
                "--xml=yes",
                &format!("--xml-file={}/%p.xml", reports.display()),
            ])
            .arg(format!(
                "--suppressions={}",
                root().join("tests/tests/module/memcheck/nginx.supp").display()
            ))
            .arg(program)
            .args(nginx.options())
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let mut run = Self { child, reports };
        run.answers(nginx).await;
        run
    }

    async fn answers(&mut self, nginx: &Nginx) {
        let answers = async || {
            assert_eq!(self.child.try_wait().unwrap(), None, "{}", nginx.log_tail());
            nginx.admin().groups().await.is_ok()
        };
        wait::until_async(PATIENCE, "nginx under valgrind to answer", answers).await.unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap()).unwrap()
    }

    /// Reloads the configuration and waits until the old worker has ended.
    pub(crate) async fn reload(&mut self, nginx: &Nginx) {
        let reloads = || nginx.error_log().matches("reconfiguring").count();
        let before = reloads();
        process::signal(self.pid(), Signal::HUP).unwrap();
        wait::until_within(PATIENCE, "the reload", || reloads() > before).await.unwrap();
        let old_workers_ended = || nginx.error_log().matches("exited with code").count() as u32;
        let ended = old_workers_ended();
        wait::until_within(PATIENCE, "the old worker to end", || old_workers_ended() > ended).await.unwrap();
        self.answers(nginx).await;
    }

    /// Ends nginx gracefully. Panics when valgrind has found an error of the module.
    pub(crate) async fn end(mut self, nginx: &Nginx) {
        process::signal(self.pid(), Signal::QUIT).unwrap();
        let mut ended = || self.child.try_wait().unwrap();
        let status = wait::until_some(PATIENCE, "the end under valgrind", &mut ended).await.unwrap();
        assert!(status.success(), "{status}: {}", nginx.log_tail());
        let reports: Vec<String> = fs::read_dir(&self.reports)
            .unwrap()
            .map(|entry| fs::read(entry.unwrap().path()).unwrap())
            .map(|report| String::from_utf8_lossy(&report).into_owned())
            .collect();
        let whole = |report: &String| report.trim_end().ends_with("</valgrindoutput>");
        assert!(reports.iter().all(whole), "a report is incomplete");
        let errors = reports.iter().flat_map(|report| report.split("<error>").skip(1));
        let errors: Vec<String> =
            errors.filter_map(|rest| rest.split("</error>").next()).map(brief).collect();
        let ours: Vec<&String> = errors.iter().filter(|error| error.contains(MODULE)).collect();
        println!(
            "{} processes on {}: {} errors, {} with the module",
            reports.len(),
            nginx.flavour(),
            errors.len(),
            ours.len()
        );
        assert!(ours.is_empty(), "{ours:#?}");
        // A leak of nginx itself is no failure. Other errors without the module in the stack may still be caused by it.
        let wrong: Vec<&String> = errors.iter().filter(|error| !error.starts_with("Leak_")).collect();
        assert!(wrong.is_empty(), "without the module in the stack: {wrong:#?}");
    }
}

/// The kind of an error and its frames: file and function, or only the file when it is stripped.
fn brief(error: &str) -> String {
    let text = |part: &str, tag: &str| {
        let after = part.split(&format!("<{tag}>")).nth(1)?;
        after.split(&format!("</{tag}>")).next().map(str::to_owned)
    };
    let kind = text(error, "kind").unwrap_or_default();
    let frames = error.split("<frame>").skip(1);
    let places = frames.map(|frame| {
        let file = text(frame, "obj").unwrap_or_default();
        let file = file.rsplit('/').next().unwrap_or_default().to_owned();
        text(frame, "fn").map_or(file.clone(), |function| format!("{file}:{function}"))
    });
    format!("{kind}: {}", places.collect::<Vec<_>>().join(" < "))
}

impl Drop for ValgrindRun {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Their command lines are valgrind's, which name the folder of the reports.
        process::kill_now(&process::mentioning(&["valgrind.bin", "memcheck-amd64-"], &self.reports));
    }
}

/// Builds the nginx of this flavour without pools, from the sources of `scripts/build-module`; `None` when the flavour has no
/// sources.
pub(crate) fn without_pools(flavour: Flavour) -> Option<PathBuf> {
    let sources = flavour.folder().join("src");
    if !sources.exists() {
        return None;
    }
    let folder = flavour.folder().join("without-pools");
    let nginx = folder.join("objs/nginx");
    if nginx.exists() {
        return Some(nginx);
    }
    run(Command::new("cp").arg("-r").arg(&sources).arg(&folder));
    let version = Command::new(sources.join("objs/nginx")).arg("-V").output().unwrap();
    let text = String::from_utf8(version.stderr).unwrap();
    let arguments = text.split("configure arguments: ").nth(1).unwrap().split_whitespace();
    let configure = format!(
        "make clean; ./auto/configure {} --with-cc-opt=-DNGX_DEBUG_PALLOC=1",
        arguments.collect::<Vec<_>>().join(" ")
    );
    run(Command::new("sh")
        .current_dir(&folder)
        .arg("-c")
        .arg(format!("({configure} && make -j2) >build.log 2>&1")));
    Some(nginx)
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}
