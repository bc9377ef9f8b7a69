//! Reads the folder of migrations.

use std::fs;
use std::path::{Path, PathBuf};

use cutover_core::migration::{BadVersion, Folder, FolderError, Range, Source};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// The file beside the migrations that speaks for all of them.
const MANIFEST: &str = "manifest.toml";

/// A larger file is no migration.
const MAX_FILE: u64 = 16 << 20;

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The folder cannot be listed.
    #[error("failed to read the migrations {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// A file cannot be read.
    #[error("failed to read {}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// The files do not fit together.
    #[error("{}: {source}", path.display())]
    Files {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        source: FolderError,
    },
    /// The manifest is wrong.
    #[error("{}: {why}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// `manifest.toml`
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Manifest {
    /// The versions that can live with all migrations of the folder.
    #[serde(default)]
    requires_version: Option<String>,
}

/// Reads a folder. Each file's checksum is its SHA-256, as sha256sum prints it.
pub fn read(path: &Path) -> Result<Folder, FilesError> {
    let no_folder = |source| FilesError::Folder { path: path.to_owned(), source };
    let mut sources = Vec::new();
    let mut requires = Vec::new();
    for entry in fs::read_dir(path).map_err(no_folder)? {
        let entry = entry.map_err(no_folder)?;
        let file = entry.file_name().to_string_lossy().into_owned();
        if file == MANIFEST {
            requires = manifest(&entry.path())?;
        }
        if !file.ends_with(".sql") || file.starts_with('.') {
            continue;
        }
        let no_file = |why: String| FilesError::File { path: entry.path(), why };
        let size = fs::metadata(entry.path()).map_err(|error| no_file(error.to_string()))?.len();
        if size > MAX_FILE {
            return Err(no_file(format!("it has {size} bytes, and a migration has at most {MAX_FILE}")));
        }
        let bytes = fs::read(entry.path()).map_err(|error| no_file(error.to_string()))?;
        let checksum = checksum(&bytes);
        let text = String::from_utf8(bytes).map_err(|error| no_file(format!("it is not UTF-8: {error}")))?;
        sources.push(Source { file, text, checksum });
    }
    let folder =
        Folder::parse(sources).map_err(|source| FilesError::Files { path: path.to_owned(), source })?;
    Ok(Folder { requires, ..folder })
}

fn manifest(path: &Path) -> Result<Vec<Range>, FilesError> {
    let wrong = |why: String| FilesError::Manifest { path: path.to_owned(), why };
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let manifest: Manifest = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let range =
        |text: String| text.parse().map_err(|why: BadVersion| wrong(format!("requires-version: {why}")));
    manifest.requires_version.map(range).into_iter().collect()
}

fn checksum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_sha256sum() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(checksum(b""), empty);
    }

    #[test]
    fn a_folder_with_a_manifest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::write(path.join("0001_a.up.sql"), "CREATE TABLE a (b INT);").unwrap();
        fs::write(path.join("README"), [0xff]).unwrap();
        fs::write(path.join(MANIFEST), "requires-version = \"1.8..2.0\"\n").unwrap();
        let read_now = || read(path).map_err(|error| error.to_string());
        let found = read_now().unwrap();
        assert_eq!((found.migrations.len(), found.requires.len()), (1, 1));
        fs::write(path.join(MANIFEST), "requires_version = 1\n").unwrap();
        assert!(read_now().unwrap_err().contains("manifest.toml: TOML parse error"), "{:?}", read_now());
        fs::write(path.join(MANIFEST), "requires-version = \"1.8\"\n").unwrap();
        assert!(
            read_now().unwrap_err().contains("requires-version: \"1.8\" is not a range"),
            "{:?}",
            read_now()
        );
        fs::remove_file(path.join(MANIFEST)).unwrap();
        fs::write(path.join("0002_b.up.sql"), [0xff, 0xfe]).unwrap();
        assert!(read_now().unwrap_err().contains("0002_b.up.sql: it is not UTF-8"), "{:?}", read_now());
        let missing = read(&path.join("none")).unwrap_err().to_string();
        assert!(
            missing.starts_with("failed to read the migrations ") && missing.contains("none"),
            "{missing}"
        );
    }
}
