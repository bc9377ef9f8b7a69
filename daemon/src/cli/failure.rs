//! The way out of a verb that fails: a sentence on standard error, and with `--json` one object on standard output.

use std::io::{self, Write};

use serde::Serialize;

use super::terminal::plain;
use super::{CliError, ClientError, Verb};
use crate::api::command_in;
use crate::control::BusyAnswer;

/// The exit code of a request that something is in the way of, which will be over by itself.
pub(super) const BUSY: u8 = 6;

/// The last line of `--json` when a verb fails.
#[derive(Debug, Serialize)]
struct Failure {
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    exit_code: u8,
    next: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    busy: Option<BusyAnswer>,
}

/// Tells why a verb has failed. `program`: `cutover` with the hosts of the command line.
pub(super) fn tell(error: &CliError, json: bool, program: &str) -> u8 {
    let exit_code = error.exit_code();
    let text = error.to_string();
    if json {
        let (code, busy) = match error {
            CliError::Client(ClientError::Answered(answer)) => {
                (Some(answer.code.clone()), answer.busy.clone())
            }
            _ => (None, None),
        };
        let next = next(error, &text).replacen("cutover", program, 1);
        print(&Failure { error: text.clone(), code, exit_code, next, busy });
    }
    super::print_error(&plain(&text));
    exit_code
}

/// Tells why a command line is wrong, if it wants JSON. clap says it to people.
pub(super) fn tell_usage(error: &clap::Error, words: &[String]) -> u8 {
    let exit_code = u8::try_from(error.exit_code()).unwrap_or(2);
    let wants_json = words.iter().take_while(|word| *word != "--").any(|word| word == "--json");
    if wants_json && error.use_stderr() {
        let text = error.render().to_string();
        let lines: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
        let first = lines.join(" ").trim_start_matches("error: ").to_owned();
        let verb = words.iter().skip(1).find(|word| Verb::is_name(word));
        let next = verb.map_or("cutover --help".to_owned(), |verb| format!("cutover {verb} --help"));
        print(&Failure { error: first, code: None, exit_code, next, busy: None });
    }
    let _ = error.print();
    exit_code
}

fn print(failure: &Failure) {
    // A reader that has closed the pipe wants no more.
    let _ = writeln!(io::stdout(), "{}", serde_json::json!(failure));
}

/// The command that helps, or shows more.
fn next(error: &CliError, text: &str) -> String {
    let answered = match error {
        CliError::Client(ClientError::Answered(answer)) => answer.next.clone(),
        _ => None,
    };
    answered.or_else(|| command_in(text)).unwrap_or_else(|| {
        match error {
            CliError::Config(_) | CliError::Client(ClientError::Down { .. }) => "cutover check",
            CliError::Place(_) => "cutover --help",
            _ => "cutover status",
        }
        .to_owned()
    })
}
