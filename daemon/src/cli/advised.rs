//! The commands that messages advise can be typed: each is found in the sources of the messages and parsed as a command line.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;

/// The crates whose messages reach an operator.
const CRATES: [&str; 5] = ["core", "database", "engine", "edges", "daemon"];
/// What is before a command that a message advises.
const LEADS: [&str; 6] = [": ", "by ", "type ", "run ", "see ", "then "];
/// Names of commands and beginnings of texts, which nobody is told to type.
const NOT_ADVICE: [&str; 4] =
    ["cutover database", "cutover dial-stdio 1", "cutover run ", "cutover check cannot become"];
/// The fewest commands that there must be, so that a change of the search does not find none.
const FEWEST: usize = 60;

/// The files of a crate, other than those of tests.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        match path.is_dir() {
            true if name != "tests" && name != "scripted" => sources(&path, found),
            false if name.ends_with(".rs") && name != "tests.rs" && name != "advised.rs" => found.push(path),
            _ => {}
        }
    }
}

/// The texts of the literals in a source, up to its tests, without comments.
fn literals(source: &str) -> Vec<String> {
    let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let code: String = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{line}\n"))
        .collect();
    let (mut found, mut characters) = (Vec::new(), code.chars().peekable());
    while let Some(c) = characters.next() {
        match c {
            '\'' => {
                // A character, as '"', and not a lifetime.
                let ahead: String = characters.clone().take(3).collect();
                let length = if ahead.starts_with('\\') { 3 } else { 2 };
                if ahead.chars().nth(length - 1) == Some('\'') {
                    characters.nth(length - 1);
                }
            }
            '"' => {
                let mut text = String::new();
                while let Some(c) = characters.next().filter(|c| *c != '"') {
                    match (c, characters.peek()) {
                        ('\\', Some('\n')) => while characters.next_if(|c| c.is_whitespace()).is_some() {},
                        ('\\', _) => text.extend(characters.next()),
                        _ => text.push(c),
                    }
                }
                found.push(text);
            }
            _ => {}
        }
    }
    found
}

/// The commands in a text: `cutover`, a verb, and the rest of the clause.
fn commands(text: &str) -> Vec<&str> {
    let begins = |at: usize| {
        let (before, after) = text.split_at(at);
        let is_led = before.is_empty() || LEADS.iter().any(|lead| before.ends_with(lead));
        let verb = after.split([' ', ';', ',']).nth(1).unwrap_or_default();
        is_led && Verb::is_name(verb)
    };
    let starts = text.match_indices("cutover ").map(|(at, _)| at).filter(|at| begins(*at));
    let ends = |rest: &'static [&'static str], text: &str| {
        rest.iter().filter_map(|end| text.find(end)).min().unwrap_or(text.len())
    };
    starts
        .map(|at| {
            let rest = &text[at..];
            rest[..ends(&["; ", ", ", ": ", ")", "\n", "?", " or cutover", " with ", " to ", " and "], rest)]
                .trim_end()
        })
        .collect()
}

/// The words of a command, with something in each place that the message fills in. A place that another one precedes without a
/// blank is for options, which may be missing.
fn typed(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    for word in command.split(' ') {
        let mut filled = String::new();
        let mut rest = word;
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            let (place, after) = after.split_once('}').unwrap();
            if filled.is_empty() {
                filled.push_str(match (place, words.len()) {
                    ("number", _) => "1",
                    // cutover run GROUP COMMAND
                    (_, 3) if words[1] == "run" => "revert",
                    _ => "shop",
                });
            }
            rest = after;
        }
        filled.push_str(rest);
        words.push(filled);
    }
    if words.get(1).is_some_and(|verb| verb == "database")
        && words.get(2).is_some_and(|verb| verb == "settle")
    {
        // The operator looks at the database and says which.
        words.push("--applied".to_owned());
    }
    words
}

#[test]
fn every_command_that_a_message_advises_can_be_typed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let (mut files, mut found, mut wrong) = (Vec::new(), 0, Vec::new());
    for name in CRATES {
        sources(&root.join(name).join("src"), &mut files);
    }
    for file in files {
        for literal in literals(&fs::read_to_string(&file).unwrap()) {
            if NOT_ADVICE.iter().any(|text| literal == *text || literal.starts_with(&format!("{text} the ")))
            {
                continue;
            }
            for command in commands(&literal) {
                found += 1;
                let words = typed(command);
                if let Err(error) = Arguments::try_parse_from(&words) {
                    let first = error.to_string().lines().next().unwrap_or_default().to_owned();
                    wrong.push(format!("{}: {command}: {words:?}: {first}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(found >= FEWEST, "{found}");
}

#[test]
fn what_cannot_be_typed_is_found() {
    let source = "g('\"', \"no; next, type: cutover rol \\\n    shop\"); h(\"see: cutover status {}; or: cutover roll\", x)\n\
                  // \"see: cutover nothing\"\n";
    let found: Vec<String> = literals(source);
    assert_eq!(found, ["no; next, type: cutover rol shop", "see: cutover status {}; or: cutover roll"]);
    assert_eq!(commands(&found[1]), ["cutover status {}"], "no verb has the other name");
    let bad = commands("to stop it: cutover abort {group} --now; more");
    assert_eq!(bad, ["cutover abort {group} --now"]);
    assert!(Arguments::try_parse_from(typed(bad[0])).is_err());
    assert_eq!(typed("cutover deploy {}{version}{to}"), ["cutover", "deploy", "shop"]);
    assert_eq!(typed("cutover run {} {command}"), ["cutover", "run", "shop", "revert"]);
}
