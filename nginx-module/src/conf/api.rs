//! Parameters of `cutover_api`.

use super::token::Token;

/// Who may do what in a location with `cutover_api`.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) write: bool,
    pub(crate) users: AccessList,
    /// What a client over TCP has to know.
    pub(crate) token: Option<Token>,
    /// Whether clients of other hosts may come, with the token.
    pub(crate) remote: bool,
}

/// Users that may use the API, apart from root: the user that started nginx, and those of `uid=`.
#[derive(Clone, Debug, Default)]
pub(crate) struct AccessList(pub(crate) Vec<u32>);
