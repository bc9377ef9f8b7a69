//! The migrations of `[group.NAME.database]`: from the policy of a group to operations on its database.

use cutover_core::migration::Reason;
use cutover_core::shell::quoted;

mod of_deployments;
mod place;
mod planned;
mod shared;

pub(crate) use place::{Doer, Place, check_url};
pub(crate) use planned::Planned;
pub(crate) use shared::SharedDatabase;

/// The command that an operator types when a revert must not run by itself.
pub(crate) fn next(group: &str, deployment: &str, reason: &Reason) -> String {
    let (group, deployment) = (quoted(group), quoted(deployment));
    match reason {
        Reason::Half(_) => format!("cutover database status {group}"),
        // With a name, because it may not be the last one any more.
        Reason::Later { .. } => format!("cutover database revert {group} --deployment {deployment} --yes"),
        _ => format!("cutover database revert {group} --yes"),
    }
}
