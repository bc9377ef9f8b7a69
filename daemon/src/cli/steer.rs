//! The requests of `pause`, `resume` and `promote`.

use std::io::{self, Write};

use cutover_core::name::in_path;
use cutover_core::shell::quoted;

use super::{CliError, Place};
use crate::api::Accepted;

/// Sends the request and says what it did.
pub(super) async fn steer(place: &Place, group: &str, verb: &str, done: &str) -> Result<u8, CliError> {
    let client = place.client()?;
    let accepted: Accepted = client.post(&format!("/v1/groups/{}/{verb}", in_path(group)), &()).await?;
    let (cutover, group) = (client.program(), quoted(group));
    let with = accepted.with.iter().map(|other| format!(" and {}", other.deployment)).collect::<String>();
    writeln!(io::stdout(), "{done} {}{with}; to follow it: {cutover} watch {group}", accepted.deployment)?;
    Ok(0)
}
