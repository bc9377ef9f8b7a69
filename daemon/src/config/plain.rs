//! What an operator can do about a configuration that cannot be read, and the types of TOML in plain words.

use std::io::{self, ErrorKind};
use std::path::Path;

/// Types as serde names them, and what an operator writes.
const TYPES: [(&str, &str); 12] = [
    ("f64", "a number, as in 1.5"),
    ("u8", "a whole number, as in 10"),
    ("u16", "a whole number, as in 10"),
    ("u32", "a whole number, as in 10"),
    ("u64", "a whole number, as in 10"),
    ("usize", "a whole number, as in 10"),
    ("i64", "a whole number, as in 10"),
    ("a nonzero u8", "a whole number from 1 to 255, as in 10"),
    ("a boolean", "true or false"),
    ("a string", "a text in quotes, as in \"shop\""),
    ("a sequence", "a list, as in [\"/bin/true\"]"),
    ("a map", "a table, as in { name = \"value\" }"),
];

/// The next step after a file that cannot be read.
pub(super) fn unreadable(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    match error.kind() {
        ErrorKind::NotFound => {
            "name the file with --config FILE or CUTOVER_CONFIG, or write it: host/cutover.toml is an example"
                .to_owned()
        }
        ErrorKind::PermissionDenied => format!(
            "as root, let the daemon's user read it: chgrp cutover {path} && chmod 0640 {path}, and let it enter each folder above"
        ),
        ErrorKind::IsADirectory => format!("name the file in it, as in {path}/cutover.toml"),
        _ => format!("look at the file: file {path}"),
    }
}

/// A message of the parser with the types of its end in plain words.
pub(super) fn types(message: &str) -> String {
    let lines = message.split('\n').map(|line| {
        let Some((before, expected)) = line.rsplit_once(", expected ") else { return line.to_owned() };
        let plain = TYPES.iter().find(|(name, _)| *name == expected);
        let is_table = expected.starts_with("struct ");
        match plain.map(|(_, plain)| *plain).or(is_table.then_some("a table, as in [group.shop]")) {
            Some(plain) => format!("{before}, expected {plain}"),
            None => line.to_owned(),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::{Config, ConfigError, Loaded};
    use super::*;

    fn said(group: &str) -> String {
        let text = format!("[edge.nginx]\nadmin = \"unix:/a\"\n{group}");
        let source = Config::parse(&text).unwrap_err();
        ConfigError::Parse { path: PathBuf::from("/c"), source }.to_string()
    }

    #[test]
    fn types_are_plain_words_with_an_example() {
        for (group, expected) in [
            ("[group.shop.soak]\ntolerance = \"2\"\n", "expected a number, as in 1.5"),
            ("[group.shop.soak]\nmin_requests = \"50\"\n", "expected a whole number, as in 10"),
            ("[group.shop.trial]\nrescue = \"yes\"\n", "expected true or false"),
            ("[group.shop.provision]\ncommand = \"/bin/true\"\n", "expected a list, as in [\"/bin/true\"]"),
            ("[group]\nshop = 1\n", "expected a table, as in [group.shop]"),
        ] {
            let said = said(group);
            assert!(said.contains(expected) && said.contains("line 4"), "{group}: {said}");
            assert!(!said.contains("f64") && !said.contains("u32"), "{said}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_has_a_next_step() {
        let missing = Loaded::read(Path::new("/no/such/file")).unwrap_err().to_string();
        assert!(missing.contains("--config FILE") && missing.contains("host/cutover.toml"), "{missing}");
        let denied = unreadable(Path::new("/c"), &ErrorKind::PermissionDenied.into());
        assert!(denied.contains("chgrp cutover /c && chmod 0640 /c"), "{denied}");
        let folder = Loaded::read(Path::new("/")).unwrap_err().to_string();
        assert!(folder.contains("name the file in it"), "{folder}");
    }
}
