//! The refusal of a version that was taken back a short time ago.

use cutover_core::shell::quoted;

use super::advice::to_slot;

/// A version that was bad, and the request for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "version \"{version}\" of group \"{group}\" was taken back at {at} by deployment \"{id}\": {why}; to deploy it again: \
     cutover deploy {} --version {}{} --again",
    quoted(group),
    quoted(version),
    to_slot(to.as_deref())
)]
pub struct TakenBack {
    /// The group.
    pub group: String,
    /// The version.
    pub version: String,
    /// The slot of the request.
    pub to: Option<String>,
    /// The deployment that was taken back.
    pub id: String,
    /// When.
    pub at: String,
    /// Why.
    pub why: String,
}
