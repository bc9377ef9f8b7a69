//! Marks in the comments of a script: `-- cutover: destructive`.

use super::{BadVersion, Range};

/// The marks of a script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// It loses data that the other direction does not bring back.
    pub destructive: bool,
    /// It loses nothing that matters, whatever its statements look like. For a `.down.sql`.
    pub safe: bool,
    /// It runs outside a transaction, as `CREATE INDEX CONCURRENTLY` must.
    pub no_transaction: bool,
    /// The versions of the application that can live with the database after this migration.
    pub requires: Vec<Range>,
}

/// A mark that does not exist, or has a wrong value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMark {
    /// No such mark.
    #[error(
        "line {line}: \"-- cutover: {mark}\" is not known: expected destructive, safe, no-transaction, or requires-version and a \
         range, as in requires-version >= 1.8"
    )]
    Unknown {
        /// The line, from 1.
        line: usize,
        /// What follows the colon.
        mark: String,
    },
    /// The range is wrong.
    #[error("line {line}: requires-version: {why}")]
    Range {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        why: BadVersion,
    },
    /// Two marks exclude each other.
    #[error("\"safe\" and \"destructive\" exclude each other: keep one of them")]
    Both,
}

impl Marks {
    /// Reads the marks of a script: lines that begin with `-- cutover:`.
    pub fn parse(text: &str) -> Result<Self, BadMark> {
        let mut marks = Self::default();
        for (number, line) in text.lines().enumerate() {
            let Some(comment) = line.trim().strip_prefix("--") else { continue };
            let Some(mark) = comment.trim_start().strip_prefix("cutover:") else { continue };
            let (mark, line) = (mark.trim(), number + 1);
            match mark.split_once(char::is_whitespace) {
                None if mark == "destructive" => marks.destructive = true,
                None if mark == "safe" => marks.safe = true,
                None if mark == "no-transaction" => marks.no_transaction = true,
                Some(("requires-version", range)) => {
                    let range = range.trim().parse().map_err(|why| BadMark::Range { line, why })?;
                    marks.requires.push(range);
                }
                _ => return Err(BadMark::Unknown { line, mark: mark.to_owned() }),
            }
        }
        match marks.safe && marks.destructive {
            true => Err(BadMark::Both),
            false => Ok(marks),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_comments_of_their_own() {
        let text = "-- cutover: destructive\n  --cutover: no-transaction  \nDROP TABLE a; -- cutover: nothing\n\
                    -- cutover: requires-version >= 1.8\n-- cutovers: x\n";
        let marks = Marks::parse(text).unwrap();
        assert!(marks.destructive && marks.no_transaction && !marks.safe, "{marks:?}");
        assert_eq!(marks.requires, [">= 1.8".parse().unwrap()]);
        assert_eq!(Marks::parse("SELECT 1;"), Ok(Marks::default()));
    }

    #[test]
    fn a_wrong_mark_is_named_with_its_line() {
        for (text, said) in [
            (
                "\n-- cutover: destructve",
                "line 2: \"-- cutover: destructve\" is not known: expected destructive, safe",
            ),
            ("-- cutover: safe now", "line 1: \"-- cutover: safe now\" is not known"),
            ("-- cutover:", "line 1: \"-- cutover: \" is not known"),
            (
                "-- cutover: requires-version 1.8",
                "line 1: requires-version: \"1.8\" is not a range of versions",
            ),
            ("-- cutover: safe\n-- cutover: destructive", "\"safe\" and \"destructive\" exclude each other"),
        ] {
            let found = Marks::parse(text).unwrap_err().to_string();
            assert!(found.starts_with(said), "{found}");
        }
    }
}
