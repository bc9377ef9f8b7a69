//! Names of groups and slots: short, and the same on the wire, in the state file and in labels.

use std::fmt;

/// A name that cannot be used, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// No characters at all.
    #[error("is empty")]
    Empty,
    /// More bytes than the state file has room for.
    #[error("is longer than {0} characters")]
    TooLong(usize),
    /// A character that is not allowed.
    #[error("may only hold letters, digits, \"-\", \"_\" and \".\", and begins with a letter or digit")]
    BadCharacter,
    /// A word that means something else where a slot is named.
    #[error("is a word with a meaning of its own where a slot is named: choose another")]
    Reserved,
}

/// The longest group name, in bytes.
pub const MAX_GROUP: usize = 63;

/// The longest slot name, in bytes.
pub const MAX_SLOT: usize = 23;

/// Words that `cutover_slot` gives a meaning of their own.
pub const RESERVED_SLOTS: [&str; 2] = ["active", "standby"];

/// Checks a group's name.
pub fn check_group(name: &[u8]) -> Result<&str, BadName> {
    check(name, MAX_GROUP)
}

/// Checks a slot's name.
pub fn check_slot(name: &[u8]) -> Result<&str, BadName> {
    let name = check(name, MAX_SLOT)?;
    if RESERVED_SLOTS.contains(&name) { Err(BadName::Reserved) } else { Ok(name) }
}

fn check(name: &[u8], max: usize) -> Result<&str, BadName> {
    let Some((first, _)) = name.split_first() else {
        return Err(BadName::Empty);
    };
    if name.len() > max {
        return Err(BadName::TooLong(max));
    }
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !first.is_ascii_alphanumeric() || !name.iter().all(allowed) {
        return Err(BadName::BadCharacter);
    }
    str::from_utf8(name).map_err(|_| BadName::BadCharacter)
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
        for good in ["shop", "shop-2", "a.b_c", "9", &"x".repeat(MAX_GROUP)] {
            assert_eq!(check_group(good.as_bytes()), Ok(good));
        }
        for (bad, why) in [
            ("", BadName::Empty),
            ("-shop", BadName::BadCharacter),
            ("sh op", BadName::BadCharacter),
            ("sh\"op", BadName::BadCharacter),
            ("café", BadName::BadCharacter),
            (&"x".repeat(MAX_GROUP + 1), BadName::TooLong(MAX_GROUP)),
        ] {
            assert_eq!(check_group(bad.as_bytes()), Err(why), "{bad}");
        }
        assert_eq!(check_slot(b"standby"), Err(BadName::Reserved));
        assert_eq!(check_slot(b"blue"), Ok("blue"));
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
