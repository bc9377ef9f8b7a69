//! Where the lines go: a terminal with a width and colours, or a file.

use std::io::{self, Write};

use clap::ValueEnum;
use console::Term;

use super::Line;

/// When there are colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Colour {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Standard output.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Paper {
    term: Term,
    is_terminal: bool,
    colour: bool,
}

impl Paper {
    /// Standard output, with colours or without them.
    pub(in crate::cli) fn stdout(colour: Colour) -> Self {
        let term = Term::stdout();
        let is_terminal = term.is_term();
        let variable = |name| std::env::var_os(name);
        let is_refused = variable("NO_COLOR").is_some_and(|value| !value.is_empty())
            || variable("TERM").is_some_and(|value| value == "dumb");
        let colour = match colour {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => is_terminal && !is_refused,
        };
        Self { term, is_terminal, colour }
    }

    /// Writes an error on standard error.
    pub(in crate::cli) fn error(text: &str) {
        let term = Term::stderr();
        let width =
            term.is_term().then(|| term.size_checked().map_or(80, |(_, columns)| usize::from(columns)));
        let mut out = io::stderr().lock();
        for row in super::error::lines(text, width).iter().flat_map(|line| line.rows(width, false)) {
            let _ = writeln!(out, "{row}");
        }
    }

    /// Whether it is a terminal, on which lines can be written anew.
    pub(in crate::cli) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    pub(in crate::cli) fn term(&self) -> &Term {
        &self.term
    }

    /// The width of the terminal. `None` for a file.
    pub(in crate::cli) fn width(&self) -> Option<usize> {
        let width = || self.term.size_checked().map_or(80, |(_, columns)| usize::from(columns));
        self.is_terminal.then(width).filter(|width| *width > 0)
    }

    /// The number of rows of the terminal.
    pub(in crate::cli) fn height(&self) -> usize {
        self.term.size_checked().map_or(24, |(rows, _)| usize::from(rows))
    }

    /// A line as it is written.
    pub(in crate::cli) fn rows(&self, line: &Line) -> Vec<String> {
        line.rows(self.width(), self.colour)
    }

    /// Writes lines.
    pub(in crate::cli) fn write(&self, lines: &[Line]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        for row in lines.iter().flat_map(|line| self.rows(line)) {
            writeln!(out, "{row}")?;
        }
        out.flush()
    }
}
