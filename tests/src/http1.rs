//! A minimal HTTP/1.1 implementation. The load must know whether a connection ended before the first byte of an answer or
//! within it, and the backend must be able to break off at any byte. No library offers that.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncRead, AsyncReadExt};

const MAX_HEAD: usize = 64 * 1024;

/// The first line and the headers of a message.
#[derive(Clone, Debug)]
pub struct Head {
    /// The three words of the first line: method, target, version; or version, status, reason.
    pub line: [String; 3],
    headers: Vec<(String, String)>,
}

impl Head {
    /// A header's value, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The status of an answer.
    pub fn status(&self) -> Result<u16> {
        let [_, status, _] = &self.line;
        status.parse().with_context(|| format!("no status in {:?}", self.line))
    }

    /// Whether the connection ends after this message.
    pub fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    fn parse(raw: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(raw).context("a head that is not text")?;
        let mut lines = text.split("\r\n");
        let mut words = lines.next().unwrap_or_default().splitn(3, ' ').map(str::to_owned);
        let mut word = || words.next().unwrap_or_default();
        let line = [word(), word(), word()];
        let mut headers = Vec::new();
        for header in lines.filter(|line| !line.is_empty()) {
            let (name, value) = header.split_once(':').with_context(|| format!("no header: {header:?}"))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(Self { line, headers })
    }
}

/// Reads messages from a stream. Surplus bytes stay in the buffer for the next message.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
}

impl Reader {
    /// Reads the next head; `None` when the stream ends or breaks before the first byte.
    pub async fn head(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<Head>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let rest = self.buffer.split_off(end + 4);
                let raw = std::mem::replace(&mut self.buffer, rest);
                return Head::parse(raw.get(..end).unwrap_or_default()).map(Some);
            }
            ensure!(self.buffer.len() < MAX_HEAD, "a head of more than {MAX_HEAD} bytes");
            match self.fill(stream).await {
                Ok(0) | Err(_) if self.buffer.is_empty() => return Ok(None),
                Ok(0) => bail!("the connection ended within a head"),
                other => other?,
            };
        }
    }

    /// Reads the body that `head` announces; empty when it announces none.
    pub async fn body(&mut self, stream: &mut (impl AsyncRead + Unpin), head: &Head) -> Result<Vec<u8>> {
        if head.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            return self.chunks(stream).await;
        }
        match head.header("content-length") {
            Some(length) => self.exactly(stream, length.parse().context("content-length")?).await,
            None => Ok(Vec::new()),
        }
    }

    async fn chunks(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line(stream).await?;
            let size = line.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(size, 16).with_context(|| format!("no chunk size: {line:?}"))?;
            body.extend(self.exactly(stream, size).await?);
            ensure!(self.line(stream).await?.is_empty(), "a chunk longer than its size");
            if size == 0 {
                return Ok(body);
            }
        }
    }

    async fn line(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> Result<String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let raw = self.exactly(stream, end + 2).await?;
                return Ok(String::from_utf8_lossy(raw.get(..end).unwrap_or_default()).into_owned());
            }
            ensure!(self.fill(stream).await? > 0, "the connection ended within a chunk");
        }
    }

    /// Reads this many bytes. Fails when the stream ends first.
    pub async fn exactly(&mut self, stream: &mut (impl AsyncRead + Unpin), length: usize) -> Result<Vec<u8>> {
        while self.buffer.len() < length {
            let missing = length - self.buffer.len();
            ensure!(self.fill(stream).await? > 0, "the connection ended {missing} bytes before the body did");
        }
        let rest = self.buffer.split_off(length);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    /// Reads available bytes into the buffer; 0 at the end of the stream.
    pub async fn fill(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<usize> {
        let mut piece = [0; 16 * 1024];
        let read = stream.read(&mut piece).await?;
        self.buffer.extend(piece.get(..read).unwrap_or_default());
        Ok(read)
    }
}

/// Serializes a message: first line, headers, `content-length`, body.
pub fn message(line: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{line}\r\n");
    for (name, value) in headers {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    let _ = write!(text, "content-length: {}\r\n\r\n", body.len());
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn two_messages_in_one_piece() {
        let mut stream: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi\
            HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        let mut reader = Reader::default();
        let head = reader.head(&mut stream).await.unwrap().unwrap();
        assert_eq!(head.status().unwrap(), 200);
        assert_eq!(reader.body(&mut stream, &head).await.unwrap(), b"hi");
        let head = reader.head(&mut stream).await.unwrap().unwrap();
        assert_eq!(head.status().unwrap(), 404);
        assert_eq!(reader.body(&mut stream, &head).await.unwrap(), b"abc");
        assert!(reader.head(&mut stream).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn an_incomplete_message_is_an_error() {
        let mut reader = Reader::default();
        assert!(reader.head(&mut &b"HTTP/1.1 200 OK\r\nContent"[..]).await.is_err());
        let mut stream: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel";
        let mut reader = Reader::default();
        let head = reader.head(&mut stream).await.unwrap().unwrap();
        assert!(reader.body(&mut stream, &head).await.is_err());
    }
}
