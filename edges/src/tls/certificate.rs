//! What a certificate says of itself.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_cert::der::{DateTime, Decode};

/// Subject and dates of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The subject, as in `CN=deployer`.
    pub subject: String,
    /// The beginning of its validity.
    pub not_before: Date,
    /// The end of its validity.
    pub not_after: Date,
}

/// A moment that a certificate names. It is shown in UTC, as `2026-11-30 12:00:00 UTC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(Duration);

impl Date {
    /// The moment this many seconds after the beginning of 1970.
    pub fn from_unix(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The time from `now` until this moment. `None` if it has passed.
    pub fn from(self, now: SystemTime) -> Option<Duration> {
        self.0.checked_sub(now.duration_since(UNIX_EPOCH).unwrap_or_default())
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::from_unix_duration(self.0) {
            Ok(date) => {
                let text = date.to_string();
                write!(f, "{} UTC", text.replace('T', " ").trim_end_matches('Z'))
            }
            Err(_) => write!(f, "{} s after 1970", self.0.as_secs()),
        }
    }
}

impl Certificate {
    /// Reads a certificate in DER. `None` if it has another form.
    pub(super) fn parse(der: &[u8]) -> Option<Self> {
        let content = x509_cert::Certificate::from_der(der).ok()?.tbs_certificate;
        Some(Self {
            subject: content.subject.to_string(),
            not_before: Date(content.validity.not_before.to_unix_duration()),
            not_after: Date(content.validity.not_after.to_unix_duration()),
        })
    }
}
