//! Finds out what a server speaks that did not answer a check, to say what to write.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connection::open;
use crate::http::Address;

/// A record FCGI_GET_VALUES without names: an application answers with an empty FCGI_GET_VALUES_RESULT, and does nothing else.
const FASTCGI_QUESTION: [u8; 8] = [1, 9, 0, 0, 0, 0, 0, 0];
const FASTCGI_RESULT: u8 = 10;
/// A ClientHello of TLS 1.2 without extensions. A server of TLS answers with a ServerHello or an alert.
#[rustfmt::skip]
const TLS_HELLO: [u8; 50] = [
    // A record with a handshake, TLS 1.0, 45 bytes; in it a ClientHello of 41 bytes, TLS 1.2.
    22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 3,
    // 32 random bytes, which protect nothing here.
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    // No session, one suite (TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256), no compression.
    0, 0, 2, 0xc0, 0x2f, 1, 0,
];

/// What to write for a server that answered nothing usable. `began`: how its answer began. `http2`: what was spoken.
pub(super) async fn spoken(address: &Address, began: &[u8], http2: bool) -> Option<&'static str> {
    if is_tls(began) || (began.is_empty() && answers(address, &TLS_HELLO, is_tls).await) {
        return Some("it answers TLS: write tls = {}");
    }
    if !http2 && is_http2(began) {
        return Some("it speaks HTTP/2 only: write http2 = true, or kind = \"grpc\"");
    }
    if http2 && began.starts_with(b"HTTP/1") {
        return Some("it speaks HTTP/1.1 only: remove http2, or kind = \"grpc\"");
    }
    if began.is_empty() && answers(address, &FASTCGI_QUESTION, is_fastcgi).await {
        return Some("it answers FastCGI: ask it through nginx, as in through = \"http://127.0.0.1:8081\"");
    }
    began.is_empty().then_some(
        "it says nothing over HTTP: if it speaks FastCGI, uwsgi or SCGI, ask it through nginx, as in through = \
         \"http://127.0.0.1:8081\"",
    )
}

/// A record of TLS: an alert or a handshake, of version 3.
fn is_tls(began: &[u8]) -> bool {
    matches!(began, [21 | 22, 3, 0..=4, ..])
}

/// A frame SETTINGS or GOAWAY of HTTP/2 on stream 0.
fn is_http2(began: &[u8]) -> bool {
    matches!(began, [0, 0, _, 4 | 7, _, 0, 0, 0, 0, ..])
}

fn is_fastcgi(began: &[u8]) -> bool {
    matches!(began, [1, FASTCGI_RESULT, ..])
}

/// Whether the server answers these bytes on a new connection in this way.
async fn answers(address: &Address, question: &[u8], is_so: impl Fn(&[u8]) -> bool) -> bool {
    let Ok(mut stream) = open(address).await else { return false };
    if stream.write_all(question).await.is_err() {
        return false;
    }
    let mut begin = [0; 7];
    stream.read_exact(&mut begin).await.is_ok() && is_so(&begin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_differ_in_their_first_bytes() {
        for (bytes, tls, http2, fastcgi) in [
            (&[21, 3, 1, 0, 2, 2, 40][..], true, false, false),
            (&[22, 3, 3, 0, 90, 2, 0], true, false, false),
            (&[0, 0, 18, 4, 0, 0, 0, 0, 0], false, true, false),
            (&[0, 0, 8, 7, 0, 0, 0, 0, 0], false, true, false),
            (&[1, 10, 0, 0, 0, 0, 0, 0], false, false, true),
            (b"HTTP/1.1 400", false, false, false),
            (b"", false, false, false),
        ] {
            assert_eq!(
                (is_tls(bytes), is_http2(bytes), is_fastcgi(bytes)),
                (tls, http2, fastcgi),
                "{bytes:?}"
            );
        }
    }
}
