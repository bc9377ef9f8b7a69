//! One edge among several, and how well it answers.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::edge::{Edge, EdgeError, ShiftError};

/// How long the other edges wait for one that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// As long as a slow network may take, with a new TLS connection for each call.
    Patient,
    /// Not long: the traffic of the others must go back.
    Short,
}

impl Wait {
    /// The limit. An edge that did not answer the last time has less: the others do not wait for it again and again.
    fn limit(self, is_late: bool) -> Duration {
        Duration::from_millis(match (self, is_late) {
            (Self::Patient, false) => 2_000,
            (Self::Patient, true) => 1_000,
            (Self::Short, false) => 500,
            (Self::Short, true) => 50,
        })
    }
}

/// An edge, and since when it does not answer.
#[derive(Debug)]
pub struct Member<E> {
    edge: E,
    away_since: Mutex<Option<Instant>>,
}

impl<E: Edge> Member<E> {
    /// An edge.
    pub fn new(edge: E) -> Self {
        Self { edge, away_since: Mutex::default() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.edge.name()
    }

    /// The edge.
    pub fn edge(&self) -> &E {
        &self.edge
    }

    /// How long it has not answered. `None`: it answered the last time.
    pub(super) fn away_for(&self) -> Option<Duration> {
        self.away_since.lock().map(|since| since.elapsed())
    }

    /// The answer to a reading. Among several edges, one that does not answer in time is away. `wait` is `None` for a single edge.
    pub(super) async fn in_time<T>(
        &self,
        reading: impl Future<Output = Result<T, EdgeError>>,
        wait: Option<Wait>,
    ) -> Result<T, EdgeError> {
        let Some(wait) = wait else { return self.remember(reading.await) };
        let limit = wait.limit(self.away_for().is_some());
        let answer = match tokio::time::timeout(limit, reading).await {
            Ok(answer) => answer,
            Err(_) => Err(EdgeError::Late { limit }),
        };
        self.remember(answer)
    }

    /// The answer to a change. Among several edges, one that does not answer in time leaves the outcome unknown.
    pub(super) async fn change_in_time<T>(
        &self,
        change: impl Future<Output = Result<T, ShiftError>>,
        among_several: bool,
        limit: Duration,
    ) -> Result<T, ShiftError> {
        if !among_several {
            return change.await;
        }
        match tokio::time::timeout(limit, change).await {
            Ok(answer) => answer,
            Err(_) => Err(ShiftError::Unknown(EdgeError::Late { limit })),
        }
    }

    fn remember<T>(&self, answer: Result<T, EdgeError>) -> Result<T, EdgeError> {
        let mut since = self.away_since.lock();
        match &answer {
            Ok(_) => *since = None,
            Err(_) => {
                since.get_or_insert_with(Instant::now);
            }
        }
        answer
    }
}
