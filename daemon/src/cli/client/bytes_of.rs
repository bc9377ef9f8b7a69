//! The bytes of a long answer, as they come.

use bytes::Bytes;
use cutover_edges::http::HttpError;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::{ClientError, Reply, explained};
use crate::cli::host::Host;
use crate::cli::ssh::Said;

/// A stream of bytes. The connection ends with it.
#[derive(Debug)]
pub(in crate::cli) struct ByteStream {
    body: Incoming,
    said: Option<Said>,
    host: Host,
}

impl ByteStream {
    pub(super) fn new(reply: Reply) -> Self {
        let Reply { response, said, host } = reply;
        Self { body: response.into_body(), said, host }
    }

    /// Waits for the next bytes. `None` at the end of the stream.
    pub(in crate::cli) async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => {
                    let error = HttpError::Broken(error.to_string());
                    return Err(explained(&self.host, error, self.said.as_mut()).await);
                }
            }
        }
    }
}
