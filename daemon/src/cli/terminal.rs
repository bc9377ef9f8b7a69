//! Makes foreign texts safe for a terminal: output of commands, answers of peers, long versions.

use std::borrow::Cow;

/// Maximum number of characters in a column.
const COLUMN: usize = 40;

/// Escapes control characters other than newline and tab.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let shown = |c: char| match obeyed(c) {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    Cow::Owned(text.chars().map(shown).collect())
}

/// Makes a text fit into a column: one line, and cut if it is too long.
pub(super) fn column(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match text.char_indices().nth(COLUMN) {
        Some((end, _)) => format!("{}..", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_obeyed() {
        assert_eq!(plain("one\n\ttwo é"), "one\n\ttwo é");
        assert_eq!(plain("\u{1b}[2Jgone\r\u{9b}1m\0"), "\\u{1b}[2Jgone\\r\\u{9b}1m\\u{0}");
    }

    #[test]
    fn a_column_is_short() {
        assert_eq!(column("2.0.1"), "2.0.1");
        assert_eq!(column("2\n3"), "2 3");
        assert_eq!(column(&"é".repeat(100_000)), format!("{}..", "é".repeat(40)));
    }
}
