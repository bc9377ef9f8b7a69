//! Placeholders in the texts of checks: `{version}`, `{slot}`, `{peer}`, and what earlier smoke tests have captured. Other texts may
//! have others.
//!
//! A placeholder is a word of letters and underscores in braces. `{{word}}` is the text `{word}`. All other braces are text, so
//! JSON stays as it is: `{"a":{"b":1}}`.

use std::collections::BTreeMap;

use crate::name::in_path;

/// The placeholders of every check.
pub const OF_CHECKS: [&str; 3] = ["version", "slot", "peer"];

/// What the placeholders stand for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Values<'a> {
    /// The version in the slot. `None`: it is not known.
    pub version: Option<&'a str>,
    /// The name of the slot.
    pub slot: &'a str,
    /// The address of the server that is asked.
    pub peer: &'a str,
    /// What earlier smoke tests have captured from the answers of this server.
    pub captured: Option<&'a BTreeMap<String, String>>,
}

/// A placeholder that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{{{word}}}\" is not a placeholder: expected {expected}; for the text \"{{{word}}}\", write {{{{{word}}}}}"
)]
pub struct UnknownPlaceholder {
    /// The word between the braces.
    pub word: String,
    /// Those that exist, as in `{version} or {slot}`.
    pub expected: String,
}

enum Part<'a> {
    Text(&'a str),
    Placeholder(&'a str),
}

/// Fails if the text has an unknown placeholder.
pub fn check(text: &str) -> Result<(), UnknownPlaceholder> {
    check_words(text, &OF_CHECKS)
}

/// Fails if the text has a placeholder other than these.
pub fn check_words(text: &str, words: &[&str]) -> Result<(), UnknownPlaceholder> {
    for part in parts(text) {
        match part {
            Part::Placeholder(word) if !words.contains(&word) => {
                let known: Vec<String> = words.iter().map(|word| format!("{{{word}}}")).collect();
                return Err(UnknownPlaceholder { word: word.to_owned(), expected: known.join(" or ") });
            }
            Part::Placeholder(_) | Part::Text(_) => {}
        }
    }
    Ok(())
}

/// Whether `{version}` is in the text.
pub fn has_version(text: &str) -> bool {
    has_word(text, "version")
}

/// The placeholders of a text.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    parts(text).into_iter().filter_map(|part| match part {
        Part::Placeholder(word) => Some(word),
        Part::Text(_) => None,
    })
}

/// Whether a placeholder is in the text.
pub fn has_word(text: &str, word: &str) -> bool {
    parts(text).iter().any(|part| matches!(part, Part::Placeholder(its) if *its == word))
}

/// The text with values in place of the placeholders. An unknown version is empty.
pub fn fill(text: &str, values: &Values<'_>) -> String {
    fill_with(text, values, str::to_owned)
}

/// Like [`fill`], for a path: the values are percent-encoded.
pub fn fill_path(text: &str, values: &Values<'_>) -> String {
    fill_with(text, values, in_path)
}

/// Like [`fill`], for a regular expression: the values stand for themselves.
pub fn fill_pattern(text: &str, values: &Values<'_>) -> String {
    fill_with(text, values, regex::escape)
}

fn fill_with(text: &str, values: &Values<'_>, encoded: impl Fn(&str) -> String) -> String {
    fill_words(text, |word| match word {
        "version" => Some(encoded(values.version.unwrap_or_default())),
        "slot" => Some(encoded(values.slot)),
        "peer" => Some(encoded(values.peer)),
        word => values.captured.and_then(|captured| captured.get(word)).map(|value| encoded(value)),
    })
}

/// The text with what `value` gives for each placeholder. One without a value stays as it is.
pub fn fill_words(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let filled = parts(text).into_iter().map(|part| match part {
        Part::Text(text) => text.to_owned(),
        Part::Placeholder(word) => value(word).unwrap_or_else(|| format!("{{{word}}}")),
    });
    filled.collect()
}

fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, at_brace)) = rest.find('{').map(|at| rest.split_at(at)) {
        parts.push(Part::Text(before));
        let (part, after) = if let Some((literal, after)) = escaped(at_brace) {
            (Part::Text(literal), after)
        } else if let Some((word, after)) = word(at_brace) {
            (Part::Placeholder(word), after)
        } else {
            let (brace, after) = at_brace.split_at(1);
            (Part::Text(brace), after)
        };
        parts.push(part);
        rest = after;
    }
    parts.push(Part::Text(rest));
    parts
}

/// The word of a `{word}` at the begin of a text, and what follows.
fn word(text: &str) -> Option<(&str, &str)> {
    let (word, after) = text.strip_prefix('{')?.split_once('}')?;
    let is_word = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    is_word.then_some((word, after))
}

/// The `{word}` of a `{{word}}` at the begin of a text, and what follows.
fn escaped(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('{')?;
    let after = word(inner)?.1.strip_prefix('}')?;
    Some((inner.strip_suffix(after)?.strip_suffix('}')?, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: Values<'_> =
        Values { version: Some("2 + a"), slot: "green", peer: "127.0.0.1:2", captured: None };

    #[test]
    fn only_a_word_in_braces_is_a_placeholder() {
        for (text, filled) in [
            ("v{version}", "v2 + a"),
            ("{version} in {slot}, {version}", "2 + a in green, 2 + a"),
            ("http://{peer}/", "http://127.0.0.1:2/"),
            (r#"{"a":1}"#, r#"{"a":1}"#),
            (r#"{"a":{"b":"{version}"}}"#, r#"{"a":{"b":"2 + a"}}"#),
            (r#"{"a":{version}}"#, r#"{"a":2 + a}"#),
            ("{{version}}", "{version}"),
            ("{{versoin}}!", "{versoin}!"),
            ("{{{version}}}", "{{version}}"),
            ("{{version}", "{2 + a"),
            ("{ version }", "{ version }"),
            ("{}{{}}{1}{a-b}", "{}{{}}{1}{a-b}"),
            ("{version", "{version"),
            ("version}", "version}"),
            ("ü{ü}{slot}ü", "ü{ü}greenü"),
            ("", ""),
        ] {
            assert_eq!(fill(text, &VALUES), filled, "{text}");
            assert_eq!(check(text), Ok(()), "{text}");
        }
        assert_eq!(fill_path("/v/{version}?slot={slot}", &VALUES), "/v/2%20%2B%20a?slot=green");
    }

    #[test]
    fn an_unknown_one_is_named_with_those_that_exist() {
        for text in ["{versoin}", "{\"a\":{versoin}}", "{version}{slot}{versoin}{other}"] {
            let said = "\"{versoin}\" is not a placeholder: expected {version} or {slot} or {peer}; for the text \
                        \"{versoin}\", write {{versoin}}";
            assert_eq!(check(text).unwrap_err().to_string(), said, "{text}");
        }
    }

    #[test]
    fn what_was_captured_is_filled_too() {
        let captured = BTreeMap::from([("token".to_owned(), "a b".to_owned())]);
        let values = Values { captured: Some(&captured), ..VALUES };
        assert_eq!(fill("Bearer {token} {tokem}", &values), "Bearer a b {tokem}");
        assert_eq!(fill_path("/orders/{token}", &values), "/orders/a%20b");
        assert_eq!(fill_pattern("^v{version}$", &values), r"^v2 \+ a$");
        assert_eq!(words("/{slot}/{token}{{x}}").collect::<Vec<_>>(), ["slot", "token"]);
    }

    #[test]
    fn which_texts_need_a_version() {
        for (text, has) in
            [("{version}", true), ("a{{version}}", false), ("{slot}", false), ("{{{version}}}", false)]
        {
            assert_eq!(has_version(text), has, "{text}");
        }
    }
}
