//! Checks that nginx would accept changes from the daemon.

use cutover_edges::module::{AdminAddress, Module};
use cutover_engine::edge::EdgeError;

use super::Finding;
use crate::config::{EdgeName, ModuleSection};
use crate::control::Refusal;

/// Checks the address, the token and the permissions in nginx. Changes nothing.
pub async fn check_door(name: &EdgeName, section: &ModuleSection, module: &Module) -> Option<Finding> {
    let shown = &section.admin;
    let why = match (shown, &section.token_file) {
        (AdminAddress::Tcp(_), None) => {
            return Some(Finding::Problem(
                Refusal::ReadsOnly { edge: name.to_string(), admin: shown.to_string() }.to_string(),
            ));
        }
        _ => match module.may_write().await {
            // A refusal that is not the module's own comes from nginx or from a proxy before it.
            Err(EdgeError::Refused { why, .. } | EdgeError::Unrecognised { why, .. }) => why,
            // Reading the groups reports the same error.
            _ => return None,
        },
    };
    Some(Finding::Problem(format!(
        "edge.{name}.admin \"{shown}\": every deploy and switch is refused: {why}"
    )))
}
