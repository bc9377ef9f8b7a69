//! Words that several texts share.

/// A version in a sentence.
pub(super) fn version(version: &str) -> String {
    match version {
        "" => "unknown version".to_owned(),
        version => format!("version \"{version}\""),
    }
}
