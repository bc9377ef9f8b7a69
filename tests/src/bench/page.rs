//! The page with the figures: a section for each part. A part that is not measured keeps its section.

use std::fmt::{self, Write as _};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::machine;
use crate::table::Table;

const HEAD: &str = "\
# Benchmarks

What a group costs, and how fast and how clean a switch is: measured by `scripts/bench`, which writes this page. Absolute
figures belong to the machine; what is meant to be compared was measured in one run, in turn, on the same cores. A median
is of all values, p99 is the value that 99 of 100 do not exceed.
";

/// Columns of a line of text.
const WIDTH: usize = 120;

/// The page.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    sections: Vec<(&'static str, Option<String>)>,
}

impl Page {
    /// Reads the sections with these titles; the page is empty if there is no file.
    pub(crate) fn read(path: &Path, titles: impl IntoIterator<Item = &'static str>) -> Result<Self> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            other => other.with_context(|| format!("failed to read {}", path.display()))?,
        };
        let find = |title: &'static str| {
            let mut sections = text.split("\n## ").skip(1);
            let body = sections.find_map(|section| section.strip_prefix(title)?.strip_prefix("\n\n"));
            (title, body.map(|body| body.trim_end().to_owned() + "\n"))
        };
        Ok(Self { sections: titles.into_iter().map(find).collect() })
    }

    /// Replaces a section.
    pub(crate) fn put(&mut self, title: &str, section: &Section) {
        for (_, body) in self.sections.iter_mut().filter(|(known, _)| *known == title) {
            *body = Some(section.to_string());
        }
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, self.to_string()).with_context(|| format!("failed to write {}", path.display()))
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEAD)?;
        for (title, body) in &self.sections {
            if let Some(body) = body {
                write!(f, "\n## {title}\n\n{body}")?;
            }
        }
        Ok(())
    }
}

/// The figures of one part, and its method.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    blocks: Vec<String>,
}

impl Section {
    /// A section that begins with the method.
    pub(crate) fn new(method: &str) -> Self {
        Self { blocks: vec![wrap(method)] }
    }

    pub(crate) fn paragraph(&mut self, text: &str) {
        self.blocks.push(wrap(text));
    }

    pub(crate) fn table<const N: usize>(&mut self, table: &Table<N>) {
        self.blocks.push(table.to_string());
    }

    /// Ends the section with the date, the programs and the machine.
    pub(crate) fn measured_with(mut self, programs: &str) -> Result<Self> {
        let line = format!("Measured on {} with {programs} on {}.", machine::date()?, machine::description());
        self.blocks.push(wrap(&line));
        Ok(self)
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.blocks.join("\n"))
    }
}

fn wrap(text: &str) -> String {
    let mut wrapped = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        let separator = match column {
            0 => "",
            _ if column + 1 + length > WIDTH => "\n",
            _ => " ",
        };
        column = if separator == " " { column + 1 + length } else { length };
        let _ = write!(wrapped, "{separator}{word}");
    }
    wrapped + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_section_is_replaced_and_the_others_stay() {
        let folder = cutover_tests::temp::TempDir::new().unwrap();
        let path = folder.path().join("page.md");
        let mut page = Page::read(&path, ["A", "B"]).unwrap();
        page.put("B", &Section::new("first"));
        page.put("A", &Section::new("other"));
        page.write(&path).unwrap();

        let mut page = Page::read(&path, ["A", "B"]).unwrap();
        page.put("B", &Section::new("second"));
        let text = page.to_string();
        assert!(text.ends_with("\n## A\n\nother\n\n## B\n\nsecond\n"), "{text}");
    }

    #[test]
    fn lines_end_at_the_width() {
        let text = wrap(&"word ".repeat(60));
        assert!(text.lines().all(|line| line.len() <= WIDTH && !line.ends_with(' ')));
        assert_eq!(text.split_whitespace().count(), 60);
    }
}
