//! A proxy on a unix socket in front of an admin API, for one daemon. It writes down each change that the daemon asks for and its
//! answer, and it can hold changes back: they then arrive late, also when the daemon that has sent them is gone.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// The ends of the paths of changes that the next leader's fence must refuse. The choice of a standby moves no traffic.
const CHANGES: [&str; 3] = ["/route", "/confirm", "/renew"];

/// The proxy. Drop ends it and its connections.
#[derive(Debug)]
pub struct AdminProxy {
    socket: PathBuf,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// A change that the daemon has asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Method and path.
    pub line: String,
    /// Whether it was held back.
    pub held: bool,
    /// When it was answered, and with which status.
    pub answered: Option<(Instant, u16)>,
}

impl Asked {
    /// Whether it was held back and has no answer yet.
    pub fn is_late(&self) -> bool {
        self.held && self.answered.is_none()
    }
}

#[derive(Debug)]
struct Shared {
    server: PathBuf,
    /// The text of the lines that are held back.
    holds: watch::Sender<Option<String>>,
    asked: Mutex<Vec<Asked>>,
}

impl AdminProxy {
    /// Listens on `socket` for the admin API at the socket `server`.
    pub fn start(socket: PathBuf, server: PathBuf) -> Result<Self> {
        let listener = UnixListener::bind(&socket)
            .with_context(|| format!("failed to listen on {}", socket.display()))?;
        let shared = Arc::new(Shared { server, holds: watch::Sender::new(None), asked: Mutex::default() });
        let of_task = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            // Ends with this task.
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let shared = Arc::clone(&of_task);
                connections.spawn(async move {
                    // Either side may go away at any time.
                    let _ = shared.serve(client).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { socket, shared, task })
    }

    /// Its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Holds changes back from now on, if their line contains this text.
    pub fn hold(&self, text: &str) {
        self.shared.holds.send_replace(Some(text.to_owned()));
    }

    /// Delivers those that were held back, and all others.
    pub fn deliver(&self) {
        self.shared.holds.send_replace(None);
    }

    /// Whether it holds a change back.
    pub fn has_late(&self) -> bool {
        self.shared.asked().iter().any(Asked::is_late)
    }

    /// The changes so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked().clone()
    }
}

impl Drop for AdminProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn asked(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(&self, mut client: UnixStream) -> Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        let read = client.read(&mut buffer).await?;
        let mut bytes = buffer.get(..read).unwrap_or_default().to_vec();
        let number = self.note(&bytes);
        if number.is_some_and(|number| self.asked().get(number).is_some_and(Asked::is_late)) {
            let _ = self.holds.subscribe().wait_for(Option::is_none).await;
        }
        let mut server = UnixStream::connect(&self.server).await?;
        let mut from_server = vec![0; 64 * 1024];
        let (mut is_open, mut is_answered) = (true, number.is_none());
        while is_open || !is_answered {
            server.write_all(&bytes).await?;
            bytes.clear();
            tokio::select! {
                read = client.read(&mut buffer), if is_open => match read {
                    Ok(read @ 1..) => bytes.extend(buffer.get(..read).unwrap_or_default()),
                    // The daemon is gone. Its change takes effect all the same.
                    _ => is_open = false,
                },
                read = server.read(&mut from_server) => {
                    let Ok(read @ 1..) = read else { return Ok(()) };
                    let answer = from_server.get(..read).unwrap_or_default();
                    if !std::mem::replace(&mut is_answered, true) {
                        self.answered(number, answer);
                    }
                    is_open = is_open && client.write_all(answer).await.is_ok();
                }
            }
        }
        Ok(())
    }

    /// Writes a change down. Returns its number; `None` if the request is not a change.
    fn note(&self, request: &[u8]) -> Option<usize> {
        let text = String::from_utf8_lossy(request);
        let line = text.lines().next()?.trim_end_matches(" HTTP/1.1").to_owned();
        let is_change = !line.starts_with("GET ") && CHANGES.iter().any(|end| line.ends_with(end));
        is_change.then(|| {
            let mut asked = self.asked();
            let held = self.holds.borrow().as_ref().is_some_and(|text| line.contains(text));
            asked.push(Asked { line, held, answered: None });
            asked.len() - 1
        })
    }

    fn answered(&self, number: Option<usize>, answer: &[u8]) {
        let text = String::from_utf8_lossy(answer);
        let status = text.split_whitespace().nth(1).and_then(|status| status.parse().ok());
        let mut all = self.asked();
        if let (Some(asked), Some(status)) = (number.and_then(|number| all.get_mut(number)), status) {
            asked.answered = Some((Instant::now(), status));
        }
    }
}
