//! Names of groups and slots: whatever an upstream may be called, on the wire, in the state file, in addresses and in labels.

use std::fmt;

/// A name that cannot be used, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// No characters at all.
    #[error("is empty")]
    Empty,
    /// More bytes than a name may have.
    #[error("is longer than {MAX_NAME} bytes")]
    TooLong,
    /// A character that is not allowed.
    #[error("must be UTF-8 without control characters and \"/\"")]
    BadCharacter,
    /// What means a folder in an address.
    #[error("is what means a folder in an address: choose another")]
    Folder,
    /// A word that means something else where a slot is named.
    #[error("is a word with a meaning of its own where a slot is named: choose another")]
    Reserved,
}

/// The longest name, in bytes.
pub const MAX_NAME: usize = 255;

/// Words that `cutover_slot` gives a meaning of their own.
pub const RESERVED_SLOTS: [&str; 2] = ["active", "standby"];

/// Checks a group's name.
pub fn check_group(name: &[u8]) -> Result<&str, BadName> {
    check(name)
}

/// Checks a slot's name.
pub fn check_slot(name: &[u8]) -> Result<&str, BadName> {
    let name = check(name)?;
    if RESERVED_SLOTS.contains(&name) { Err(BadName::Reserved) } else { Ok(name) }
}

/// No request can be sent to an upstream whose name holds a slash, so nothing is lost without it.
fn check(name: &[u8]) -> Result<&str, BadName> {
    if name.is_empty() {
        return Err(BadName::Empty);
    }
    if name.len() > MAX_NAME {
        return Err(BadName::TooLong);
    }
    let text = str::from_utf8(name).map_err(|_| BadName::BadCharacter)?;
    if text.chars().any(|character| character.is_control() || character == '/') {
        return Err(BadName::BadCharacter);
    }
    if text == "." || text == ".." { Err(BadName::Folder) } else { Ok(text) }
}

/// The name as a part of a path of an address: percent-encoded.
pub fn in_path(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Stands between the beginning of a stored name and its hash; no name holds it.
const CUT: char = '\u{1}';

/// The name as it is stored in `N` bytes: whole if it fits; else its beginning, a mark, and a hash of all of it.
///
/// So files need no other layout for long names, and a module that knows only short ones reads them. Names that begin alike are
/// told apart by the 64 bits of the hash; [`Names`](crate::state_file::Names) never holds more than 15 of a group.
pub fn stored<const N: usize>(name: &str) -> FixedName<N> {
    if let Some(whole) = FixedName::new(name) {
        return whole;
    }
    let hash = format!("{CUT}{:016x}", xxhash_rust::xxh3::xxh3_64(name.as_bytes()));
    let room = N.saturating_sub(1 + hash.len());
    let end = (0..=room.min(name.len())).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    let short = name.get(..end).unwrap_or_default().to_owned() + &hash;
    FixedName::new(&short).unwrap_or(FixedName::EMPTY)
}

/// Bytes of the stored name of a slot, in the state file and in events.
pub const SLOT_SIZE: usize = 24;

/// Whether a stored name is that of this slot.
pub fn is_stored_slot(stored: &str, slot: &str) -> bool {
    self::stored::<SLOT_SIZE>(slot).as_str() == stored
}

/// A stored name for people: a cut one ends with dots.
pub fn shown(stored: &str) -> String {
    match stored.split_once(CUT) {
        Some((beginning, _)) => format!("{beginning}.."),
        None => stored.to_owned(),
    }
}

/// A name in a fixed number of bytes: its length, the text, zeroes. `N` is at most 256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FixedName<const N: usize>([u8; N]);

impl<const N: usize> FixedName<N> {
    /// No name.
    pub const EMPTY: Self = Self([0; N]);

    /// Takes a checked name; `None` if it does not fit.
    pub fn new(name: &str) -> Option<Self> {
        let mut bytes = [0; N];
        let (length, text) = bytes.split_first_mut()?;
        *length = u8::try_from(name.len()).ok()?;
        text.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        Some(Self(bytes))
    }

    /// Reads it back from bytes that may be damaged.
    pub fn from_bytes(bytes: [u8; N]) -> Option<Self> {
        let name = Self(bytes);
        let text = str::from_utf8(name.text()?).ok()?;
        (Self::new(text)? == name).then_some(name)
    }

    /// As stored.
    pub fn as_bytes(&self) -> &[u8; N] {
        &self.0
    }

    /// The name; empty for [`EMPTY`](Self::EMPTY).
    pub fn as_str(&self) -> &str {
        self.text().and_then(|text| str::from_utf8(text).ok()).unwrap_or("")
    }

    /// Whether this is no name.
    pub fn is_empty(&self) -> bool {
        self.as_str().is_empty()
    }

    fn text(&self) -> Option<&[u8]> {
        let (length, text) = self.0.split_first()?;
        text.get(..usize::from(*length))
    }
}

impl<const N: usize> fmt::Debug for FixedName<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let longest = "x".repeat(MAX_NAME);
        for good in [
            "shop",
            "a.b_c",
            "9",
            "_Site_A",
            "*.example.com",
            "-",
            "sh op",
            "sh\"op",
            "café",
            "...",
            &longest,
        ] {
            assert_eq!(check_group(good.as_bytes()), Ok(good));
        }
        for (bad, why) in [
            ("", BadName::Empty),
            ("a/b", BadName::BadCharacter),
            ("a\nb", BadName::BadCharacter),
            ("a\u{1}b", BadName::BadCharacter),
            ("a\u{85}b", BadName::BadCharacter),
            (".", BadName::Folder),
            ("..", BadName::Folder),
            (&"x".repeat(MAX_NAME + 1), BadName::TooLong),
        ] {
            assert_eq!(check_group(bad.as_bytes()), Err(why), "{bad}");
        }
        assert_eq!(check_group(b"caf\xe9"), Err(BadName::BadCharacter));
        assert_eq!(check_slot(b"standby"), Err(BadName::Reserved));
        assert_eq!(check_slot(b"blue"), Ok("blue"));
    }

    #[test]
    fn names_in_a_path() {
        assert_eq!(in_path("shop-2.a_b~"), "shop-2.a_b~");
        assert_eq!(in_path("*.ex?a%m#é "), "%2A.ex%3Fa%25m%23%C3%A9%20");
    }

    #[test]
    fn long_names_are_told_apart_where_they_are_stored() {
        assert_eq!(stored::<24>("a-name-of-twenty-three-").as_str(), "a-name-of-twenty-three-");
        let (a, b) = (stored::<24>("release-20241129-canary-a"), stored::<24>("release-20241129-canary-b"));
        assert_ne!(a, b);
        assert_eq!((a.as_str().len(), shown(a.as_str())), (23, "releas..".to_owned()));
        assert_eq!(a, stored("release-20241129-canary-a"), "the same each time");
        assert_eq!(FixedName::from_bytes(*a.as_bytes()), Some(a));
        assert_eq!(shown(stored::<24>("éééééééééééééé").as_str()), "ééé..", "whole characters");
        assert_eq!(shown(stored::<64>(&"x".repeat(MAX_NAME)).as_str()).len(), 48);
        assert!(check_slot(a.as_str().as_bytes()).is_err(), "nobody's own name");
    }

    #[test]
    fn fixed_names_survive_their_bytes() {
        let name = FixedName::<24>::new("blue").unwrap();
        assert_eq!(name.as_str(), "blue");
        assert_eq!(FixedName::from_bytes(*name.as_bytes()), Some(name));
        assert!(FixedName::<24>::EMPTY.is_empty());
        assert_eq!(FixedName::<4>::new("blue"), None);

        let mut long = *name.as_bytes();
        long[0] = 200;
        assert_eq!(FixedName::from_bytes(long), None);
        let mut rest = *name.as_bytes();
        rest[20] = 1;
        assert_eq!(FixedName::from_bytes(rest), None);
    }
}
