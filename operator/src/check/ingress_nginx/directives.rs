//! nginx's configuration as words: enough to find a directive, and where it stands.

use std::ops::Range;

/// A directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directive {
    /// Its name and parameters, without quotes.
    pub(super) words: Vec<String>,
    /// What is inside of its braces.
    pub(super) block: Vec<Directive>,
    /// Where it stands in the text, to its end.
    pub(super) place: Range<usize>,
}

impl Directive {
    /// Its name.
    pub(super) fn name(&self) -> &str {
        self.words.first().map(String::as_str).unwrap_or_default()
    }

    /// A parameter, from 0.
    pub(super) fn parameter(&self, at: usize) -> Option<&str> {
        self.words.get(at + 1).map(String::as_str)
    }
}

/// The directives with a name, at any depth.
pub(super) fn named<'a>(all: &'a [Directive], name: &str) -> Vec<&'a Directive> {
    let mut found = Vec::new();
    for one in all {
        if one.name() == name {
            found.push(one);
        }
        found.extend(named(&one.block, name));
    }
    found
}

enum Token {
    Word(String),
    Open,
    Close,
    End,
}

/// Reads a snippet. The error completes "it ..".
pub(super) fn read(text: &str) -> Result<Vec<Directive>, String> {
    let mut tokens = tokens(text)?.into_iter();
    block(&mut tokens, text, 0)
}

fn block(
    tokens: &mut impl Iterator<Item = (Token, Range<usize>)>,
    text: &str,
    depth: usize,
) -> Result<Vec<Directive>, String> {
    let mut all = Vec::new();
    let (mut words, mut from): (Vec<String>, usize) = (Vec::new(), 0);
    while let Some((token, place)) = tokens.next() {
        if words.is_empty() {
            from = place.start;
        }
        match token {
            Token::Word(word) => words.push(word),
            Token::End => {
                all.push(Directive {
                    words: std::mem::take(&mut words),
                    block: Vec::new(),
                    place: from..place.end,
                });
            }
            Token::Open => {
                let block = block(tokens, text, depth + 1)?;
                let to = block.last().map_or(place.end, |last| last.place.end);
                let to = text.get(to..).and_then(|rest| rest.find('}')).map_or(to, |at| to + at + 1);
                all.push(Directive { words: std::mem::take(&mut words), block, place: from..to });
            }
            Token::Close if depth > 0 && words.is_empty() => return Ok(all),
            Token::Close => {
                return Err(format!(
                    "has a \"}}\" too much, or no \";\" before it, in line {}",
                    line(text, place.start)
                ));
            }
        }
    }
    match (depth, words.first()) {
        (0, None) => Ok(all),
        (0, Some(word)) => Err(format!("has no \";\" after \"{word}\" in line {}", line(text, from))),
        _ => Err("has a \"{\" without its \"}\"".to_owned()),
    }
}

fn line(text: &str, at: usize) -> usize {
    text.get(..at).map_or(1, |before| before.matches('\n').count() + 1)
}

fn tokens(text: &str) -> Result<Vec<(Token, Range<usize>)>, String> {
    let mut all = Vec::new();
    let mut chars = text.char_indices().peekable();
    while let Some((from, c)) = chars.next() {
        let token = match c {
            ';' => Token::End,
            '{' => Token::Open,
            '}' => Token::Close,
            '#' => {
                while chars.next_if(|(_, c)| *c != '\n').is_some() {}
                continue;
            }
            '"' | '\'' => Token::Word(
                in_quotes(&mut chars, c)
                    .ok_or_else(|| format!("has a {c} without its end, in line {}", line(text, from)))?,
            ),
            c if c.is_whitespace() => continue,
            c => {
                let mut word = c.to_string();
                // As in `${name}`.
                while let Some((_, next)) = chars.next_if(|(_, next)| {
                    !next.is_whitespace()
                        && *next != ';'
                        && (*next != '{' || word.ends_with('$'))
                        && *next != '}'
                        || (*next == '}' && word.contains("${"))
                }) {
                    word.push(next);
                }
                Token::Word(word)
            }
        };
        let to = chars.peek().map_or(text.len(), |(at, _)| *at);
        all.push((token, from..to));
    }
    Ok(all)
}

fn in_quotes(chars: &mut impl Iterator<Item = (usize, char)>, quote: char) -> Option<String> {
    let mut word = String::new();
    while let Some((_, c)) = chars.next() {
        match c {
            '\\' => word.push(chars.next()?.1),
            c if c == quote => return Some(word),
            c => word.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_with_their_words_and_places() {
        let text = "# a { comment\ncutover shop {\n  backend a-b-80;\n  slot 'blue' b; # }\n}\nset $x \"${y}; z\";\n";
        let all = read(text).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].name(), all[0].parameter(0)), ("cutover", Some("shop")));
        assert_eq!(all[0].block[1].words, ["slot", "blue", "b"]);
        assert!(
            text[all[0].place.clone()].starts_with("cutover shop {")
                && text[all[0].place.clone()].ends_with('}')
        );
        assert_eq!(all[1].words, ["set", "$x", "${y}; z"]);
        assert_eq!(named(&all, "backend").len(), 1);
    }

    #[test]
    fn what_nginx_would_not_read() {
        for (text, why) in [
            ("a {\n", "has a \"{\" without its \"}\""),
            ("a;\n}\n", "has a \"}\" too much, or no \";\" before it, in line 2"),
            ("a;\nb c", "has no \";\" after \"b\" in line 2"),
            ("a 'b;", "has a ' without its end, in line 1"),
        ] {
            assert_eq!(read(text).unwrap_err(), why);
        }
    }
}
