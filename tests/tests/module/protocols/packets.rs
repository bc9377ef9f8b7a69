//! Minimal FastCGI, uwsgi and SCGI servers whose answers name the slot.

use std::future::Future;
use std::io::Result;
use std::net::SocketAddr;

use cutover_tests::ports;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A FastCGI server on a free port.
pub(crate) async fn fastcgi(slot: &'static str) -> SocketAddr {
    serve(move |stream| answer_fastcgi(stream, slot)).await
}

/// A uwsgi server on a free port.
pub(crate) async fn uwsgi(slot: &'static str) -> SocketAddr {
    serve(move |stream| answer_uwsgi(stream, slot)).await
}

/// An SCGI server on a free port.
pub(crate) async fn scgi(slot: &'static str) -> SocketAddr {
    serve(move |stream| answer_scgi(stream, slot)).await
}

async fn serve<F>(answer: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let address = ports::free().unwrap();
    let listener = ports::listen(address).await.unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    address
}

/// A request is a sequence of records `version, type, id (2), length (2), padding, reserved`; an empty record of type 5 ends
/// it. A record of type 9 asks for values: there are none.
async fn answer_fastcgi(mut stream: TcpStream, slot: &str) -> Result<()> {
    loop {
        let mut head = [0; 8];
        stream.read_exact(&mut head).await?;
        let [version, kind, _, _, high, low, padding, _] = head;
        if version != 1 {
            // As PHP-FPM does with what is no FastCGI.
            return Ok(());
        }
        let length = u16::from_be_bytes([high, low]);
        stream.read_exact(&mut vec![0; usize::from(length) + usize::from(padding)]).await?;
        if kind == 9 {
            stream.write_all(&[1, 10, 0, 0, 0, 0, 0, 0]).await?;
        }
        if kind == 5 && length == 0 {
            break;
        }
    }
    let text = format!("Status: 200 OK\r\nX-Slot: {slot}\r\nContent-Length: {}\r\n\r\n{slot}", slot.len());
    let length = u8::try_from(text.len()).unwrap();
    let mut answer = vec![1, 6, 0, 1, 0, length, 0, 0];
    answer.extend(text.bytes());
    answer.extend([1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    stream.write_all(&answer).await
}

/// A request is one packet `modifier, length (2, little endian), modifier`; the answer is HTTP.
async fn answer_uwsgi(mut stream: TcpStream, slot: &str) -> Result<()> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [_, low, high, _] = head;
    stream.read_exact(&mut vec![0; usize::from(u16::from_le_bytes([low, high]))]).await?;
    let text = format!("HTTP/1.1 200 OK\r\nX-Slot: {slot}\r\nContent-Length: {}\r\n\r\n{slot}", slot.len());
    stream.write_all(text.as_bytes()).await
}

/// A request is the headers as a netstring, `LENGTH:..,`; the answer is that of a CGI program.
async fn answer_scgi(mut stream: TcpStream, slot: &str) -> Result<()> {
    let mut length = 0;
    loop {
        match stream.read_u8().await? {
            b':' => break,
            digit => length = length * 10 + usize::from(digit - b'0'),
        }
    }
    stream.read_exact(&mut vec![0; length + 1]).await?;
    let text = format!("Status: 200 OK\r\nX-Slot: {slot}\r\nContent-Length: {}\r\n\r\n{slot}", slot.len());
    stream.write_all(text.as_bytes()).await
}
