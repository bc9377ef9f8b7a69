//! An HTTP/1.1 client for single requests.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::http1::{Head, Reader, message};

const LIMIT: Duration = Duration::from_secs(10);

/// One connection, on which a test controls each request.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    reader: Reader,
}

/// A complete answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// First line and headers.
    pub head: Head,
    /// Its body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The slot of the backend that gave the answer; empty when nginx generated it.
    pub fn slot(&self) -> &str {
        self.head.header("x-slot").unwrap_or_default()
    }

    /// Status and slot, for a single comparison.
    pub fn status_and_slot(&self) -> (u16, &str) {
        (self.status, self.slot())
    }
}

/// One GET on a connection of its own.
pub async fn get(address: SocketAddr, target: &str) -> Result<Answer> {
    Client::connect(address).await?.request("GET", target, &[]).await
}

impl Client {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream =
            TcpStream::connect(address).await.with_context(|| format!("failed to connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, reader: Reader::default() })
    }

    /// Sends a request and reads the answer. Fails when the answer is incomplete or late.
    pub async fn request(&mut self, method: &str, target: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        self.send(method, target, headers).await?;
        tokio::time::timeout(LIMIT, self.answer()).await.context("no answer in time")?
    }

    /// The same with a request body.
    pub async fn request_with(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answer> {
        self.send_with(method, target, headers, body).await?;
        tokio::time::timeout(LIMIT, self.answer()).await.context("no answer in time")?
    }

    /// Sends a request without waiting for the answer.
    pub async fn send(&mut self, method: &str, target: &str, headers: &[(&str, &str)]) -> Result<()> {
        self.send_with(method, target, headers, "").await
    }

    async fn send_with(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<()> {
        let mut all = headers.to_vec();
        if !headers.iter().any(|(name, _)| *name == "host") {
            all.insert(0, ("host", "shop.test"));
        }
        let bytes = message(&format!("{method} {target} HTTP/1.1"), &all, body.as_bytes());
        self.stream.write_all(&bytes).await.context("failed to send")
    }

    /// Reads the answer to the request that was sent.
    pub async fn answer(&mut self) -> Result<Answer> {
        let head = self.reader.head(&mut self.stream).await?.context("closed without an answer")?;
        let status = head.status()?;
        let bodiless = [101, 204, 304].contains(&status);
        let body = if bodiless { Vec::new() } else { self.reader.body(&mut self.stream, &head).await? };
        Ok(Answer { status, head, body })
    }

    /// Sends bytes over an upgraded connection and reads the same number of bytes back.
    pub async fn echo(&mut self, bytes: &[u8]) -> Result<Vec<u8>> {
        self.exchange(bytes, bytes.len()).await
    }

    /// Sends bytes over an upgraded connection and reads this number of bytes.
    pub async fn exchange(&mut self, bytes: &[u8], count: usize) -> Result<Vec<u8>> {
        self.stream.write_all(bytes).await?;
        let back = self.reader.exactly(&mut self.stream, count);
        tokio::time::timeout(LIMIT, back).await.context("no answer in time")?
    }
}
