//! The nginx module's admin API.

use std::time::Duration;

use ::http::Request;
use ::http::header::AUTHORIZATION;
use bytes::Bytes;
use cutover_core::api::{
    ErrorBody, ErrorCode, Failure, Group, Groups, RouteChange, StandbyChoice, kept_reason,
};
use cutover_core::name::in_path;
use cutover_core::smoke::Answer;
use http_body_util::Full;
use serde::de::DeserializeOwned;

use super::token::{Token, TokenError, TokenFile};
use super::{Edge, EdgeError, SwitchError};
use crate::config::{AdminAddress, Nginx};
use crate::http::{self, Address, HttpError};

/// Limit of one call: nginx answers from memory, but a switch waits for a disk.
const LIMIT: Duration = Duration::from_secs(5);
/// The token is missing or wrong.
const UNAUTHORIZED: u16 = 401;
/// The location or the user may not.
const FORBIDDEN: u16 = 403;

/// The path of a call that changes nothing, see [`Module::may_write`].
const NO_CHANGE: &str = "/v1/groups/-/route";

/// A client of the admin API.
#[derive(Clone, Debug)]
pub struct Module {
    address: Address,
    shown: String,
    token: Option<TokenFile>,
}

/// Why a call has no answer.
enum CallError {
    Http(HttpError),
    NoToken(TokenError),
}

impl Module {
    /// A client; it connects with each call.
    pub fn new(nginx: &Nginx) -> Self {
        let address = match &nginx.admin {
            AdminAddress::Unix(path) => Address::Unix(path.clone()),
            AdminAddress::Tcp(address) => Address::Tcp(address.to_string()),
        };
        let token = nginx.token_file.as_deref().map(TokenFile::new);
        Self { address, shown: nginx.admin.to_string(), token }
    }

    /// Whether the location lets this client make changes; the error is nginx's own. It is found out by a change without a
    /// body: whoever may make changes is told that the group does not exist.
    pub async fn may_write(&self) -> Result<(), EdgeError> {
        let answer = self.call("PUT", NO_CHANGE, &[], None).await.map_err(|error| self.no_answer(error))?;
        match self.read::<Group>(&answer) {
            Err(error) if matches!(answer.status, UNAUTHORIZED | FORBIDDEN) => Err(error),
            _ => Ok(()),
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, EdgeError> {
        let answer = self.call("GET", path, &[], None).await;
        self.read(&answer.map_err(|error| self.no_answer(error))?)
    }

    async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Result<Answer, CallError> {
        // Over TCP and without a token the module answers only to "localhost" and to addresses.
        let headers = [&[("host", "localhost")], headers].concat();
        let request = http::request(method, path, &headers, body).map_err(CallError::Http)?;
        let Some(file) = &self.token else { return self.send(request, None).await };
        let token = match (file.taken(), &self.address) {
            (Some(token), _) => Some(token),
            (None, Address::Tcp(_)) => Some(file.read().await.map_err(CallError::NoToken)?),
            // There the kernel says who asks, unless somebody else listens and passes it on.
            (None, Address::Unix(_)) => file.read().await.ok(),
        };
        let answer = self.send(request.clone(), token.as_ref()).await?;
        if answer.status != UNAUTHORIZED {
            file.take(token);
            return Ok(answer);
        }
        file.take(None);
        let fresh = file.read().await.map_err(CallError::NoToken)?;
        if Some(&fresh) == token.as_ref() {
            return Ok(answer);
        }
        let answer = self.send(request, Some(&fresh)).await?;
        if answer.status != UNAUTHORIZED {
            file.take(Some(fresh));
        }
        Ok(answer)
    }

    async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
        token: Option<&Token>,
    ) -> Result<Answer, CallError> {
        if let Some(token) = token {
            request.headers_mut().insert(AUTHORIZATION, token.header());
        }
        http::ask(&self.address, request, LIMIT).await.map_err(CallError::Http)
    }

    fn read<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, EdgeError> {
        if answer.status == 200 {
            return serde_json::from_slice(&answer.body).map_err(|error| self.alien(error.to_string()));
        }
        Err(match serde_json::from_slice::<Failure>(&answer.body) {
            Ok(failure) => EdgeError::Refused(self.why(failure.error)),
            Err(_) => self.alien(format!("status {}, and no JSON that says why", answer.status)),
        })
    }

    fn no_answer(&self, error: CallError) -> EdgeError {
        match error {
            CallError::Http(error) => {
                EdgeError::Unreachable { address: self.shown.clone(), why: error.to_string() }
            }
            CallError::NoToken(error) => EdgeError::NoToken(error),
        }
    }

    /// Why it refuses. What the module says of a token is for whoever writes HTTP.
    fn why(&self, error: ErrorBody) -> String {
        let file = self.token.as_ref().map(|file| file.path().display());
        match (error.code, file) {
            (ErrorCode::Unauthorized, Some(file)) => format!(
                "the token of nginx.token_file \"{file}\" is not the one that nginx knows at {}: it must be the file that \
                 \"cutover_api token_file=\" names there; a new token counts from the next reload of nginx on",
                self.shown
            ),
            (ErrorCode::Unauthorized, None) => format!(
                "{} asks for a token: set nginx.token_file to the file that \"cutover_api token_file=\" names there",
                self.shown
            ),
            _ => error.message,
        }
    }

    fn alien(&self, why: String) -> EdgeError {
        EdgeError::Alien { address: self.shown.clone(), why }
    }

    fn refusal(&self, answer: &Answer) -> SwitchError {
        let Ok(failure) = serde_json::from_slice::<Failure>(&answer.body) else {
            let error = self.alien(format!("status {}, and no JSON that says why", answer.status));
            return SwitchError::Unknown(error);
        };
        let code = failure.error.code;
        let message = self.why(failure.error);
        match (code, failure.group) {
            (ErrorCode::GenerationMismatch, Some(group)) => SwitchError::Moved(group),
            (ErrorCode::NotDurable, _) => SwitchError::NotDurable(message),
            // A worker that is about to end has answered: whoever asks again gets another one.
            (ErrorCode::Internal | ErrorCode::LeftBehind, _) => SwitchError::Unknown(self.alien(message)),
            _ => SwitchError::Refused(message),
        }
    }
}

impl CallError {
    /// Whether it is certain that nothing was carried out. A token is read before anything is sent, or when nginx has refused.
    fn is_before_sending(&self) -> bool {
        match self {
            Self::Http(error) => error.is_before_sending(),
            Self::NoToken(_) => true,
        }
    }
}

impl Edge for Module {
    async fn groups(&self) -> Result<Groups, EdgeError> {
        self.get("/v1/groups").await
    }

    async fn group(&self, name: &str) -> Result<Group, EdgeError> {
        self.get(&format!("/v1/groups/{}", in_path(name))).await
    }

    async fn stand_by(&self, group: &str, slot: &str) -> Result<(), EdgeError> {
        let body = serde_json::to_vec(&StandbyChoice { slot: slot.to_owned() })
            .map_err(|error| EdgeError::Refused(format!("the choice is not JSON: {error}")))?;
        let path = format!("/v1/groups/{}/standby", in_path(group));
        let answer = self.call("PUT", &path, &[("content-type", "application/json")], Some(body)).await;
        self.read::<Group>(&answer.map_err(|error| self.no_answer(error))?).map(drop)
    }

    async fn switch(&self, group: &str, change: &RouteChange, expected: u32) -> Result<Group, SwitchError> {
        let if_match = format!("\"{expected}\"");
        let headers = [("content-type", "application/json"), ("if-match", if_match.as_str())];
        // However long a version is that the reason names: a body that is too large would keep the traffic where it is.
        let reason = change.reason.as_deref().map(|reason| kept_reason(reason).to_owned());
        let body = serde_json::to_vec(&RouteChange { reason, ..change.clone() })
            .map_err(|error| SwitchError::Refused(format!("the change is not JSON: {error}")))?;
        let path = format!("/v1/groups/{}/route", in_path(group));
        match self.call("PUT", &path, &headers, Some(body)).await {
            Ok(answer) if answer.status == 200 => self.read(&answer).map_err(SwitchError::Unknown),
            Ok(answer) => Err(self.refusal(&answer)),
            Err(error) if error.is_before_sending() => Err(SwitchError::NotSent(self.no_answer(error))),
            Err(error) => Err(SwitchError::Unknown(self.no_answer(error))),
        }
    }
}
