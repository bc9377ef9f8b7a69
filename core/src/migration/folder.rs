//! The folder of migrations: `NNNN_name.up.sql` and `NNNN_name.down.sql`.

use std::collections::BTreeMap;

use super::{BadMark, Marks, Range};

/// A file of the folder, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name without the folder.
    pub file: String,
    /// Its text.
    pub text: String,
    /// The checksum of its bytes.
    pub checksum: String,
}

/// One direction of a migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The name of its file.
    pub file: String,
    /// The SQL.
    pub text: String,
    /// The checksum of the file.
    pub checksum: String,
    /// Its marks.
    pub marks: Marks,
}

/// A migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// The number at the beginning of its files' names.
    pub number: u64,
    /// The name after the number.
    pub name: String,
    /// What applies it.
    pub up: Script,
    /// What reverts it.
    pub down: Option<Script>,
}

/// All migrations of a version, in the order of their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folder {
    /// The migrations.
    pub migrations: Vec<Migration>,
    /// What all of them require of the version that has the traffic, from the manifest.
    pub requires: Vec<Range>,
}

/// What is wrong with the files of a folder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FolderError {
    /// The name of a file does not say what it is.
    #[error(
        "\"{0}\" is not named NNNN_name.up.sql or NNNN_name.down.sql, as in 0007_gifts.up.sql: rename it"
    )]
    Name(String),
    /// Two files have the same number and direction.
    #[error("\"{one}\" and \"{other}\" have the same number: give one of them the next free number")]
    Twice {
        /// A file.
        one: String,
        /// The other.
        other: String,
    },
    /// The two files of a number have different names.
    #[error("\"{up}\" and \"{down}\" have one number and two names: give both the same name")]
    Names {
        /// The file that applies.
        up: String,
        /// The file that reverts.
        down: String,
    },
    /// A file that reverts has none that applies.
    #[error("\"{down}\" has no \"{up}\": add it, or remove the .down.sql")]
    NoUp {
        /// The file that reverts.
        down: String,
        /// The missing one.
        up: String,
    },
    /// A mark is wrong.
    #[error("{file}: {why}")]
    Mark {
        /// The file.
        file: String,
        /// What is wrong with the mark.
        why: BadMark,
    },
}

enum Direction {
    Up,
    Down,
}

impl Folder {
    /// Sorts the files of a folder into migrations. Files that do not end in `.sql` are ignored, and hidden ones. Numbers may have
    /// gaps.
    pub fn parse(files: impl IntoIterator<Item = Source>) -> Result<Self, FolderError> {
        let (mut ups, mut downs) = (BTreeMap::new(), BTreeMap::new());
        let mut files: Vec<Source> = files.into_iter().collect();
        files.sort_by(|one, other| one.file.cmp(&other.file));
        for Source { file, text, checksum } in files {
            if !file.ends_with(".sql") || file.starts_with('.') {
                continue;
            }
            let (number, name, direction) = parts(&file).ok_or_else(|| FolderError::Name(file.clone()))?;
            let name = name.to_owned();
            let marks = Marks::parse(&text).map_err(|why| FolderError::Mark { file: file.clone(), why })?;
            let script = Script { file: file.clone(), text, checksum, marks };
            let side = match direction {
                Direction::Up => &mut ups,
                Direction::Down => &mut downs,
            };
            if let Some((_, Script { file: one, .. })) = side.insert(number, (name, script)) {
                return Err(FolderError::Twice { one, other: file });
            }
        }
        let mut migrations = Vec::new();
        for (number, (name, up)) in ups {
            let down = match downs.remove(&number) {
                Some((other, down)) if other != name => {
                    return Err(FolderError::Names { up: up.file, down: down.file });
                }
                down => down.map(|(_, down)| down),
            };
            migrations.push(Migration { number, name, up, down });
        }
        match downs.into_values().next() {
            Some((_, Script { file: down, .. })) => {
                let up = down.replace(".down.sql", ".up.sql");
                Err(FolderError::NoUp { down, up })
            }
            None => Ok(Self { migrations, requires: Vec::new() }),
        }
    }

    /// The migration of a number.
    pub fn get(&self, number: u64) -> Option<&Migration> {
        self.migrations.iter().find(|migration| migration.number == number)
    }
}

/// The number, the name and the direction of a file.
fn parts(file: &str) -> Option<(u64, &str, Direction)> {
    let (stem, direction) = match (file.strip_suffix(".up.sql"), file.strip_suffix(".down.sql")) {
        (Some(stem), _) => (stem, Direction::Up),
        (None, Some(stem)) => (stem, Direction::Down),
        (None, None) => return None,
    };
    let (number, name) = stem.split_once('_')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    // The tables of all three databases hold an i64.
    let number = number.parse::<u64>().ok().filter(|number| is_number && i64::try_from(*number).is_ok())?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (!name.is_empty() && name.len() <= 200 && name.bytes().all(is_name)).then_some((number, name, direction))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::migration) fn source(file: &str, text: &str) -> Source {
        Source { file: file.to_owned(), text: text.to_owned(), checksum: format!("sum of {text}") }
    }

    fn folder(files: &[&str]) -> Result<Folder, FolderError> {
        Folder::parse(files.iter().map(|file| source(file, "")))
    }

    #[test]
    fn files_become_migrations_in_the_order_of_their_numbers() {
        let files =
            ["0010_b.up.sql", "2_a.up.sql", "2_a.down.sql", "README.md", ".x.sql", "20261130_c-d.e.up.sql"];
        let found = folder(&files).unwrap();
        let seen: Vec<_> =
            found.migrations.iter().map(|its| (its.number, its.name.as_str(), its.down.is_some())).collect();
        assert_eq!(seen, [(2, "a", true), (10, "b", false), (20_261_130, "c-d.e", false)]);
        assert_eq!(found.get(10).map(|its| its.up.file.as_str()), Some("0010_b.up.sql"));
        assert_eq!(folder(&[]), Ok(Folder::default()));
    }

    #[test]
    fn what_is_wrong_is_named_with_what_helps() {
        for (files, said) in [
            (&["gifts.sql"][..], "\"gifts.sql\" is not named NNNN_name.up.sql"),
            (&["0001_a.sql"], "\"0001_a.sql\" is not named"),
            (&["0001.up.sql"], "\"0001.up.sql\" is not named"),
            (&["0001_.up.sql"], "\"0001_.up.sql\" is not named"),
            (&["+1_a.up.sql"], "\"+1_a.up.sql\" is not named"),
            (&["99999999999999999999_a.up.sql"], "is not named"),
            (&["0001_a b.up.sql"], "is not named"),
            (&["1_a.up.sql", "0001_b.up.sql"], "\"0001_b.up.sql\" and \"1_a.up.sql\" have the same number"),
            (
                &["1_a.up.sql", "1_b.down.sql"],
                "\"1_a.up.sql\" and \"1_b.down.sql\" have one number and two names",
            ),
            (&["1_a.down.sql"], "\"1_a.down.sql\" has no \"1_a.up.sql\""),
        ] {
            let found = folder(files).unwrap_err().to_string();
            assert!(found.contains(said), "{found}");
        }
        let marked = Folder::parse([source("1_a.up.sql", "-- cutover: x")]).unwrap_err().to_string();
        assert!(marked.starts_with("1_a.up.sql: line 1: "), "{marked}");
    }
}
