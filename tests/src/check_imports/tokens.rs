//! Paths in tokens that are not parsed: arguments of macros and attributes.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// What looks like a path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) path: Vec<String>,
    /// Whether arguments follow.
    pub(crate) is_called: bool,
}

/// All that look like paths, at any depth.
pub(crate) fn candidates(tokens: TokenStream) -> Vec<Candidate> {
    let mut found = Vec::new();
    collect(tokens, &mut found);
    found
}

fn collect(tokens: TokenStream, found: &mut Vec<Candidate>) {
    let tokens = tokens.into_iter().collect::<Vec<_>>();
    let mut rest = tokens.as_slice();
    // The punctuation just before.
    let mut before = String::new();
    while let [token, after @ ..] = rest {
        rest = after;
        match token {
            TokenTree::Punct(punctuation) => {
                before.push(punctuation.as_char());
                continue;
            }
            TokenTree::Group(group) => collect(group.stream(), found),
            TokenTree::Literal(_) => {}
            TokenTree::Ident(first) => {
                let mut path = vec![first.to_string()];
                while let Some((segment, after)) = next_segment(rest) {
                    path.push(segment);
                    rest = after;
                }
                let is_other = path.len() == 1 && (is_key(rest) || is_macro(rest));
                if !is_other && !is_part(&before, first == "crate") {
                    found.push(Candidate { path, is_called: is_call(rest) });
                }
            }
        }
        before.clear();
    }
}

/// The segment after `::`, and what follows it.
fn next_segment(tokens: &[TokenTree]) -> Option<(String, &[TokenTree])> {
    match tokens {
        [TokenTree::Punct(first), TokenTree::Punct(second), TokenTree::Ident(segment), rest @ ..]
            if first.as_char() == ':' && first.spacing() == Spacing::Joint && second.as_char() == ':' =>
        {
            Some((segment.to_string(), rest))
        }
        _ => None,
    }
}

/// Whether the name after this punctuation is a field, a method, a lifetime, a variable of a macro, or the end of a path that
/// began with a type.
fn is_part(before: &str, is_crate: bool) -> bool {
    let is_member = before.ends_with('.') && !before.ends_with("..");
    is_member || before.ends_with('\'') || before.ends_with("::") || (before.ends_with('$') && !is_crate)
}

/// Whether a value follows, as in `name = 1` and `name: 1`.
fn is_key(tokens: &[TokenTree]) -> bool {
    let mut marks = tokens.iter().map_while(|token| match token {
        TokenTree::Punct(mark) => Some((mark.as_char(), mark.spacing())),
        _ => None,
    });
    match marks.next() {
        Some((':', Spacing::Alone) | ('=', Spacing::Alone)) => true,
        // `=&x`, `:&x`: but no `==`, `=>` and `::`.
        Some((':' | '=', Spacing::Joint)) => !matches!(marks.next(), Some((':' | '=' | '>', _))),
        _ => false,
    }
}

fn is_macro(tokens: &[TokenTree]) -> bool {
    matches!(tokens, [TokenTree::Punct(mark), TokenTree::Group(_), ..] if mark.as_char() == '!')
}

fn is_call(tokens: &[TokenTree]) -> bool {
    matches!(tokens, [TokenTree::Group(group), ..] if group.delimiter() == Delimiter::Parenthesis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        candidates(text.parse().unwrap()).into_iter().map(|found| found.path.join("::")).collect()
    }

    #[test]
    fn paths_in_tokens_are_found() {
        assert_eq!(paths(r#""{}", a::b(c::D)"#), ["a::b", "c::D"]);
        assert_eq!(paths("x = crate::limits::MOST, y = 1"), ["crate::limits::MOST"]);
        assert_eq!(paths("0..MOST, ..=LEAST"), ["MOST", "LEAST"]);
        assert_eq!(paths("Kind::A { at: Time } if a == b"), ["Kind::A", "Time", "if", "a", "b"]);
        assert_eq!(paths("$crate::limits::most()"), ["crate::limits::most"]);
    }

    #[test]
    fn fields_methods_lifetimes_keys_and_macros_are_no_paths() {
        assert_eq!(paths("x.y.z(1)?.w, json!(1)"), ["x"]);
        assert_eq!(paths("&'a $name <T>::make()"), ["T"]);
        assert_eq!(paths("key = 1, key: 1, key = &1"), [""; 0]);
    }

    #[test]
    fn a_call_is_known_from_a_name() {
        let found = candidates("most(1), most".parse().unwrap());
        assert_eq!(found.iter().map(|found| found.is_called).collect::<Vec<_>>(), [true, false]);
    }
}
