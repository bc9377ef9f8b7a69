//! What a scenario prints.

use std::fmt::Display;
use std::time::Instant;

/// What a scenario prints: line by line, or at its end when others print too.
#[derive(Debug)]
pub(crate) struct Transcript {
    is_live: bool,
    kept: String,
}

impl Transcript {
    pub(crate) fn new(is_live: bool) -> Self {
        Self { is_live, kept: String::new() }
    }

    pub(crate) fn line(&mut self, line: impl Display) {
        if self.is_live {
            println!("{line}");
        } else {
            self.kept.push_str(&format!("{line}\n"));
        }
    }

    /// What happened so long after a time.
    pub(crate) fn event(&mut self, since: Instant, phase: &str, message: &str) {
        let seconds = since.elapsed().as_secs_f64();
        self.line(format!("  {seconds:5.1} s  {phase:<14} {message}"));
    }
}

impl Drop for Transcript {
    fn drop(&mut self) {
        print!("{}", self.kept);
    }
}
