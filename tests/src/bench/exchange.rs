//! A blocking HTTP/1.1 connection: measured times contain no delays of an asynchronous runtime.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Time limit of an answer.
const LIMIT: Duration = Duration::from_secs(10);

const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// An open connection.
#[derive(Debug)]
pub(crate) struct Exchange<S> {
    stream: S,
    buffer: Vec<u8>,
}

/// A complete answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A header's value, by its lower-case name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// Whether the server ends the connection after this answer.
    pub(crate) fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

impl Exchange<TcpStream> {
    pub(crate) fn tcp(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(Self { stream, buffer: Vec::new() })
    }
}

impl Exchange<UnixStream> {
    pub(crate) fn unix(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(Self { stream, buffer: Vec::new() })
    }
}

impl<S: Read + Write> Exchange<S> {
    /// Sends a request and reads the answer, which must have a `content-length`. Fails with `ConnectionAborted` when the
    /// server closes the connection before the first byte.
    pub(crate) fn request(&mut self, request: &[u8]) -> Result<Answer> {
        self.stream.write_all(request).map_err(|_| Error::from(ErrorKind::ConnectionAborted))?;
        let end = loop {
            if let Some(end) = self.buffer.windows(END_OF_HEAD.len()).position(|part| part == END_OF_HEAD) {
                break end;
            }
            self.fill()?;
        };
        let rest = self.buffer.split_off(end + END_OF_HEAD.len());
        let head = std::mem::replace(&mut self.buffer, rest);
        let head = String::from_utf8_lossy(&head).into_owned();
        let status =
            head.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or(ErrorKind::InvalidData)?;
        let mut answer = Answer { status, head, body: Vec::new() };
        let length = answer.header("content-length").and_then(|value| value.parse::<usize>().ok());
        let length = length.ok_or(ErrorKind::InvalidData)?;
        if let Some(missing) = length.checked_sub(self.buffer.len()) {
            // Without a copy, which for many megabytes would take as long as the server.
            self.buffer.reserve_exact(missing);
            let read = (&mut self.stream).take(missing as u64).read_to_end(&mut self.buffer)?;
            if read < missing {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            answer.body = std::mem::take(&mut self.buffer);
        } else {
            let rest = self.buffer.split_off(length);
            answer.body = std::mem::replace(&mut self.buffer, rest);
        }
        Ok(answer)
    }

    /// Sends a line and reads until the answer ends with `prompt`.
    pub(crate) fn command(&mut self, line: &str, prompt: &str) -> Result<String> {
        self.stream.write_all(line.as_bytes())?;
        while !self.buffer.ends_with(prompt.as_bytes()) {
            self.fill()?;
        }
        let text = std::mem::take(&mut self.buffer);
        Ok(String::from_utf8_lossy(&text).trim_end_matches(prompt).trim().to_owned())
    }

    fn fill(&mut self) -> Result<()> {
        let mut piece = [0; 16 * 1024];
        let nothing_yet = self.buffer.is_empty();
        match self.stream.read(&mut piece) {
            Ok(0) if nothing_yet => Err(ErrorKind::ConnectionAborted.into()),
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                self.buffer.extend_from_slice(piece.get(..read).unwrap_or_default());
                Ok(())
            }
            Err(error) if nothing_yet && error.kind() == ErrorKind::ConnectionReset => {
                Err(ErrorKind::ConnectionAborted.into())
            }
            Err(error) => Err(error),
        }
    }
}

/// A request as bytes.
pub(crate) fn request(
    method: &str,
    host: &str,
    target: &str,
    content_type: Option<&str>,
    body: &str,
) -> Vec<u8> {
    let content = content_type.map(|value| format!("Content-Type: {value}\r\n")).unwrap_or_default();
    let length = body.len();
    format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{content}Content-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Script(&'static [u8]);

    impl Read for Script {
        fn read(&mut self, place: &mut [u8]) -> Result<usize> {
            // In pieces, as a network can deliver them.
            let piece = place.len().min(7);
            self.0.read(&mut place[..piece])
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    fn exchange(answer: &'static [u8]) -> Exchange<Script> {
        Exchange { stream: Script(answer), buffer: Vec::new() }
    }

    #[test]
    fn answers_one_after_another() {
        let mut exchange = exchange(
            b"HTTP/1.1 200 OK\r\nX-Slot: blue\r\nContent-Length: 2\r\n\r\nhi\
              HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nConnection: close\r\n\r\n",
        );
        let first = exchange.request(b"").unwrap();
        assert_eq!((first.status, first.header("x-slot"), &first.body[..]), (200, Some("blue"), &b"hi"[..]));
        assert!(!first.closes());
        let second = exchange.request(b"").unwrap();
        assert_eq!((second.status, second.closes()), (404, true));
        assert_eq!(exchange.request(b"").unwrap_err().kind(), ErrorKind::ConnectionAborted);
    }

    #[test]
    fn an_incomplete_answer_is_another_error() {
        let mut exchange = exchange(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel");
        assert_eq!(exchange.request(b"").unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_command_ends_at_the_prompt() {
        let mut exchange = exchange(b"\n> ");
        assert_eq!(exchange.command("set\n", "\n> ").unwrap(), "");
    }
}
