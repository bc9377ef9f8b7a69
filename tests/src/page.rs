//! A page of the documentation, whose examples a test runs in their order.
//!
//! ```text
//! Page      a page or a section, with the names of a real host replaced
//! Block     what stands between "```sh" and "```"
//! Shell     runs blocks, with functions in place of the installed programs
//! resembles compares what a command has printed with what the page shows
//! ```

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::flavour::root;

/// A page, or a section of it.
#[derive(Clone, Debug)]
pub struct Page {
    name: String,
    text: String,
}

/// An example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its language, as in `sh`; empty if it has none.
    pub language: String,
    /// Its lines, without the indentation of the list that it stands in.
    pub text: String,
}

impl Page {
    /// Reads a page, as in `docs/several-hosts.md`.
    pub fn read(name: &str) -> Result<Self> {
        let text = std::fs::read_to_string(root().join(name));
        Ok(Self { name: name.to_owned(), text: text.with_context(|| format!("failed to read {name}"))? })
    }

    /// A text that is not a whole page, such as an example that a test changes.
    pub fn of(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), text: text.to_owned() }
    }

    /// The section below a heading of the second level whose text begins so.
    pub fn section(&self, heading: &str) -> Result<Self> {
        let section = self.text.split("\n## ").skip(1).find(|section| section.starts_with(heading));
        let text = section.with_context(|| format!("{} has no section {heading:?}", self.name))?;
        Ok(Self { name: format!("{}, {heading:?}", self.name), text: text.to_owned() })
    }

    /// The page with another word for a name of a real host. Fails if the page does not have it.
    pub fn with(mut self, name: &str, here: impl AsRef<str>) -> Result<Self> {
        ensure!(self.text.contains(name), "{} no longer has {name:?}: adapt the test", self.name);
        self.text = self.text.replace(name, here.as_ref());
        Ok(self)
    }

    /// Its name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The examples, in order.
    pub fn blocks(&self) -> Result<Vec<Block>> {
        let mut blocks = Vec::new();
        let mut lines = self.text.lines();
        while let Some(line) = lines.next() {
            let Some((indentation, language)) =
                line.split_once("```").filter(|(before, _)| before.trim().is_empty())
            else {
                continue;
            };
            let mut text = String::new();
            loop {
                let line =
                    lines.next().with_context(|| format!("{} has an example without an end", self.name))?;
                let line = line.strip_prefix(indentation).unwrap_or(line);
                if line == "```" {
                    break;
                }
                text.push_str(line);
                text.push('\n');
            }
            blocks.push(Block { language: language.to_owned(), text });
        }
        Ok(blocks)
    }

    /// The examples of one language, in order. Fails if there are not so many.
    pub fn blocks_of<const N: usize>(&self, language: &str) -> Result<[String; N]> {
        let blocks = self.blocks()?.into_iter().filter(|block| block.language == language);
        let texts: Vec<String> = blocks.map(|block| block.text).collect();
        let have = texts.len();
        let texts = texts.try_into().ok();
        texts.with_context(|| {
            format!("{} has {have} blocks of {language:?}, not {N}: adapt the test", self.name)
        })
    }
}

impl Block {
    /// The commands of an example of a terminal, each with what it prints: a command stands after `$ `.
    pub fn session(&self) -> Vec<(String, String)> {
        let mut session = Vec::<(String, String)>::new();
        for line in self.text.lines() {
            match (line.strip_prefix("$ "), session.last_mut()) {
                (Some(command), _) => session.push((command.to_owned(), String::new())),
                (None, Some((_, printed))) => {
                    printed.push_str(line);
                    printed.push('\n');
                }
                (None, None) => {}
            }
        }
        session
    }
}

/// Runs examples with bash on one host.
#[derive(Clone, Debug)]
pub struct Shell {
    /// The folder in which they run.
    pub folder: PathBuf,
    /// Functions in place of the programs that are installed on a real host.
    pub functions: String,
    /// The words before the command that runs it on this host; see [`network::Host::through`](crate::network::Host::through).
    pub through: Vec<String>,
}

impl Shell {
    /// A shell in this folder of the test's own host.
    pub fn new(folder: &Path, functions: String) -> Self {
        Self { folder: folder.to_owned(), functions, through: Vec::new() }
    }

    /// Runs an example. Returns what it prints. Fails with all output if it fails.
    pub fn run(&self, script: &str) -> Result<String> {
        let (code, said) = self.try_run(script)?;
        ensure!(code == 0, "{script}\nended with {code}:\n{said}");
        Ok(said)
    }

    /// Runs an example that may fail. Returns its exit code and what it prints, on both outputs.
    pub fn try_run(&self, script: &str) -> Result<(i32, String)> {
        let script = format!("exec 2>&1\n{}\n{script}", self.functions);
        let mut words = self.through.iter().map(String::as_str).chain(["bash", "-euo", "pipefail", "-c"]);
        let first = words.next().unwrap_or("bash");
        let mut command = Command::new(first);
        command.args(words).arg(script).current_dir(&self.folder).stdin(std::process::Stdio::null());
        let output = command.output().with_context(|| format!("failed to run {first}"))?;
        let code = output.status.code().unwrap_or(-1);
        Ok((code, String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    /// Runs an example of a terminal, and compares what each command prints with the page.
    pub fn session(&self, block: &Block) -> Result<()> {
        let session = block.session();
        ensure!(!session.is_empty(), "no command in {:?}", block.text);
        for (command, shown) in session {
            let (_, printed) = self.try_run(&command)?;
            if !resembles(&printed, &shown) {
                bail!("{command}\nprinted:\n{printed}\nthe page shows:\n{shown}");
            }
        }
        Ok(())
    }
}

/// Whether the output is as the page shows it. `..` stands for any text in its line, and for any lines in a line of its own. What
/// differs from run to run is not compared: points in time, numbers before a unit of time or `in flight`, numbers with six digits
/// or more, and the width of columns.
pub fn resembles(printed: &str, shown: &str) -> bool {
    let lines = |text: &str| text.trim_end().lines().map(alike).collect::<Vec<_>>();
    are_lines(&lines(printed), &lines(shown))
}

fn are_lines(printed: &[String], shown: &[String]) -> bool {
    match (printed, shown) {
        ([], []) => true,
        (_, [any, shown @ ..]) if any == ".." => {
            (0..=printed.len()).any(|skip| printed.get(skip..).is_some_and(|rest| are_lines(rest, shown)))
        }
        ([one, printed @ ..], [other, shown @ ..]) => is_line(one, other) && are_lines(printed, shown),
        _ => false,
    }
}

fn is_line(printed: &str, shown: &str) -> bool {
    let mut parts = shown.split("..");
    let Some(rest) = parts.next().and_then(|first| printed.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    let mut rest = rest;
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

/// A line without what differs from run to run.
fn alike(line: &str) -> String {
    let words = line.split_whitespace().map(|word| {
        let is_point = word.contains('T') && word.get(..5).is_some_and(|year| year.ends_with('-'));
        let form: String = word.chars().map(|char| if char.is_ascii_digit() { '#' } else { char }).collect();
        let is_clock = ["##:##:##", "##:##", "####-##-##"].contains(&form.as_str());
        if is_clock || (is_point && word.starts_with(|char: char| char.is_ascii_digit())) {
            "TIME".to_owned()
        } else {
            of_word(word)
        }
    });
    let words: Vec<String> = words.collect();
    let is_unit = |word: Option<&String>| {
        word.is_some_and(|word| matches!(word.trim_end_matches([':', ';', ',']), "s" | "ms" | "us"))
    };
    let alike = words.iter().enumerate().map(|(at, word)| {
        let is_number = word.starts_with(|char: char| char.is_ascii_digit());
        let next = words.get(at + 1);
        let is_in_flight =
            next.is_some_and(|word| word == "in") && words.get(at + 2).is_some_and(|word| word == "flight");
        if is_number && (is_in_flight || is_unit(next)) { "N" } else { word }
    });
    alike.collect::<Vec<_>>().join(" ")
}

/// A word without its long numbers.
fn of_word(word: &str) -> String {
    let mut alike = String::new();
    let mut rest = word;
    while let Some(begin) = rest.find(|char: char| char.is_ascii_digit()) {
        let (before, from) = rest.split_at(begin);
        let end = from.find(|char: char| !char.is_ascii_digit()).unwrap_or(from.len());
        let (number, after) = from.split_at(end);
        alike.push_str(before);
        alike.push_str(if number.len() >= 6 { "N" } else { number });
        rest = after;
    }
    alike + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_found_in_lists_and_sections() {
        let page = Page::of(
            "page.md",
            "# A\n\n## One\n\n1. Do:\n\n   ```sh\n   a \\\n       b\n   ```\n\n## Two\n\n```toml\nkey = 1\n```\n",
        );
        let [sh] = page.section("One").unwrap().blocks_of("sh").unwrap();
        assert_eq!(sh, "a \\\n    b\n");
        let blocks = page.blocks().unwrap();
        assert_eq!(blocks.len(), 2);
        assert_eq!(blocks[1], Block { language: "toml".to_owned(), text: "key = 1\n".to_owned() });
        assert!(page.section("Two").unwrap().blocks_of::<1>("sh").is_err());
        assert!(page.section("Three").is_err());
        assert!(page.with("nothing", "something").unwrap_err().to_string().contains("adapt the test"));
    }

    #[test]
    fn what_differs_from_run_to_run_is_not_compared() {
        for (printed, shown, same) in [
            ("all is well", "all is well", true),
            ("all is well", "all is", false),
            ("\"lyon\" unreachable for 3 s: refused", "\"lyon\" unreachable for 40 s: ..", true),
            ("2 of 3 on \"green\"", "3 of 3 on \"green\"", false),
            ("shop-20261130-073012 is warm", "shop-20260504-091229 is warm", true),
            ("generation 4", "generation 5", false),
            ("a b c d", "a .. c ..", true),
            ("a b c d", "a .. c", false),
            ("a\nb", "a", false),
            ("a\nb\nc\nd", "a\n..\nd", true),
            ("a\nb\nc", "a\n..\nd", false),
            ("blue  12 in flight  a", "blue  0 in flight  a", true),
            ("12 in the queue", "0 in the queue", false),
            ("  10.1 s  probing", "   0.1 s  probing", true),
            ("until 2026-11-30T08:43:56.286Z", "until 2026-05-04T10:12:31.125Z", true),
        ] {
            assert_eq!(resembles(printed, shown), same, "{printed:?} {shown:?}");
        }
    }

    #[test]
    fn a_session_has_commands_and_their_output() {
        let block = Block {
            language: "console".to_owned(),
            text: "$ echo a; false\na\n$ echo 12 s\n9 s\n".to_owned(),
        };
        assert_eq!(block.session()[0], ("echo a; false".to_owned(), "a\n".to_owned()));
        let shell = Shell::new(Path::new("/"), String::new());
        shell.session(&block).unwrap();
        let wrong = Block { language: String::new(), text: "$ echo a\nb\n".to_owned() };
        assert!(shell.session(&wrong).unwrap_err().to_string().contains("the page shows"));
    }
}
