//! The length limit of reasons.

/// Maximum number of characters of a reason.
pub const MAX_REASON: usize = 200;

/// Cuts a reason to the limit, between characters.
pub fn kept_reason(reason: &str) -> &str {
    first(reason, MAX_REASON)
}

/// Appends an ending such as `by uid 0`, and cuts the reason before it to stay within the limit.
pub fn reason_with(reason: &str, ending: &str) -> String {
    let room = MAX_REASON.saturating_sub(ending.chars().count());
    let mut reason = first(reason, room).to_owned();
    reason.push_str(first(ending, MAX_REASON));
    reason
}

fn first(text: &str, characters: usize) -> &str {
    let end = text.char_indices().nth(characters).map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_between_characters() {
        for character in ["x", "é", "版", "🚀"] {
            for (length, kept) in [(0, 0), (199, 199), (200, 200), (201, 200), (70_000, 200)] {
                assert_eq!(kept_reason(&character.repeat(length)), character.repeat(kept), "{length}");
            }
        }
    }

    #[test]
    fn who_asked_is_kept() {
        assert_eq!(reason_with("v2", " (by uid 7)"), "v2 (by uid 7)");
        let long = reason_with(&"é".repeat(500), " (by uid 7)");
        assert!(long.ends_with("é (by uid 7)") && long.chars().count() == MAX_REASON, "{long}");
        assert_eq!(reason_with("v2", &"é".repeat(500)), "é".repeat(MAX_REASON));
    }
}
