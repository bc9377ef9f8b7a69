//! A wall clock for one program that a test can step, by libfaketime. The monotonic clock is still the system's.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::client;
use crate::nginx::{Builder, Nginx};
use crate::temp::TempDir;
use crate::wait;

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// nginx clears its environment; a binary upgrade needs these variables.
const MAIN: &str =
    "env LD_PRELOAD; env FAKETIME_TIMESTAMP_FILE; env FAKETIME_NO_CACHE; env FAKETIME_DONT_FAKE_MONOTONIC;";

/// The header that [`SteppingClock::step`] reads.
pub const SHOWS_TIME: &str = "add_header x-now $msec always;";

/// The greatest difference between nginx's time and the stepped one.
const NEAR: Duration = Duration::from_secs(60);

/// The wall clock of one program.
#[derive(Debug)]
pub struct SteppingClock {
    folder: TempDir,
}

impl SteppingClock {
    /// A clock that shows the system's time. Returns `None` and prints why when libfaketime is not installed.
    pub fn new() -> Result<Option<Self>> {
        if !fs::exists(LIBRARY)? {
            println!("SKIPPED: no {LIBRARY}; it is in Debian's package libfaketime, for amd64");
            return Ok(None);
        }
        let clock = Self { folder: TempDir::new()? };
        clock.set(0)?;
        Ok(Some(clock))
    }

    /// A builder for an nginx with this clock.
    pub fn builder(&self) -> Builder {
        let variables = self.variables().map(|(name, value)| format!("{name}={value}"));
        let through: Vec<&str> = ["env"].into_iter().chain(variables.iter().map(String::as_str)).collect();
        Nginx::builder().main(MAIN).through(&through)
    }

    /// The environment of a program with this clock.
    pub fn variables(&self) -> [(&'static str, String); 4] {
        [
            ("LD_PRELOAD", LIBRARY.to_owned()),
            ("FAKETIME_TIMESTAMP_FILE", self.folder.path().join("clock").display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }

    /// Steps to this many seconds from the system's time.
    pub fn set(&self, seconds: i64) -> Result<()> {
        let new = self.folder.path().join("new");
        fs::write(&new, format!("{seconds:+}"))?;
        fs::rename(&new, self.folder.path().join("clock")).context("failed to set the clock")
    }

    /// Steps, and waits until nginx uses the new time. `target` at `%%listen:main%%` must answer with [`SHOWS_TIME`].
    pub async fn step(&self, seconds: i64, nginx: &Nginx, target: &str) -> Result<()> {
        self.set(seconds)?;
        let address = nginx.address("main")?;
        let seen = async || {
            let Ok(answer) = client::get(address, target).await else { return false };
            let shown = answer.head.header("x-now").and_then(|now| now.parse::<f64>().ok());
            let system = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            #[expect(clippy::cast_precision_loss, reason = "decades in seconds")]
            let expected = system.as_secs_f64() + seconds as f64;
            shown.is_some_and(|shown| (shown - expected).abs() < NEAR.as_secs_f64())
        };
        wait::until_async(
            wait::PATIENCE,
            &format!("nginx to use its clock after a step of {seconds} s"),
            seen,
        )
        .await
    }
}
