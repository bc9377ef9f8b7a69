//! Passes on what nginx was configured with, and lets the C compiler say where nginx's structures have what.
//!
//! ```text
//!  headers   which nginx: its headers, its compiler and what that is told
//!  names     which structures, fields and bitfields there are     by bindgen, as nginx-sys's bindings have them
//!  probe     where they are                                       by a C program that nginx's own compiler builds
//!  output    OUT_DIR/layout.rs   an assertion for each size and field, a constant for each bitfield
//!            OUT_DIR/clippy.toml every accessor of a bitfield that the bindings have, as forbidden
//! ```
//!
//! bindgen places bitfields by rules of its own, and those were wrong for nginx 1.29.3 and newer. So what it says of a field
//! is asserted, and what it says of a bitfield is not used at all: see docs/decisions/0018.

mod headers;
mod names;
mod output;
mod probe;

use std::path::PathBuf;
use std::process::ExitCode;

use headers::Headers;

fn main() -> ExitCode {
    pass_features_on();
    // A worker that is told to end at once unloads its modules; a thread that still flushes must find its code there.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    match lay_out() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cargo::error={}", error.lines().next().unwrap_or_default());
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn pass_features_on() {
    println!("cargo::rerun-if-env-changed=DEP_NGINX_FEATURES_CHECK");
    println!(
        "cargo::rustc-check-cfg=cfg(ngx_feature, values({}))",
        std::env::var("DEP_NGINX_FEATURES_CHECK").unwrap_or("any()".to_owned())
    );
    println!("cargo::rerun-if-env-changed=DEP_NGINX_FEATURES");
    for feature in std::env::var("DEP_NGINX_FEATURES").unwrap_or_default().split(',') {
        println!("cargo::rustc-cfg=ngx_feature=\"{}\"", feature.trim());
    }
}

fn lay_out() -> Result<(), String> {
    let out = PathBuf::from(env("OUT_DIR")?);
    let headers = Headers::of_nginx()?;
    let structures = names::read(&headers)?;
    let places = probe::ask(&headers, &structures, &out)?;
    output::write(&structures, &places, &out)
}

/// What cargo or nginx-sys tells this program.
fn env(name: &str) -> Result<String, String> {
    println!("cargo::rerun-if-env-changed={name}");
    std::env::var(name).map_err(|_| format!("{name} is not set: build with cargo, with nginx-sys beside"))
}
