//! `--wait`: sends a request again until nothing is in its way.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use cutover_engine::policy;
use tokio::time::Instant;

use super::client::{Client, ClientError};
use super::terminal::plain;
use crate::api::ErrorAnswer;
use crate::control::Waiting;

/// Pause between two tries.
const PAUSE: Duration = Duration::from_secs(1);
/// The same through ssh. Each try costs both machines a key exchange.
const PAUSE_REMOTE: Duration = Duration::from_secs(5);
/// How long a daemon may be away meanwhile: it restarts within this time.
const AWAY: Duration = Duration::from_secs(60);

/// The option of verbs that something may be in the way of.
#[derive(Debug, Default, Args)]
pub(super) struct Wait {
    /// Wait while another deployment is in the way, for at most a time, as in --wait=10m [default: without a limit]
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    wait: Option<Limit>,
}

/// How long to wait; `None`: without a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limit(Option<Duration>);

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" => Ok(Self(None)),
            text => Ok(Self(Some(text.parse::<policy::Duration>()?.get()))),
        }
    }
}

impl Wait {
    /// Calls until nothing is in the way, or until the time is over. Without `--wait` it calls once.
    pub(super) async fn until_free<T>(
        &self,
        client: &Client,
        call: impl AsyncFn(Option<Waiting>) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let Some(Limit(limit)) = self.wait else { return call(None).await };
        tokio::select! {
            done = until_free(client, limit, call) => done,
            _ = tokio::signal::ctrl_c() => Err(ClientError::NotBegun),
        }
    }
}

async fn until_free<T>(
    client: &Client,
    limit: Option<Duration>,
    call: impl AsyncFn(Option<Waiting>) -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    let begin = Instant::now();
    let mut waiting = Waiting { ticket: ticket(), seen: Vec::new() };
    let (mut told, mut away): (BTreeSet<String>, Option<Instant>) = (BTreeSet::new(), None);
    loop {
        let error = match call(Some(waiting.clone())).await {
            Err(error) => error,
            done => return done,
        };
        let in_the_way = match &error {
            ClientError::Answered(answer) if answer.busy.is_some() => {
                away = None;
                remember(answer, &mut waiting)
            }
            // It takes its place in the line again when the daemon is back.
            error if error.permits_another_change() && !told.is_empty() => {
                let since = *away.get_or_insert_with(Instant::now);
                if since.elapsed() >= AWAY {
                    return Err(ClientError::NotFree { waited: begin.elapsed(), last: error.to_string() });
                }
                "the daemon".to_owned()
            }
            _ => return Err(error),
        };
        if told.insert(in_the_way) {
            let _ = writeln!(io::stderr(), "cutover: waiting: {}", plain(&error.to_string()));
        }
        let pause = if client.is_remote() { PAUSE_REMOTE } else { PAUSE };
        let left = limit.map_or(pause, |limit| limit.saturating_sub(begin.elapsed()));
        if left.is_zero() {
            return Err(match error {
                ClientError::Answered(mut answer) => {
                    let waited = policy::Duration::from(Duration::from_secs(begin.elapsed().as_secs()));
                    answer.message = format!("waited for {waited}; {}", answer.message);
                    ClientError::Answered(answer)
                }
                error => ClientError::NotFree { waited: begin.elapsed(), last: error.to_string() },
            });
        }
        tokio::time::sleep(pause.min(left)).await;
    }
}

/// Notes the deployment in the way. Returns what is told once.
fn remember(answer: &ErrorAnswer, waiting: &mut Waiting) -> String {
    let busy = answer.busy.clone().unwrap_or_default();
    match busy.deployment {
        Some(id) => {
            if !waiting.seen.contains(&id) {
                waiting.seen.push(id.clone());
            }
            id
        }
        None => format!("{} {}", busy.who, busy.phase),
    }
}

/// A text that no other caller has.
fn ticket() -> String {
    // The kernel's random id is another one at each reading.
    std::fs::read_to_string("/proc/sys/kernel/random/uuid")
        .map_or_else(|_| std::process::id().to_string(), |uuid| uuid.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        group: String,
        #[command(flatten)]
        wait: Wait,
    }

    #[test]
    fn with_and_without_a_limit() {
        let wait = |words: &[&str]| Line::try_parse_from(words).map(|line| line.wait.wait);
        assert_eq!(wait(&["x", "shop"]).unwrap(), None);
        assert_eq!(wait(&["x", "--wait", "shop"]).unwrap(), Some(Limit(None)));
        assert_eq!(wait(&["x", "--wait=10m", "shop"]).unwrap(), Some(Limit(Some(Duration::from_secs(600)))));
        let said = wait(&["x", "--wait=soon", "shop"]).unwrap_err().to_string();
        assert!(said.contains("\"soon\" is not a duration, as in \"30s\""), "{said}");
    }
}
