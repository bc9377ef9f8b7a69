//! Self-signed certificates for tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Paths of a certificate and its key.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate. It is self-signed, so it is also the trusted CA.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Makes a certificate for `name` in this folder.
pub fn make(folder: &Path, name: &str) -> Result<Certificate> {
    let made = Certificate { certificate: folder.join("cert.pem"), key: folder.join("key.pem") };
    let output = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args([
            "-days",
            "2",
            "-subj",
            &format!("/CN={name}"),
            "-addext",
            &format!("subjectAltName=DNS:{name}"),
        ])
        .arg("-keyout")
        .arg(&made.key)
        .arg("-out")
        .arg(&made.certificate)
        .output()
        .context("failed to run openssl")?;
    ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    Ok(made)
}
