//! The token file of the admin API over TCP. The module and the daemon read the same file with the same rules.

/// Minimum number of characters; a shorter token could be guessed.
pub const MIN_LENGTH: usize = 16;
/// Maximum number of characters.
pub const MAX_LENGTH: usize = 4096;

/// Why a token file cannot be used. The text follows the name of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFile {
    /// It belongs to another user.
    #[error(
        "belongs to the user with id {0}, who could replace it: change its owner to root or to the reading user"
    )]
    Owner(u32),
    /// The mode of the file gives access to others.
    #[error(
        "can be read or written by others (mode {0:04o}): set its mode to 0600, or to 0640 for a group that may read it"
    )]
    Mode(u32),
    /// The token is missing, too short or too long, or has invalid characters.
    #[error("holds no token: expected one line of {MIN_LENGTH} to {MAX_LENGTH} visible ASCII characters")]
    Content,
}

/// Metadata of the file.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// The user id of its owner.
    pub owner: u32,
    /// Its mode.
    pub mode: u32,
    /// Its length in bytes.
    pub length: u64,
}

impl Facts {
    /// Checks that the user with the id `reader` can trust the file.
    pub fn check(&self, reader: u32) -> Result<(), BadFile> {
        if self.owner != 0 && self.owner != reader {
            return Err(BadFile::Owner(self.owner));
        }
        if self.mode & 0o027 != 0 {
            return Err(BadFile::Mode(self.mode & 0o7777));
        }
        // A line may end with CR and LF.
        if self.length > MAX_LENGTH as u64 + 2 { Err(BadFile::Content) } else { Ok(()) }
    }
}

/// Returns the token from the content of the file.
pub fn parse(content: &[u8]) -> Result<&[u8], BadFile> {
    let token = content.trim_ascii();
    let fits = (MIN_LENGTH..=MAX_LENGTH).contains(&token.len());
    if fits && token.iter().all(u8::is_ascii_graphic) { Ok(token) } else { Err(BadFile::Content) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_file_and_for_whom() {
        for (owner, mode, length, reader, found) in [
            (0, 0o100_600, 30, 33, Ok(())),
            (33, 0o100_640, 4098, 33, Ok(())),
            (1000, 0o600, 30, 33, Err(BadFile::Owner(1000))),
            (0, 0o100_644, 30, 33, Err(BadFile::Mode(0o644))),
            (0, 0o660, 30, 0, Err(BadFile::Mode(0o660))),
            (0, 0o600, 4099, 0, Err(BadFile::Content)),
        ] {
            assert_eq!(Facts { owner, mode, length }.check(reader), found, "{owner} {mode:o} {length}");
        }
    }

    #[test]
    fn one_line() {
        let longest = "x".repeat(MAX_LENGTH);
        for (content, token) in [
            ("0123456789abcdef\r\n", Some("0123456789abcdef")),
            (longest.as_str(), Some(longest.as_str())),
            ("0123456789abcde", None),
            ("0123456789 abcdef", None),
            ("0123456789abcdef\n0123456789abcdef\n", None),
            ("0123456789abcdé", None),
            ("", None),
        ] {
            assert_eq!(parse(content.as_bytes()).ok(), token.map(str::as_bytes), "{content:?}");
        }
    }
}
