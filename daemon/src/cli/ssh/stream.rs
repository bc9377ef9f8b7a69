//! The bytes of a connection through ssh. Drop ends ssh.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, BufReader, Join, ReadBuf, join};
use tokio::process::{Child, ChildStdin, ChildStdout};

/// Reads from ssh's standard output and writes to its standard input.
#[derive(Debug)]
pub(in crate::cli) struct Stream {
    pipes: Join<BufReader<ChildStdout>, ChildStdin>,
    _ssh: Child,
}

impl Stream {
    pub(super) fn new(ssh: Child, output: BufReader<ChildStdout>, input: ChildStdin) -> Self {
        Self { pipes: join(output, input), _ssh: ssh }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipes).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipes).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipes).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipes).poll_shutdown(cx)
    }
}
