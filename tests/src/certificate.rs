//! Certificates for tests: self-signed ones, and those of a CA of the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Paths of a certificate and its key.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate. A self-signed one is also the trusted CA.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// The arguments for a new key. Keys of this kind are made at once.
const NEW_KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

/// Makes a self-signed certificate for `name` in this folder.
pub fn make(folder: &Path, name: &str) -> Result<Certificate> {
    let made = Certificate { certificate: folder.join("cert.pem"), key: folder.join("key.pem") };
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-days", "2"]).args(NEW_KEY).args([
        "-subj",
        &format!("/CN={name}"),
        "-addext",
        &format!("subjectAltName=DNS:{name}"),
    ]);
    run(command.arg("-keyout").arg(&made.key).arg("-out").arg(&made.certificate))?;
    Ok(made)
}

/// A CA.
#[derive(Clone, Debug)]
pub struct Authority {
    folder: PathBuf,
    /// Its own certificate and key.
    pub own: Certificate,
}

/// The dates of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// From now on, for this many days.
    Days(u32),
    /// Ended ten days ago.
    Expired,
    /// Begins in ten days.
    NotYet,
}

impl Authority {
    /// Makes a CA with this name. It keeps all its files in the folder.
    pub fn make(folder: &Path, name: &str) -> Result<Self> {
        let own = Certificate {
            certificate: folder.join(format!("{name}.pem")),
            key: folder.join(format!("{name}.key")),
        };
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-days", "100"]).args(NEW_KEY).arg("-subj").arg(format!("/CN={name}"));
        run(command.arg("-keyout").arg(&own.key).arg("-out").arg(&own.certificate))?;
        Ok(Self { folder: folder.to_owned(), own })
    }

    /// Makes a certificate with the subject `CN=NAME` and these names (`IP:..`, `DNS:..`), in files that begin with the name.
    pub fn issue(&self, name: &str, alternative_names: &str, validity: Validity) -> Result<Certificate> {
        let path = |end: &str| self.folder.join(format!("{name}.{end}"));
        let made = Certificate { certificate: path("pem"), key: path("key") };
        let mut command = Command::new("openssl");
        command.args(["req", "-new"]).args(NEW_KEY).arg("-subj").arg(format!("/CN={name}"));
        run(command.arg("-keyout").arg(&made.key).arg("-out").arg(path("csr")))?;
        let extensions = match alternative_names {
            "" => "basicConstraints=CA:FALSE\n".to_owned(),
            names => format!("basicConstraints=CA:FALSE\nsubjectAltName={names}\n"),
        };
        fs::write(path("ext"), extensions)?;
        let mut command = Command::new("openssl");
        // openssl takes the dates from the clock.
        let (clock, days) = match validity {
            Validity::Days(days) => (None, days),
            Validity::Expired => (Some("-20d"), 10),
            Validity::NotYet => (Some("+10d"), 10),
        };
        if let Some(clock) = clock {
            ensure!(fs::exists(FAKETIME)?, "no {FAKETIME}: install libfaketime");
            command.env("LD_PRELOAD", FAKETIME).env("FAKETIME", clock);
        }
        command.args(["x509", "-req", "-days", &days.to_string()]).arg("-in").arg(path("csr"));
        command.arg("-CA").arg(&self.own.certificate).arg("-CAkey").arg(&self.own.key);
        run(command.arg("-extfile").arg(path("ext")).arg("-out").arg(&made.certificate))?;
        Ok(made)
    }
}

const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().context("failed to run openssl")?;
    ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
