//! A connection to the daemon of another machine: the program `ssh` runs `cutover dial-stdio` there.
//!
//! ssh is the user's own, so configuration, agent, jump hosts and known hosts work as in a shell. The connection is there when the
//! greeting of `dial-stdio` has arrived. Before that, nothing has been sent to the daemon.

use std::collections::VecDeque;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cutover_core::shell::quoted;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::greeting::GREETING;
use super::host::SshHost;

mod failure;
mod stream;

pub use failure::SshError;
pub(super) use stream::Stream;

/// The variable with the command that is run instead of `ssh`.
const COMMAND: &str = "CUTOVER_SSH";

/// Options of ssh. Those of CUTOVER_SSH come before them, and ssh uses the first value of each.
const OPTIONS: &[&str] = &[
    "-T",
    // Nobody is asked for a password: the command line runs in scripts.
    "BatchMode=yes",
    "ConnectTimeout=10",
    // A connection that is dead is noticed within 20 s.
    "ServerAliveInterval=5",
    "ServerAliveCountMax=3",
    // Settings for a login at the host would fail or disturb here.
    "ClearAllForwardings=yes",
    "RemoteCommand=none",
];

/// How long ssh may take until the greeting arrives.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long ssh may take to end after it has closed its output.
const GRACE: Duration = Duration::from_secs(1);
/// Maximum number of bytes that a shell may print before the greeting.
const MOST_BEFORE: u64 = 64 * 1024;
/// Number of lines of ssh's errors that are kept.
const LINES: usize = 8;

/// Connects with the daemon of a host. If this fails, nothing has been sent to the daemon.
pub(super) async fn connect(host: &SshHost) -> Result<(Stream, Said), SshError> {
    match std::env::var(COMMAND).ok().filter(|value| !value.trim().is_empty()) {
        Some(value) => connect_by(&shlex::split(&value).ok_or(SshError::Variable(value))?, host).await,
        None => connect_by(&["ssh".to_owned()], host).await,
    }
}

/// Connects by a command that takes the arguments of ssh.
async fn connect_by(words: &[String], host: &SshHost) -> Result<(Stream, Said), SshError> {
    let mut process = Process::start(words, host)?;
    match timeout(PATIENCE, process.greeting()).await {
        Ok(Ok(())) => Ok((Stream::new(process.child, process.output, process.input), process.said)),
        Ok(Err(printed)) => Err(process.failure(host, printed).await),
        Err(_) => Err(SshError::Silent { patience: PATIENCE, said: process.said.now() }),
    }
}

/// The arguments of ssh.
fn arguments(host: &SshHost) -> Vec<String> {
    let mut arguments = Vec::new();
    for option in OPTIONS {
        if !option.starts_with('-') {
            arguments.push("-o".to_owned());
        }
        arguments.push((*option).to_owned());
    }
    if let Some(user) = &host.user {
        arguments.extend(["-l".to_owned(), user.clone()]);
    }
    if let Some(port) = host.port {
        arguments.extend(["-p".to_owned(), port.to_string()]);
    }
    let command = match &host.socket {
        Some(socket) => format!("cutover --socket {} dial-stdio", quoted(socket)),
        None => "cutover dial-stdio".to_owned(),
    };
    arguments.extend(["--".to_owned(), host.host.clone(), command]);
    arguments
}

/// A running ssh whose greeting has not been read.
struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    said: Said,
}

impl Process {
    fn start(words: &[String], host: &SshHost) -> Result<Self, SshError> {
        let (program, first) = words.split_first().ok_or_else(|| SshError::Variable(String::new()))?;
        let failed = |source: io::Error| SshError::Start { program: program.clone(), source };
        let mut child = Command::new(program)
            .args(first)
            .args(arguments(host))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C is for this program, which then ends ssh.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
            (Some(input), Some(output), Some(errors)) => {
                Ok(Self { child, input, output: BufReader::new(output), said: Said::read(errors) })
            }
            _ => Err(failed(io::Error::other("it has no pipes"))),
        }
    }

    /// Reads lines up to the greeting. Fails with the first line if it never comes. A shell may print something before it.
    async fn greeting(&mut self) -> Result<(), Option<String>> {
        let mut before = (&mut self.output).take(MOST_BEFORE);
        let mut first = None;
        loop {
            let mut line = Vec::new();
            match before.read_until(b'\n', &mut line).await {
                Ok(0) | Err(_) => return Err(first),
                Ok(_) => {}
            }
            let line = String::from_utf8_lossy(&line);
            if line.trim_end() == GREETING {
                // What was said before, such as a banner, says nothing about a connection that breaks later.
                self.said.lines.lock().clear();
                return Ok(());
            }
            first = first.or_else(|| Some(line.trim_end().to_owned()).filter(|line| !line.is_empty()));
        }
    }

    /// Says why there was no greeting, from the exit code and what ssh has said.
    async fn failure(mut self, host: &SshHost, printed: Option<String>) -> SshError {
        let status: Option<ExitStatus> = timeout(GRACE, self.child.wait()).await.ok().and_then(Result::ok);
        let said = self.said.whole().await;
        SshError::of_exit(host, status.and_then(|status| status.code()), said, printed)
    }
}

/// What ssh writes to standard error.
#[derive(Debug)]
pub(super) struct Said {
    lines: Arc<Mutex<VecDeque<String>>>,
    reader: JoinHandle<()>,
}

impl Said {
    fn read(errors: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&lines);
        let reader = tokio::spawn(async move {
            let mut errors = BufReader::new(errors);
            loop {
                let mut line = Vec::new();
                match (&mut errors).take(MOST_BEFORE).read_until(b'\n', &mut line).await {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                }
                let line = String::from_utf8_lossy(&line);
                let line = line.trim().trim_start_matches("ssh: ").trim_end_matches('.').to_owned();
                // Frames of warnings say nothing.
                if line.contains(char::is_alphanumeric) {
                    let mut kept = kept.lock();
                    kept.push_back(line);
                    if kept.len() > LINES {
                        kept.pop_front();
                    }
                }
            }
        });
        Self { lines, reader }
    }

    /// What it has said up to now, in one line.
    pub(super) fn now(&self) -> String {
        Vec::from_iter(self.lines.lock().iter().cloned()).join("; ")
    }

    /// What it has said when it has ended. A process that ssh leaves behind to share connections may keep the pipe open.
    pub(super) async fn whole(&mut self) -> String {
        let _ = timeout(GRACE, &mut self.reader).await;
        self.now()
    }
}

impl Drop for Said {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::cli::host::Host;

    fn typed(host: &str) -> String {
        let Ok(Host::Ssh(host)) = host.parse() else { panic!("{host}") };
        arguments(&host).join(" ")
    }

    #[test]
    fn nothing_of_an_address_is_read_as_an_option() {
        let fixed = "-T -o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=5 -o ServerAliveCountMax=3 \
                     -o ClearAllForwardings=yes -o RemoteCommand=none";
        for (host, rest) in [
            ("ssh://edge", "-- edge cutover dial-stdio"),
            ("ssh://deploy@edge:2222", "-l deploy -p 2222 -- edge cutover dial-stdio"),
            ("ssh://[::1]/run/c.sock", "-- ::1 cutover --socket /run/c.sock dial-stdio"),
            ("ssh://edge/run/my $(c).sock", "-- edge cutover --socket '/run/my $(c).sock' dial-stdio"),
        ] {
            assert_eq!(typed(host), format!("{fixed} {rest}"));
        }
    }

    fn edge() -> SshHost {
        SshHost { user: None, host: "edge".to_owned(), port: None, socket: None }
    }

    /// Runs a shell script instead of ssh.
    async fn connect_by_script(script: &str) -> Result<(Stream, Said), SshError> {
        connect_by(&["sh", "-c", script].map(str::to_owned), &edge()).await
    }

    #[tokio::test]
    async fn what_follows_the_greeting_is_kept_and_what_comes_before_it_is_not() {
        let script = "echo Welcome; printf 'cutover dial-stdio 1\r\nfirst'; cat";
        let (mut stream, _) = connect_by_script(script).await.unwrap();
        let mut bytes = [0; 9];
        stream.write_all(b" two").await.unwrap();
        stream.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"first two");
    }

    #[tokio::test]
    async fn a_banner_is_no_reason_for_a_connection_that_breaks() {
        let script = "echo Banner >&2; read go; echo cutover dial-stdio 1; read request; echo Lost. >&2";
        let mut process = Process::start(&["sh", "-c", script].map(str::to_owned), &edge()).unwrap();
        while process.said.now() != "Banner" {
            tokio::task::yield_now().await;
        }
        process.input.write_all(b"go\n").await.unwrap();
        process.greeting().await.unwrap();
        process.input.write_all(b"request\n").await.unwrap();
        assert_eq!(process.output.read_u8().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(process.said.whole().await, "Lost");
    }

    #[tokio::test]
    async fn another_version_of_the_greeting_is_none() {
        let error = connect_by_script("echo cutover dial-stdio 2").await.unwrap_err().to_string();
        assert!(error.contains("it prints \"cutover dial-stdio 2\" (exit code 0)"), "{error}");
    }

    /// A shell that prints without end, and a process left behind that holds the pipes, keep nobody waiting.
    #[tokio::test]
    async fn a_connection_fails_after_its_time_whatever_is_printed() {
        let error = connect_by_script("exec yes").await.unwrap_err().to_string();
        assert!(error.contains("it prints \"y\"; look at"), "{error}");
        let script = "echo Refused. >&2; sleep 10 >&2 <&- & exit 255";
        let begun = std::time::Instant::now();
        let error = connect_by_script(script).await.unwrap_err().to_string();
        assert_eq!(error, "ssh: Refused");
        assert!(begun.elapsed().as_secs() < 8);
        tokio::time::pause();
        let error = connect_by_script("echo Wait. >&2; exec sleep 60").await.unwrap_err().to_string();
        assert!(error.starts_with("no connection within 30 s"), "{error}");
    }
}
