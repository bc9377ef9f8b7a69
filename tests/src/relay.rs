//! A TCP relay that makes a network slow, or breaks connections in the middle of an answer.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::ports;

/// Forwards connections to a server. Ends on drop, with its connections.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    rules: Arc<Rules>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Rules {
    /// Milliseconds.
    delay: AtomicU64,
    /// Connections that clients have made.
    connections: AtomicU64,
    cut: Mutex<Option<Cut>>,
}

/// One connection that is cut.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// Its number; the first one is 1.
    connection: u64,
    /// Bytes of the server's that are forwarded before.
    after: u64,
}

impl Relay {
    /// Listens on `address` and forwards everything to `server`, at once.
    pub async fn start(address: SocketAddr, server: SocketAddr) -> Result<Self> {
        let listener = ports::listen(address).await?;
        let rules = Arc::new(Rules {
            delay: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            cut: Mutex::new(None),
        });
        let shared = Arc::clone(&rules);
        let task = tokio::spawn(async move {
            // Aborting this task drops the set, which aborts the connections.
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let number = shared.connections.fetch_add(1, Ordering::Relaxed) + 1;
                let cut = *shared.cut.lock().unwrap_or_else(PoisonError::into_inner);
                let most = cut.filter(|cut| cut.connection == number).map_or(u64::MAX, |cut| cut.after);
                connections.spawn(forward(client, server, Arc::clone(&shared), most));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, rules, task })
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The number of connections that clients have made.
    pub fn connections(&self) -> u64 {
        self.rules.connections.load(Ordering::Relaxed)
    }

    /// Delays what is sent in each direction by this much.
    pub fn delay(&self, delay: Duration) {
        self.rules.delay.store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Closes one of the next connections when the server has sent this many bytes on it. `next` is 1 for the next one.
    pub fn cut(&self, next: u64, after: u64) {
        let mut cut = self.rules.cut.lock().unwrap_or_else(PoisonError::into_inner);
        *cut = Some(Cut { connection: self.connections() + next, after });
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(client: TcpStream, server: SocketAddr, rules: Arc<Rules>, most: u64) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // Either end closes both directions.
    tokio::select! {
        () = copy(from_client, to_server, &rules, u64::MAX) => {}
        () = copy(from_server, to_client, &rules, most) => {}
    }
}

/// Copies until the end, or until `left` bytes are copied. As in a long cable, bytes do not wait for those before them.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    rules: &Rules,
    mut left: u64,
) {
    let (sender, mut cable) = mpsc::unbounded_channel();
    let reads = async move {
        let mut buffer = [0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let arrival = Instant::now() + Duration::from_millis(rules.delay.load(Ordering::Relaxed));
            let Some(bytes) = buffer.get(..read) else { return };
            if sender.send((arrival, bytes.to_vec())).is_err() {
                return;
            }
        }
    };
    let writes = async move {
        while let Some((arrival, mut bytes)) = cable.recv().await {
            tokio::time::sleep_until(arrival).await;
            bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left -= bytes.len() as u64;
            if to.write_all(&bytes).await.is_err() || left == 0 {
                return;
            }
        }
    };
    tokio::pin!(reads, writes);
    tokio::select! {
        () = &mut writes => {}
        // What was read is still written.
        () = &mut reads => writes.await,
    }
}
