//! The nginx that a test runs on, and the paths of built programs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

/// One of the nginx builds that the module supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// The nginx of the Debian package.
    Debian,
    /// The nginx of Debian 13.
    Debian13,
    /// A recent nginx, built from its sources.
    Source,
    /// The newest nginx in Debian.
    Sid,
    /// A custom build, in a folder that `scripts/build-module --out` has filled. It may have the module linked in.
    Own(&'static Path),
}

impl Flavour {
    /// Reads `CUTOVER_NGINX`: `debian` (the default), `debian13`, `source`, `sid`, or the absolute path of a folder with a
    /// custom build.
    pub fn from_env() -> Result<Self> {
        match std::env::var("CUTOVER_NGINX").as_deref() {
            Err(_) | Ok("" | "debian") => Ok(Self::Debian),
            Ok("debian13") => Ok(Self::Debian13),
            Ok("source") => Ok(Self::Source),
            Ok("sid") => Ok(Self::Sid),
            Ok(folder) if folder.starts_with('/') => Ok(Self::Own(own(folder))),
            Ok(other) => bail!(
                "failed to read CUTOVER_NGINX={other:?}: it is `debian`, `debian13`, `source`, `sid`, or the absolute path \
                 of a folder with `nginx` and the module"
            ),
        }
    }

    /// The nginx program.
    pub fn nginx(self) -> PathBuf {
        match self {
            // Not a symbolic link: it equals the path in `/proc/PID/exe`.
            Self::Debian => PathBuf::from("/usr/sbin/nginx"),
            _ => self.folder().join("nginx"),
        }
    }

    /// The version of the program: major, minor, patch.
    pub fn version(self) -> Result<(u32, u32, u32)> {
        let program = self.nginx();
        let output = Command::new(&program)
            .arg("-v")
            .output()
            .with_context(|| format!("failed to run {}", program.display()))?;
        let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let numbers =
            text.rsplit('/').next().unwrap_or_default().split('.').map(|number| number.parse().ok());
        match numbers.collect::<Option<Vec<u32>>>().as_deref() {
            Some(&[major, minor, patch]) => Ok((major, minor, patch)),
            _ => bail!("failed to find a version in {text:?}"),
        }
    }

    /// Whether the program was configured with `--without-PART`.
    pub fn is_without(self, part: &str) -> Result<bool> {
        let program = self.nginx();
        let output = Command::new(&program)
            .arg("-V")
            .output()
            .with_context(|| format!("failed to run {}", program.display()))?;
        let option = format!("--without-{part}");
        Ok(String::from_utf8_lossy(&output.stderr).split_whitespace().any(|word| word == option))
    }

    /// Whether the program can do TLS.
    pub fn has_tls(self) -> Result<bool> {
        let program = self.nginx();
        let output = Command::new(&program)
            .arg("-V")
            .output()
            .with_context(|| format!("failed to run {}", program.display()))?;
        let text = String::from_utf8_lossy(&output.stderr);
        Ok(text.split_whitespace().any(|word| word == "--with-http_ssl_module"))
    }

    /// The module built for it.
    pub fn module(self) -> PathBuf {
        self.folder().join("ngx_http_cutover_module.so")
    }

    /// Whether the module is linked into the program, so that it has no file.
    pub fn has_module_linked_in(self) -> bool {
        matches!(self, Self::Own(_)) && !self.module().exists()
    }

    /// The folder that `scripts/build-module` fills for this nginx.
    pub fn folder(self) -> PathBuf {
        match self {
            Self::Own(folder) => folder.to_owned(),
            _ => build().join(self.to_string()),
        }
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Debian => "debian",
            Self::Debian13 => "debian13",
            Self::Source => "source",
            Self::Sid => "sid",
            Self::Own(folder) => return write!(f, "{}", folder.display()),
        })
    }
}

/// The folder of a custom build. It is the same for the whole process.
fn own(folder: &str) -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| PathBuf::from(folder))
}

/// The output of `scripts/build-module`.
fn build() -> PathBuf {
    root().join("build")
}

/// A tool in `build/tools`. The error names the script that fetches it.
pub fn tool(name: &str) -> Result<PathBuf> {
    let path = build().join("tools").join(name);
    if !path.is_file() {
        bail!("failed to find {}: run scripts/fetch-tools", path.display());
    }
    Ok(path)
}

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

/// A program of the workspace, in the folder of the running one. The error says how to build it.
pub fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("failed to find this program's own path")?;
    // Test programs are one folder deeper, in `deps`.
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.with_context(|| {
        format!("failed to find the program `{name}` beside {}: run `cargo build`", own.display())
    })
}
