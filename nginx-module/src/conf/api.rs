//! Parameters of `cutover_api`.

use ngx::ffi::ngx_http_core_srv_conf_t;

use super::token::Token;
use crate::ext::Place;

/// Who may do what in a location with `cutover_api`.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) write: bool,
    pub(crate) users: AccessList,
    /// What a client over TCP has to know.
    pub(crate) token: Option<Token>,
    /// Whether clients of other hosts may come, over TLS and with the token.
    pub(crate) remote: bool,
}

/// A `cutover_api` with `remote=on`.
pub(crate) struct RemoteApi {
    pub(crate) server: *mut ngx_http_core_srv_conf_t,
    pub(crate) place: Place,
}

/// Users that may use the API, apart from root: the user that started nginx, and those of `uid=`.
#[derive(Clone, Debug, Default)]
pub(crate) struct AccessList(pub(crate) Vec<u32>);
