//! The nginx module's admin API.

use std::time::Duration;

use cutover_core::api::{ErrorCode, Failure, Group, Groups, RouteChange, StandbyChoice};
use cutover_core::smoke::Answer;
use serde::de::DeserializeOwned;

use super::{Edge, EdgeError, SwitchError};
use crate::config::AdminAddress;
use crate::http::{self, Address, HttpError};

/// Limit of one call: nginx answers from memory, but a switch waits for a disk.
const LIMIT: Duration = Duration::from_secs(5);

/// A client of the admin API.
#[derive(Clone, Debug)]
pub struct Module {
    address: Address,
    shown: String,
}

impl Module {
    /// A client; it connects with each call.
    pub fn new(admin: &AdminAddress) -> Self {
        let address = match admin {
            AdminAddress::Unix(path) => Address::Unix(path.clone()),
            AdminAddress::Tcp(address) => Address::Tcp(address.to_string()),
        };
        Self { address, shown: admin.to_string() }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, EdgeError> {
        let request = http::request("GET", path, &[("host", "cutover")], None);
        let answer = match request {
            Ok(request) => http::ask(&self.address, request, LIMIT).await,
            Err(error) => Err(error),
        };
        self.read(&answer.map_err(|error| self.unreachable(&error))?)
    }

    fn read<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, EdgeError> {
        if answer.status == 200 {
            return serde_json::from_slice(&answer.body).map_err(|error| self.alien(error.to_string()));
        }
        Err(match serde_json::from_slice::<Failure>(&answer.body) {
            Ok(failure) => EdgeError::Refused(failure.error.message),
            Err(_) => self.alien(format!("status {}, and no JSON that says why", answer.status)),
        })
    }

    fn unreachable(&self, error: &HttpError) -> EdgeError {
        EdgeError::Unreachable { address: self.shown.clone(), why: error.to_string() }
    }

    fn alien(&self, why: String) -> EdgeError {
        EdgeError::Alien { address: self.shown.clone(), why }
    }

    fn refusal(&self, answer: &Answer) -> SwitchError {
        let Ok(failure) = serde_json::from_slice::<Failure>(&answer.body) else {
            let error = self.alien(format!("status {}, and no JSON that says why", answer.status));
            return SwitchError::Unknown(error);
        };
        let message = failure.error.message;
        match (failure.error.code, failure.group) {
            (ErrorCode::GenerationMismatch, Some(group)) => SwitchError::Moved(group),
            (ErrorCode::NotDurable, _) => SwitchError::NotDurable(message),
            // A worker that is about to end has answered: whoever asks again gets another one.
            (ErrorCode::Internal | ErrorCode::LeftBehind, _) => SwitchError::Unknown(self.alien(message)),
            _ => SwitchError::Refused(message),
        }
    }
}

impl Edge for Module {
    async fn groups(&self) -> Result<Groups, EdgeError> {
        self.get("/v1/groups").await
    }

    async fn group(&self, name: &str) -> Result<Group, EdgeError> {
        self.get(&format!("/v1/groups/{name}")).await
    }

    async fn stand_by(&self, group: &str, slot: &str) -> Result<(), EdgeError> {
        let body = serde_json::to_vec(&StandbyChoice { slot: slot.to_owned() })
            .map_err(|error| EdgeError::Refused(format!("the choice is not JSON: {error}")))?;
        let headers = [("host", "cutover"), ("content-type", "application/json")];
        let request = http::request("PUT", &format!("/v1/groups/{group}/standby"), &headers, Some(body));
        let answer = match request {
            Ok(request) => http::ask(&self.address, request, LIMIT).await,
            Err(error) => Err(error),
        };
        self.read::<Group>(&answer.map_err(|error| self.unreachable(&error))?).map(drop)
    }

    async fn switch(&self, group: &str, change: &RouteChange, expected: u32) -> Result<Group, SwitchError> {
        let if_match = format!("\"{expected}\"");
        let headers =
            [("host", "cutover"), ("content-type", "application/json"), ("if-match", if_match.as_str())];
        let body = serde_json::to_vec(change)
            .map_err(|error| SwitchError::Refused(format!("the change is not JSON: {error}")))?;
        let path = format!("/v1/groups/{group}/route");
        let answer = match http::request("PUT", &path, &headers, Some(body)) {
            Ok(request) => http::ask(&self.address, request, LIMIT).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(answer) if answer.status == 200 => self.read(&answer).map_err(SwitchError::Unknown),
            Ok(answer) => Err(self.refusal(&answer)),
            Err(error) if error.is_before_sending() => Err(SwitchError::NotSent(self.unreachable(&error))),
            Err(error) => Err(SwitchError::Unknown(self.unreachable(&error))),
        }
    }
}
