//! Follows a deployment to its end, across restarts of the daemon.

use std::time::Duration;

use cutover_core::deployment::Outcome;
use futures_util::future::try_join_all;
use tokio::time::Instant;

use super::CliError;
use super::client::{Client, ClientError, LineStream};
use super::terminal::plain;
use crate::api::{DeploymentEvent, OfGroup};
use crate::control::DeploymentStatus;
use cutover_core::name::in_path;
use cutover_core::shell::quoted;

mod printer;

pub(super) use printer::Board;
use printer::Printer;

/// How long the daemon may be unreachable: it restarts within this time.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same for a daemon of another machine: networks stay away for longer.
const PATIENCE_REMOTE: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_millis(200);
/// The longest pause between two connections through ssh. Each one costs both machines a key exchange.
const PAUSE_REMOTE: Duration = Duration::from_secs(5);
/// A connection that lasts this long counts as a daemon that is back.
const STAY: Duration = Duration::from_secs(1);
/// How often the live line looks what goes on.
const LOOK: Duration = Duration::from_millis(500);

/// Prints each event of a deployment until one has an outcome, and returns the outcome. Follows several that move together at
/// once; then the lines name the group. If it is interrupted, it says that the deployment goes on.
pub(super) async fn follow_all(
    client: &Client,
    deployments: &[OfGroup],
    board: &Board,
) -> Result<Vec<Outcome>, CliError> {
    let width = deployments.iter().map(|one| one.group.len()).max().filter(|_| deployments.len() > 1);
    board.expects(deployments.len());
    let following = deployments.iter().map(|OfGroup { group, deployment, after }| {
        let label = width.map(|width| format!("{:<width$}  ", plain(group))).unwrap_or_default();
        to_its_end(client, (group, deployment), *after, Printer::new(board, label), None)
    });
    let group = deployments.iter().map(|one| quoted(&one.group)).next().unwrap_or_default();
    tokio::select! {
        outcomes = try_join_all(following) => outcomes,
        () = interrupted(board) => {
            Err(ClientError::Interrupted { cutover: client.program(), group }.into())
        }
    }
}

/// Like [`follow_all`] for one deployment, and goes on after the outcome `past`.
pub(super) async fn follow_past(
    client: &Client,
    (group, deployment): (&str, &str),
    after: i64,
    board: &Board,
    past: Option<Outcome>,
) -> Result<Outcome, CliError> {
    tokio::select! {
        outcome = to_its_end(client, (group, deployment), after, Printer::new(board, String::new()), past) => outcome,
        () = interrupted(board) => {
            Err(ClientError::Interrupted { cutover: client.program(), group: quoted(group) }.into())
        }
    }
}

async fn to_its_end(
    client: &Client,
    (group, deployment): (&str, &str),
    mut after: i64,
    mut printer: Printer,
    past: Option<Outcome>,
) -> Result<Outcome, CliError> {
    let (patience, longest) = match client.is_remote() {
        true => (PATIENCE_REMOTE, PAUSE_REMOTE),
        false => (PATIENCE, PAUSE),
    };
    let mut contact = Contact::default();
    loop {
        match until_broken(client, deployment, &mut after, &mut printer, &mut contact).await {
            Ok(Some(outcome)) if Some(outcome) == past => continue,
            Ok(Some(outcome)) => return Ok(outcome),
            // The stream of a deployment that is over ends. A request may have ended it without another outcome.
            Ok(None) => {
                let over = ended(client, deployment).await;
                if let Some(outcome) = over {
                    printer.close(group, deployment, outcome)?;
                    return Ok(outcome);
                }
            }
            Err(CliError::Client(error)) if error.may_pass() => contact.broken(&error, printer.board()),
            Err(error) => return Err(error),
        }
        let since = *contact.away.get_or_insert_with(Instant::now);
        if since.elapsed() >= patience {
            let (deployment, group) = (deployment.to_owned(), quoted(group));
            return Err(ClientError::Gone { deployment, patience, cutover: client.program(), group }.into());
        }
        tokio::time::sleep(contact.pause(longest)).await;
    }
}

/// What is known of the connection with the daemon, and what the operator has been told about it.
#[derive(Default)]
struct Contact {
    /// Since when the daemon has been away.
    away: Option<Instant>,
    /// The last reason that was shown. `None` if the connection is there.
    shown: Option<String>,
    pause: Duration,
}

impl Contact {
    /// Shows why the connection is broken, once for each reason.
    fn broken(&mut self, error: &ClientError, board: &Board) {
        let why = error.to_string();
        if self.shown.as_ref() != Some(&why) {
            let goes_on = if self.shown.is_none() { "; the deployment goes on" } else { "" };
            board.note(&format!("{}{goes_on}; connecting again", plain(&why)));
            self.shown = Some(why);
        }
    }

    /// The daemon has sent the head of its answer.
    fn answered(&mut self, board: &Board) {
        if self.shown.take().is_some() {
            board.note("connected again");
        }
    }

    /// The connection has lasted, or has brought an event.
    fn stays(&mut self) {
        *self = Self::default();
    }

    /// The next pause, twice as long as the one before.
    fn pause(&mut self, longest: Duration) -> Duration {
        self.pause = (self.pause * 2).clamp(PAUSE, longest);
        self.pause
    }
}

/// The outcome of a deployment that has ended.
async fn ended(client: &Client, deployment: &str) -> Option<Outcome> {
    let status = status(client, deployment).await.ok()?;
    status.outcome.filter(|outcome| outcome.as_str() == status.phase)
}

async fn until_broken(
    client: &Client,
    deployment: &str,
    after: &mut i64,
    printer: &mut Printer,
    contact: &mut Contact,
) -> Result<Option<Outcome>, CliError> {
    let mut lines =
        client.lines(&format!("/v1/deployments/{}/events?after={after}", in_path(deployment))).await?;
    contact.answered(printer.board());
    let there = Instant::now();
    loop {
        let line = next_line(client, deployment, &mut lines, printer).await;
        // The daemon is back, even without an event. A connection that ends at once does not count.
        if there.elapsed() >= STAY || matches!(line, Ok(Some(_))) {
            contact.stays();
        }
        let Some(line) = line? else { return Ok(None) };
        let event: DeploymentEvent =
            serde_json::from_str(&line).map_err(|error| ClientError::Unrecognised(error.to_string()))?;
        *after = event.seq;
        printer.print(&line, &event)?;
        if let Some(outcome) = event.outcome {
            return Ok(Some(outcome));
        }
    }
}

/// Waits for Ctrl-C and ends the live lines.
async fn interrupted(board: &Board) {
    // Without a handler for it, Ctrl-C ends the program.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
    board.clear();
}

/// The next line of events. Shows meanwhile what goes on, if somebody looks at a terminal.
async fn next_line(
    client: &Client,
    deployment: &str,
    lines: &mut LineStream,
    printer: &Printer,
) -> Result<Option<String>, ClientError> {
    if !printer.board().is_live() {
        return lines.next().await;
    }
    let looking = async {
        loop {
            // The stream of events tells when the daemon is away.
            if let Ok(status) = status(client, deployment).await {
                printer.show(&status);
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        line = lines.next() => line,
        () = looking => Ok(None),
    }
}

async fn status(client: &Client, deployment: &str) -> Result<DeploymentStatus, ClientError> {
    client.get(&format!("/v1/deployments/{}", in_path(deployment))).await
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    use super::super::codes::Codes;
    use super::super::screen::{Colour, Paper};
    use super::*;

    fn event(seq: u32, more: &str) -> String {
        format!(
            "{{\"time\":\"2026-01-01T00:00:00Z\",\"deployment\":\"d\",\"group\":\"g\",\
             \"phase\":\"warm\",\"message\":\"\",\"seq\":{seq}{more}}}\n"
        )
    }

    #[test]
    fn pauses_grow_and_begin_anew_with_a_connection_that_stays() {
        let mut contact = Contact::default();
        let mut pauses =
            |number: usize| Vec::from_iter((0..number).map(|_| contact.pause(PAUSE_REMOTE).as_millis()));
        assert_eq!(pauses(7), [200, 400, 800, 1600, 3200, 5000, 5000]);
        contact.stays();
        assert_eq!(contact.pause(PAUSE), PAUSE);
        assert_eq!(contact.pause(PAUSE), PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_is_there_again_is_followed_however_long_it_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let unknown = "{\"code\":\"unknown_deployment\",\"message\":\"\"}";
        let daemon = tokio::spawn(async move {
            for (status, body, silent) in [
                (200, event(1, ""), Duration::ZERO),
                (404, unknown.to_owned(), Duration::ZERO),
                (500, "{\"code\":\"journal\",\"message\":\"disk full\"}".to_owned(), Duration::ZERO),
                (200, String::new(), PATIENCE * 2),
                (404, unknown.to_owned(), Duration::ZERO),
                (200, event(2, ",\"outcome\":\"completed\""), Duration::ZERO),
            ] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 4096]).await.unwrap();
                let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n\r\n{body}");
                stream.write_all(head.as_bytes()).await.unwrap();
                tokio::time::sleep(silent).await;
            }
        });
        let one = OfGroup { group: "g".to_owned(), deployment: "d".to_owned(), after: 0 };
        let codes = Some(Codes::new(Outcome::exit_code));
        let board = Board::new(Paper::stdout(Colour::Never), codes, String::new());
        let outcomes = follow_all(&Client::new(path), &[one], &board).await.unwrap();
        assert_eq!(outcomes, [Outcome::Completed]);
        daemon.await.unwrap();
    }
}
