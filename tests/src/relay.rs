//! A TCP relay that makes a network slow, or breaks connections in the middle of an answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};

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
    /// Bytes of the server's that a connection forwards before it is closed.
    answer: AtomicU64,
    /// Connections that clients have made.
    connections: AtomicU64,
}

impl Relay {
    /// Listens on `address` and forwards everything to `server`, at once.
    pub async fn start(address: SocketAddr, server: SocketAddr) -> Result<Self> {
        let listener = ports::listen(address).await?;
        let rules = Arc::new(Rules {
            delay: AtomicU64::new(0),
            answer: AtomicU64::new(u64::MAX),
            connections: AtomicU64::new(0),
        });
        let shared = Arc::clone(&rules);
        let task = tokio::spawn(async move {
            // Aborting this task drops the set, which aborts the connections.
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                connections.spawn(forward(client, server, Arc::clone(&shared)));
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

    /// Closes a connection when the server has sent this many bytes on it. `None`: never.
    pub fn cut_answers_after(&self, bytes: Option<u64>) {
        self.rules.answer.store(bytes.unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(client: TcpStream, server: SocketAddr, rules: Arc<Rules>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // Either end closes both directions.
    tokio::select! {
        () = copy(from_client, to_server, &rules, None) => {}
        () = copy(from_server, to_client, &rules, Some(&rules.answer)) => {}
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    rules: &Rules,
    most: Option<&AtomicU64>,
) {
    let mut buffer = [0; 16 * 1024];
    let mut copied = 0;
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        tokio::time::sleep(Duration::from_millis(rules.delay.load(Ordering::Relaxed))).await;
        let left = most.map_or(u64::MAX, |most| most.load(Ordering::Relaxed)).saturating_sub(copied);
        let read = read.min(usize::try_from(left).unwrap_or(usize::MAX));
        let Some(bytes) = buffer.get(..read) else { return };
        copied += read as u64;
        if to.write_all(bytes).await.is_err()
            || copied >= most.map_or(u64::MAX, |most| most.load(Ordering::Relaxed))
        {
            return;
        }
    }
}
