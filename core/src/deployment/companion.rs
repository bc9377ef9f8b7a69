//! A deployment of another group that moves together with this one.

use serde::{Deserialize, Serialize};

/// A deployment of another group that moves together with this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Companion {
    /// Its group.
    pub group: String,
    /// Its id.
    pub deployment: String,
}
