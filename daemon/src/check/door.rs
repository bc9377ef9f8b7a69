//! Whether the daemon may use the admin API as it will have to.

use super::Finding;
use crate::config::{AdminAddress, Nginx};
use crate::control::Refusal;
use crate::edge::{EdgeError, Module};

/// Looks at the address, at the token, and at what nginx lets the daemon do. Nothing is changed.
pub async fn check_door(nginx: &Nginx, module: &Module) -> Option<Finding> {
    let shown = &nginx.admin;
    let why = match (&nginx.admin, &nginx.token_file) {
        (AdminAddress::Tcp(_), None) => {
            return Some(Finding::Problem(Refusal::ReadsOnly(shown.to_string()).to_string()));
        }
        _ => match module.may_write().await {
            Err(EdgeError::Refused(why)) => why,
            // Whoever reads the groups meets it too, and says so.
            _ => return None,
        },
    };
    Some(Finding::Problem(format!("nginx.admin \"{shown}\": every deploy and switch is refused: {why}")))
}
