//! A proxy for TCP on loopback that a test can cut: bytes then go nowhere, and no connection is closed, as in a partition.

use std::net::SocketAddr;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::ports;

/// A proxy. Drop ends it and its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    is_cut: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy for this server.
    pub async fn start(server: SocketAddr) -> Result<Self> {
        let address = ports::free()?;
        let listener = ports::listen(address).await?;
        let is_cut = watch::Sender::new(false);
        let seen = is_cut.subscribe();
        let task = tokio::spawn(async move {
            // Ends with this task.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let seen = seen.clone();
                connections.spawn(async move {
                    let Ok(server) = TcpStream::connect(server).await else { return };
                    let ((client_reads, client_writes), (server_reads, server_writes)) =
                        (client.into_split(), server.into_split());
                    tokio::join!(
                        copy(client_reads, server_writes, seen.clone()),
                        copy(server_reads, client_writes, seen)
                    );
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, is_cut, task })
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Holds all bytes back, or delivers them again, those held back first.
    pub fn cut(&self, is_cut: bool) {
        self.is_cut.send_replace(is_cut);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, seen: watch::Receiver<bool>) {
    let mut seen = seen;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        if seen.wait_for(|is_cut| !is_cut).await.is_err() {
            return;
        }
        let Some(bytes) = buffer.get(..read) else { return };
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}
