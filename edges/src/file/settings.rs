//! What the edge is told: the programs, the files, and the groups with the servers of their slots.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::http::Address;

/// The settings of the edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Tests the configuration: a program and its arguments.
    pub test: Vec<String>,
    /// Reloads nginx: a program and its arguments.
    pub reload: Vec<String>,
    /// The file with the process id of nginx's master.
    pub pid: PathBuf,
    /// The access log that is counted. `None`: nothing is counted.
    pub log: Option<PathBuf>,
    /// Whether a share of the traffic is given by `weight=`.
    pub weighs: bool,
    /// How long the test, the reload and the start of new workers may take, each.
    pub timeout: Duration,
    /// The groups.
    pub groups: Vec<FileGroup>,
}

/// A group and its upstream file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileGroup {
    /// Its name.
    pub name: String,
    /// The file that contains its block.
    pub file: PathBuf,
    /// The name of the block.
    pub upstream: String,
    /// Its slots, in the order of the file. At least two.
    pub slots: Vec<FileSlot>,
}

/// A slot and its servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSlot {
    /// Its name.
    pub name: String,
    /// Its servers. At least one.
    pub servers: Vec<Server>,
}

/// A server: what stands between `server` and `;`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    words: Vec<String>,
}

impl Server {
    /// Parses an address and nginx's parameters after it, as in `10.0.0.1:3000 max_fails=3`. The error quotes the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let words: Vec<String> = text.split_ascii_whitespace().map(str::to_owned).collect();
        let server = Self { words };
        let address = server.address();
        Address::of_peer(address).map_err(|_| {
            format!(
                "\"{text}\" is not a server: it begins with IP:PORT or unix:PATH, as in \"127.0.0.1:3000\""
            )
        })?;
        let is_plain = |char: char| {
            char.is_ascii_graphic() && !matches!(char, ';' | '{' | '}' | '"' | '\'' | '#' | '\\' | '$')
        };
        if !server.words.iter().all(|word| word.chars().all(is_plain)) {
            return Err(format!(
                "\"{text}\" is not a server: it has a character that nginx would need quotes for"
            ));
        }
        match server
            .words
            .iter()
            .skip(1)
            .find(|word| word.starts_with("weight=") || *word == "down" || *word == "backup")
        {
            Some(word) => Err(format!(
                "\"{text}\": \"{word}\" is not possible, because all servers of a slot are used alike"
            )),
            None => Ok(server),
        }
    }

    /// Its address, as in `127.0.0.1:3000`.
    pub fn address(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// Whether a directive `server ..` with these words is this server.
    pub(super) fn is(&self, words: &[String]) -> bool {
        self.words == words
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words.join(" "))
    }
}

impl FileGroup {
    /// The position of a slot.
    pub(super) fn position(&self, slot: &str) -> Option<usize> {
        self.slots.iter().position(|one| one.name == slot)
    }

    /// The slot of an address.
    pub(super) fn slot_of(&self, address: &str) -> Option<usize> {
        self.slots.iter().position(|slot| slot.servers.iter().any(|server| server.address() == address))
    }

    /// The file itself, if the configured path is a symbolic link.
    pub(super) fn real_file(&self) -> PathBuf {
        std::fs::canonicalize(&self.file).unwrap_or_else(|_| self.file.clone())
    }

    /// The name of the file of the group with this ending, beside the file. `include *.conf` and `include *` leave it out, because
    /// it begins with a dot.
    pub(super) fn beside(&self, ending: &str) -> PathBuf {
        let file = self.real_file();
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        file.parent().unwrap_or(Path::new("/")).join(format!(".{name}.{}.cutover-{ending}", self.upstream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers() {
        let server = Server::parse(" 10.0.0.1:3000   max_fails=3 ").unwrap();
        assert_eq!(
            (server.address(), server.to_string().as_str()),
            ("10.0.0.1:3000", "10.0.0.1:3000 max_fails=3")
        );
        assert!(Server::parse("unix:/run/app.sock").is_ok() && Server::parse("[::1]:3000").is_ok());
        for (text, why) in [
            ("app:3000", "begins with IP:PORT or unix:PATH"),
            ("10.0.0.1", "begins with IP:PORT or unix:PATH"),
            ("", "\"\" is not a server"),
            ("10.0.0.1:1;", "begins with IP:PORT"),
            ("10.0.0.1:1 max_fails=1;", "nginx would need quotes for"),
            ("10.0.0.1:1 weight=2", "\"weight=2\" is not possible"),
            ("10.0.0.1:1 backup", "\"backup\" is not possible"),
        ] {
            let error = Server::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
