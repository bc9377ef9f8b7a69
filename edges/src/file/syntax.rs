//! nginx's configuration as lines: enough of its grammar to find one block, and the lines of its directives.

/// The kind of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A word, without its quotes.
    Word(String),
    /// `{`
    Open,
    /// `}`
    Close,
    /// `;`
    End,
    /// `#` to the end of its line.
    Comment,
}

/// A token and its lines, from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) first: usize,
    pub(super) last: usize,
}

/// Splits a configuration into tokens, as nginx's `ngx_conf_read_token` does.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut chars = text.chars().peekable();
    let mut line = 0;
    while let Some(char) = chars.next() {
        let first = line;
        let kind = match char {
            '\n' => {
                line += 1;
                continue;
            }
            char if char.is_ascii_whitespace() => continue,
            '{' => Kind::Open,
            '}' => Kind::Close,
            ';' => Kind::End,
            '#' => {
                while chars.next_if(|char| *char != '\n').is_some() {}
                Kind::Comment
            }
            quote @ ('"' | '\'') => {
                let mut word = String::new();
                while let Some(char) = chars.next().filter(|char| *char != quote) {
                    let char = if char == '\\' { chars.next().unwrap_or(char) } else { char };
                    line += usize::from(char == '\n');
                    word.push(char);
                }
                Kind::Word(word)
            }
            char => {
                let mut word = String::from(char);
                loop {
                    // `${name}` is part of a word.
                    let is_variable = word.ends_with('$');
                    let goes_on = |char: &char| {
                        !char.is_ascii_whitespace() && *char != ';' && (*char != '{' || is_variable)
                    };
                    let Some(char) = chars.next_if(goes_on) else { break };
                    word.push(char);
                    if char == '\\' {
                        word.extend(chars.next_if(|char| *char != '\n'));
                    }
                }
                Kind::Word(word)
            }
        };
        found.push(Token { kind, first, last: line });
    }
    found
}

/// The lines of a block, from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// The line of `upstream NAME {`.
    pub(super) open: usize,
    /// The line of `}`.
    pub(super) close: usize,
    /// The directives in it, each with its words.
    pub(super) directives: Vec<Directive>,
}

/// A directive of the block itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directive {
    pub(super) words: Vec<String>,
    pub(super) first: usize,
    pub(super) last: usize,
    /// Whether nothing else is on its lines.
    pub(super) is_alone: bool,
}

/// Finds `upstream NAME { .. }`. The error is a clause that begins with a line or with the block.
pub(super) fn upstream(text: &str, name: &str) -> Result<Block, String> {
    let tokens = tokens(text);
    let is_word = |token: Option<&Token>, word: &str| {
        token.is_some_and(|token| matches!(&token.kind, Kind::Word(its) if its == word))
    };
    let opens = |at: &usize| {
        is_word(tokens.get(*at), "upstream")
            && is_word(tokens.get(*at + 1), name)
            && tokens.get(*at + 2).is_some_and(|token| token.kind == Kind::Open)
    };
    let mut found = (0..tokens.len()).filter(opens);
    let Some(at) = found.next() else { return Err(format!("it has no block \"upstream {name} {{ .. }}\"")) };
    let line_of = |at: usize| tokens.get(at).map_or(0, |token| token.first);
    if let Some(second) = found.next() {
        return Err(format!("line {} begins a second block \"upstream {name}\"", line_of(second) + 1));
    }
    let open = line_of(at);
    if tokens.get(at + 1..at + 3).is_none_or(|header| header.iter().any(|token| token.first != open)) {
        return Err(format!("line {}: \"upstream {name} {{\" must be on one line", open + 1));
    }
    directives(&tokens, at + 3, open)
}

fn directives(tokens: &[Token], from: usize, open: usize) -> Result<Block, String> {
    let mut found: Vec<Directive> = Vec::new();
    let mut words = Vec::new();
    let (mut first, mut depth) = (open, 0);
    for token in tokens.get(from..).unwrap_or_default() {
        match &token.kind {
            Kind::Comment => continue,
            Kind::Word(word) => {
                if words.is_empty() {
                    first = token.first;
                }
                words.push(word.clone());
                continue;
            }
            Kind::Open => depth += 1,
            Kind::Close if depth > 0 => depth -= 1,
            Kind::Close => {
                let on = |line: usize| {
                    tokens.iter().filter(move |token| token.first <= line && line <= token.last)
                };
                let is_first = on(token.first).next() == Some(token);
                if !is_first || token.first == open {
                    return Err(format!(
                        "line {}: the \"}}\" of the block must begin a line",
                        token.first + 1
                    ));
                }
                for directive in &mut found {
                    let tokens = (directive.first..=directive.last).flat_map(on).count();
                    directive.is_alone = directive.first == directive.last
                        && directive.first != open
                        && tokens == directive.words.len() + 1;
                }
                return Ok(Block { open, close: token.first, directives: found });
            }
            Kind::End => {}
        }
        if depth == 0 && !words.is_empty() {
            found.push(Directive {
                words: std::mem::take(&mut words),
                first,
                last: token.last,
                is_alone: false,
            });
        }
        words.clear();
    }
    Err(format!("line {}: the block has no end", open + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_among_others() {
        let text = "events {}\nhttp {\n  upstream other { server a; }\n  # upstream backend { x; }\n  upstream backend {\n\
                    \x20   server \"a b\" x=1; # why\n    keepalive\n      32;\n  server c;\n  }\n}\n";
        let block = upstream(text, "backend").unwrap();
        assert_eq!((block.open, block.close), (4, 9));
        let words: Vec<_> =
            block.directives.iter().map(|one| (one.words.join("|"), one.first, one.is_alone)).collect();
        assert_eq!(
            words,
            [
                ("server|a b|x=1".to_owned(), 5, false),
                ("keepalive|32".to_owned(), 6, false),
                ("server|c".to_owned(), 8, true)
            ]
        );
    }

    #[test]
    fn blocks_that_cannot_be_used_say_why() {
        for (text, why) in [
            ("upstream b { }", "it has no block \"upstream backend { .. }\""),
            ("upstream backend {\n}\nupstream backend {\n}\n", "line 3 begins a second block"),
            ("upstream\nbackend {\n}\n", "line 1: \"upstream backend {\" must be on one line"),
            ("upstream backend { server a; }", "line 1: the \"}\" of the block must begin a line"),
            ("upstream backend {\n server a; }", "line 2: the \"}\" of the block must begin a line"),
            ("upstream backend {\n server a;\n", "line 1: the block has no end"),
            ("upstream backend {\n set $a \"}\";\n", "line 1: the block has no end"),
        ] {
            let error = upstream(text, "backend").unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn words_are_those_of_nginx() {
        let words = |text: &str| -> Vec<String> {
            let words = tokens(text).into_iter();
            words
                .filter_map(|token| if let Kind::Word(word) = token.kind { Some(word) } else { None })
                .collect()
        };
        assert_eq!(words(r#"a "b\"c d" '#e' ${f}g h#i; # j"#), ["a", "b\"c d", "#e", "${f}g", "h#i"]);
    }
}
