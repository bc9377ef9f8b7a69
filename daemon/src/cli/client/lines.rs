//! The lines of an answer that has no end in sight.

use cutover_edges::http::HttpError;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::{ClientError, Reply, explained};
use crate::cli::host::Host;
use crate::cli::ssh::Said;

/// A stream of lines. The connection ends with it.
#[derive(Debug)]
pub(in crate::cli) struct LineStream {
    body: Incoming,
    said: Option<Said>,
    host: Host,
    rest: Vec<u8>,
}

impl LineStream {
    pub(super) fn new(reply: Reply) -> Self {
        let Reply { response, said, host } = reply;
        Self { body: response.into_body(), said, host, rest: Vec::new() }
    }

    /// Waits for the next line. `None` at the end of the stream.
    pub(in crate::cli) async fn next(&mut self) -> Result<Option<String>, ClientError> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(line.trim_ascii_end()).into_owned()));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.rest.extend_from_slice(&data);
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
