//! The width of the terminal.

use std::io::{self, IsTerminal};

/// Columns of the terminal that standard output is. `None`: it is none, and nothing is cut.
pub(super) fn width() -> Option<usize> {
    let out = io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&out).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Cuts a line to a number of characters.
pub(super) fn cut(line: &str, width: Option<usize>) -> String {
    let Some(width) = width else { return line.to_owned() };
    match line.char_indices().nth(width) {
        None => line.to_owned(),
        Some(_) => {
            let kept: String = line.chars().take(width.saturating_sub(2)).collect();
            format!("{kept}..")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_to_the_width() {
        assert_eq!(cut("déployé", None), "déployé");
        assert_eq!(cut("déployé", Some(7)), "déployé");
        assert_eq!(cut("déployé", Some(6)), "dépl..");
    }
}
