//! Errors of the API server as errors of an edge.

use cutover_engine::edge::{EdgeError, ShiftError};

/// The subject of these errors.
pub const API: &str = "the API server";

/// Why an object could not be read. `what` is as in `Service "shop"`.
pub(super) fn unread(what: &str, error: kube::Error) -> EdgeError {
    match error {
        kube::Error::Api(status) if status.code == 404 => EdgeError::Unusable {
            what: what.to_owned(),
            why: "it does not exist: create it, or name the one that does in the BlueGreen".to_owned(),
        },
        kube::Error::Api(status) if (400..500).contains(&status.code) => {
            EdgeError::Refused { subject: API, why: format!("{what}: {}", status.message) }
        }
        error => EdgeError::Unreachable { subject: API, address: what.to_owned(), why: error.to_string() },
    }
}

/// Whether a change was refused because the object had changed in the meantime.
pub(super) fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Whether another try meets the same error.
pub fn is_final(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 429)
}

/// Why an object could not be changed.
pub(super) fn unchanged(what: &str, error: kube::Error) -> ShiftError {
    let is_final = is_final(&error);
    match error {
        kube::Error::Api(status) if is_final => {
            ShiftError::Refused(format!("{API} refuses: {what}: {}", status.message))
        }
        error => ShiftError::Unknown(unread(what, error)),
    }
}

/// An error of the API server in one line.
pub fn told(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{API} refuses: {}", status.message),
        error => format!("{API} does not answer: {error}"),
    }
}
