//! What is counted for each slot, on the wire. How it is kept in memory: [`shard`](crate::shard).

use serde::{Deserialize, Serialize};

/// What a slot has been sent and has answered. Totals only grow while nginx runs; `in_flight` is a gauge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Requests (subrequests included) that were given to the slot.
    pub requests: u64,
    /// Tries of a peer; a request that nginx retries has several. A try that found no live peer counts too.
    pub attempts: u64,
    /// Attempts that failed: no connection, no answer in time, a bad or cut-off answer, a status that
    /// `proxy_next_upstream` treats as a failure, or no live peer.
    pub attempts_failed: u64,
    /// How the finished requests ended.
    pub responses: Responses,
    /// Requests that the slot holds now, upgraded connections included.
    pub in_flight: u64,
}

/// Finished requests by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Responses {
    /// Status 100-199: in practice 101, upgraded connections that have closed.
    #[serde(rename = "1xx")]
    pub informational: u64,
    /// Status 200-299.
    #[serde(rename = "2xx")]
    pub success: u64,
    /// Status 300-399.
    #[serde(rename = "3xx")]
    pub redirection: u64,
    /// Status 400-499.
    #[serde(rename = "4xx")]
    pub client_error: u64,
    /// Status 500-599, from the slot or from nginx because the slot gave no good answer.
    #[serde(rename = "5xx")]
    pub server_error: u64,
    /// Ended because the client went away, or was too slow.
    pub aborted: u64,
    /// Failed here, and were tried again on the fallback of a change on trial.
    #[serde(default)]
    pub rescued: u64,
}

impl Responses {
    /// Finished requests, however they ended.
    pub fn total(&self) -> u64 {
        self.informational
            + self.success
            + self.redirection
            + self.client_error
            + self.server_error
            + self.aborted
            + self.rescued
    }

    /// Each with its class in metrics; `rescued` is the last one.
    pub fn by_class(&self) -> [(&'static str, u64); 7] {
        [
            ("1xx", self.informational),
            ("2xx", self.success),
            ("3xx", self.redirection),
            ("4xx", self.client_error),
            ("5xx", self.server_error),
            ("aborted", self.aborted),
            ("rescued", self.rescued),
        ]
    }

    /// Combines two, number by number.
    pub fn zip(&self, other: &Self, with: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            informational: with(self.informational, other.informational),
            success: with(self.success, other.success),
            redirection: with(self.redirection, other.redirection),
            client_error: with(self.client_error, other.client_error),
            server_error: with(self.server_error, other.server_error),
            aborted: with(self.aborted, other.aborted),
            rescued: with(self.rescued, other.rescued),
        }
    }
}

impl Counters {
    /// Requests that got an answer. One whose client went away is no success and no failure.
    pub fn answered(&self) -> u64 {
        self.responses.total().saturating_sub(self.responses.aborted)
    }

    /// Answers that count against the slot: 5xx, and those that another slot had to give in its place.
    pub fn errors(&self) -> u64 {
        self.responses.server_error.saturating_add(self.responses.rescued)
    }

    /// Combines two, number by number; `in_flight` included.
    pub fn zip(&self, other: &Self, with: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            requests: with(self.requests, other.requests),
            attempts: with(self.attempts, other.attempts),
            attempts_failed: with(self.attempts_failed, other.attempts_failed),
            responses: self.responses.zip(&other.responses, &with),
            in_flight: with(self.in_flight, other.in_flight),
        }
    }

    /// What was added since `earlier`. A total that went backwards (nginx was restarted) counts from zero; `in_flight` is
    /// taken from `self`.
    pub fn since(&self, earlier: &Counters) -> Counters {
        let restarted = self.requests < earlier.requests;
        let base = if restarted { Counters::default() } else { *earlier };
        Counters { in_flight: self.in_flight, ..self.zip(&base, u64::saturating_sub) }
    }
}

/// The same of the slot's previews: requests whose slot `cutover_slot` has fixed. [`Counters`] and everything else are of users'
/// requests only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previews {
    /// Previews (subrequests included) that were given to the slot.
    pub requests: u64,
    /// How the finished ones ended; none is ever rescued.
    pub responses: Responses,
    /// Previews that the slot holds now, upgraded connections included.
    pub in_flight: u64,
    /// Upgraded connections (WebSockets) among them.
    pub upgraded: u64,
}

/// Failed attempts by what was wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    /// No connection: refused, unreachable, reset while it was made.
    pub connect: u64,
    /// No connection, no progress in sending, or no answer in time.
    pub timeout: u64,
    /// A bad answer, one that was cut off, or a connection that ended without one.
    pub answer: u64,
    /// A status that `proxy_next_upstream` treats as a failure.
    pub status: u64,
    /// No live peer to try.
    pub no_peer: u64,
}

impl Failures {
    /// Each with its word in metrics.
    pub fn by_reason(&self) -> [(&'static str, u64); 5] {
        [
            ("connect", self.connect),
            ("timeout", self.timeout),
            ("answer", self.answer),
            ("status", self.status),
            ("no_peer", self.no_peer),
        ]
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.by_reason().iter().map(|(_, count)| count).sum()
    }

    /// Combines two, number by number.
    pub fn zip(&self, other: &Self, with: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            connect: with(self.connect, other.connect),
            timeout: with(self.timeout, other.timeout),
            answer: with(self.answer, other.answer),
            status: with(self.status, other.status),
            no_peer: with(self.no_peer, other.no_peer),
        }
    }
}

/// The 5xx answers that tell most, by status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerErrors {
    /// The application failed.
    #[serde(rename = "500")]
    pub internal: u64,
    /// No answer, or a bad one.
    #[serde(rename = "502")]
    pub bad_gateway: u64,
    /// The application or nginx is out of room.
    #[serde(rename = "503")]
    pub unavailable: u64,
    /// No answer in time.
    #[serde(rename = "504")]
    pub gateway_timeout: u64,
}

impl ServerErrors {
    /// Each with its status.
    pub fn by_status(&self) -> [(&'static str, u64); 4] {
        [
            ("500", self.internal),
            ("502", self.bad_gateway),
            ("503", self.unavailable),
            ("504", self.gateway_timeout),
        ]
    }

    /// Combines two, number by number.
    pub fn zip(&self, other: &Self, with: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            internal: with(self.internal, other.internal),
            bad_gateway: with(self.bad_gateway, other.bad_gateway),
            unavailable: with(self.unavailable, other.unavailable),
            gateway_timeout: with(self.gateway_timeout, other.gateway_timeout),
        }
    }
}

/// Bytes on connections to a slot, heads of requests and answers included; with TLS what is inside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes {
    /// To the slot.
    pub sent: u64,
    /// From the slot.
    pub received: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_counts_from_zero_after_a_restart() {
        let before = Counters { requests: 100, attempts: 100, ..Counters::default() };
        let after = Counters { requests: 7, attempts: 8, in_flight: 2, ..Counters::default() };
        assert_eq!(after.since(&before).requests, 7);
        assert_eq!(after.since(&before).attempts, 8);
        let later = Counters { requests: 10, attempts: 12, ..Counters::default() };
        assert_eq!(later.since(&after).requests, 3);
    }

    #[test]
    fn classes_have_their_names_on_the_wire() {
        let json = serde_json::to_value(Counters::default()).unwrap();
        for class in ["1xx", "2xx", "3xx", "4xx", "5xx", "aborted", "rescued"] {
            assert_eq!(json["responses"][class], 0, "{class}");
        }
    }
}
