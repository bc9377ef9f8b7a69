//! Checks the texts in requests before anything begins.

use std::fmt;

use cutover_core::api::kept_reason;

use cutover_engine::policy::MAX_STRING;

/// Maximum length of a version in bytes. It must fit into the variable `CUTOVER_PREVIOUS_VERSION` of a later deployment.
pub const MAX_VERSION: usize = MAX_STRING - 1 - "CUTOVER_PREVIOUS_VERSION=".len();

/// Maximum number of characters of a refused text in a message.
const SHOWN: usize = 60;

/// The kind of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// The name of a group.
    Group,
    /// The name of a slot.
    Slot,
    /// The id of a deployment.
    Deployment,
    /// A version.
    Version,
    /// A reason.
    Reason,
}

/// Why a text is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadText {
    /// A control character would break the lines of a log, or have an effect on a terminal.
    #[error(
        "{what} {shown} contains a control character: expected one line of text, without tabs and escapes"
    )]
    ControlCharacter {
        /// The kind of the text.
        what: Text,
        /// The beginning of the text in quotes.
        shown: String,
    },
    /// The version does not fit into the environment of a command.
    #[error(
        "version {shown} has {length} bytes: at most {MAX_VERSION} fit into the environment of a command"
    )]
    TooLong {
        /// The beginning of the text in quotes.
        shown: String,
        /// Its length in bytes.
        length: usize,
    },
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Group => "group",
            Self::Slot => "slot",
            Self::Deployment => "deployment",
            Self::Version => "version",
            Self::Reason => "reason",
        })
    }
}

impl Text {
    /// Checks a text and returns it. A long reason is cut to the length that is kept.
    pub fn check(self, text: String) -> Result<String, BadText> {
        // Names must match nginx's names, which may contain these characters.
        let is_free = matches!(self, Self::Version | Self::Reason);
        if text.contains(|c: char| c.is_control() || (is_free && is_directional(c))) {
            return Err(BadText::ControlCharacter { what: self, shown: shown(&text) });
        }
        match self {
            Self::Version if text.len() > MAX_VERSION => {
                Err(BadText::TooLong { shown: shown(&text), length: text.len() })
            }
            Self::Reason => Ok(kept_reason(&text).to_owned()),
            _ => Ok(text),
        }
    }
}

/// Whether a character changes the direction of text, so a terminal shows what follows in another order.
fn is_directional(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The beginning of a text in quotes.
fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("\"{}..\"", text.get(..end).unwrap_or_default().escape_debug()),
        None => format!("\"{}\"", text.escape_debug()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters() {
        for (text, shown) in [
            ("2\0", "\"2\\0\""),
            ("a\r\nb", "\"a\\r\\nb\""),
            ("\u{1b}[31m", "\"\\u{1b}[31m\""),
            ("\u{7f}", "\"\\u{7f}\""),
            ("\u{9b}2J", "\"\\u{9b}2J\""),
        ] {
            for what in [Text::Group, Text::Slot, Text::Deployment, Text::Version, Text::Reason] {
                let said = what.check(text.to_owned()).unwrap_err().to_string();
                assert!(
                    said.starts_with(&format!("{what} {shown} contains a control character: expected")),
                    "{said}"
                );
            }
        }
        for text in ["", "2", "v2 \"é\" 版", "a'b", "x\u{2028}y"] {
            assert_eq!(Text::Version.check(text.to_owned()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn characters_that_turn_the_text_around() {
        for what in [Text::Version, Text::Reason] {
            let said = what.check("1\u{202e}2".to_owned()).unwrap_err().to_string();
            assert!(
                said.starts_with(&format!("{what} \"1\\u{{202e}}2\" contains a control character")),
                "{said}"
            );
        }
        assert!(Text::Group.check("1\u{200f}2".to_owned()).is_ok(), "nginx allows it in names");
    }

    #[test]
    fn lengths() {
        let longest = "é".repeat(MAX_VERSION / 2);
        assert_eq!(Text::Version.check(longest.clone()), Ok(longest.clone()));
        let said = Text::Version.check(format!("{longest}x")).unwrap_err().to_string();
        assert!(
            said.contains(&format!("has {} bytes: at most {MAX_VERSION} fit", MAX_VERSION + 1)),
            "{said}"
        );
        assert_eq!(Text::Reason.check(longest), Ok("é".repeat(200)));
    }
}
