//! Why ssh made no connection with a daemon, and what helps.

use std::io::{self, ErrorKind};
use std::time::Duration;

use crate::cli::greeting::{NO_DAEMON, NOT_PERMITTED};
use crate::cli::host::SshHost;
use crate::cli::terminal::plain;

/// Why there is no connection. Nothing has been sent to a daemon.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// The variable cannot be split into words.
    #[error("CUTOVER_SSH \"{0}\" is not a command: it is empty, or a quote is not closed")]
    Variable(String),
    /// The program cannot be started.
    #[error("the program \"{program}\" cannot be started: {source}{}", install(source))]
    Start {
        /// The program.
        program: String,
        /// The reason.
        source: io::Error,
    },
    /// Nothing came.
    #[error("no connection within {} s{}", patience.as_secs(), after(said))]
    Silent {
        /// How long the client waited.
        patience: Duration,
        /// What ssh has said.
        said: String,
    },
    /// ssh itself failed.
    #[error("ssh: {said}{}", advice(said, login))]
    Ssh {
        /// What ssh has said.
        said: String,
        /// `ssh` with the options of the address.
        login: String,
    },
    /// The other machine has no `cutover`.
    #[error(
        "its shell finds no program `cutover` ({said}): install it there, or put its folder into the PATH of commands over ssh, or \
         give its full path in the forced command of authorized_keys"
    )]
    NoProgram {
        /// What the shell has said.
        said: String,
    },
    /// The other machine has a `cutover` without the verb.
    #[error("`cutover` there does not know dial-stdio, so it is older than this one ({said}): update it")]
    Older {
        /// What it has said.
        said: String,
    },
    /// The other end said why.
    #[error("{0}")]
    There(String),
    /// Something else answered.
    #[error(
        "what runs there is not `cutover dial-stdio`{}; look at the shell of the user and at command= in authorized_keys",
        shown(*code, said, printed.as_deref())
    )]
    Foreign {
        /// Its exit code.
        code: Option<i32>,
        /// What it has written to standard error.
        said: String,
        /// The first line of its output.
        printed: Option<String>,
    },
}

impl SshError {
    pub(super) fn of_exit(host: &SshHost, code: Option<i32>, said: String, printed: Option<String>) -> Self {
        let said = plain(&said).into_owned();
        match code {
            Some(255) if said.is_empty() => {
                Self::Ssh { said: "it ended with exit code 255 and no reason".to_owned(), login: login(host) }
            }
            Some(255) => Self::Ssh { said, login: login(host) },
            Some(126 | 127) => Self::NoProgram { said },
            Some(2) if said.contains("dial-stdio") => Self::Older { said },
            Some(code) if [NO_DAEMON, NOT_PERMITTED].map(i32::from).contains(&code) => {
                Self::There(said.strip_prefix("cutover: ").unwrap_or(&said).to_owned())
            }
            code => Self::Foreign { code, said, printed: printed.map(|line| plain(&line).into_owned()) },
        }
    }
}

fn login(host: &SshHost) -> String {
    let port = host.port.map_or_else(String::new, |port| format!("-p {port} "));
    let user = host.user.as_ref().map_or_else(String::new, |user| format!("{user}@"));
    format!("ssh {port}{user}{}", host.host)
}

fn install(source: &io::Error) -> &'static str {
    match source.kind() {
        ErrorKind::NotFound => "; install it (Debian: openssh-client), or name another one in CUTOVER_SSH",
        _ => "",
    }
}

fn after(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": ssh: {said}") }
}

fn advice(said: &str, login: &str) -> String {
    let says = |text: &str| said.contains(text);
    if says("REMOTE HOST IDENTIFICATION HAS CHANGED") || says("Offending") {
        ": the host has another key than before; find out why before you accept it with ssh-keygen -R"
            .to_owned()
    } else if says("Host key verification failed") {
        format!("; compare the host's key and accept it once, by typing: {login}")
    } else if says("Permission denied") {
        format!(
            "; the host accepts none of your keys (is one in the agent, or without a passphrase?); try: {login}"
        )
    } else if says("no reason") {
        format!("; try: {login}")
    } else {
        String::new()
    }
}

fn shown(code: Option<i32>, said: &str, printed: Option<&str>) -> String {
    let mut text = String::new();
    if let Some(line) = printed {
        text.push_str(&format!(": it prints \"{line}\""));
    }
    if !said.is_empty() {
        text.push_str(&format!(": {said}"));
    }
    if let Some(code) = code {
        text.push_str(&format!(" (exit code {code})"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said about an exit of ssh: each line names the next step.
    #[test]
    fn every_failure_says_what_helps() {
        let host = SshHost {
            user: Some("deploy".to_owned()),
            host: "edge".to_owned(),
            port: Some(2222),
            socket: None,
        };
        for (code, said, printed, parts) in [
            (
                Some(255),
                "deploy@edge: Permission denied (publickey)",
                None,
                &["ssh: deploy@edge: ", "try: ssh -p 2222 deploy@edge"][..],
            ),
            (
                Some(255),
                "Host key verification failed",
                None,
                &["accept it once, by typing: ssh -p 2222 deploy@edge"],
            ),
            (
                Some(255),
                "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!; Host key verification failed",
                None,
                &["another key than before; find out why"],
            ),
            (
                Some(255),
                "connect to host edge port 22: No route to host",
                None,
                &["ssh: connect to host edge"],
            ),
            (
                Some(127),
                "bash: line 1: cutover: command not found",
                None,
                &["finds no program", "install it there", "authorized_keys"],
            ),
            (
                Some(2),
                "error: unrecognized subcommand 'dial-stdio'",
                None,
                &["older than this one", "update it"],
            ),
            (
                Some(69),
                "cutover: no daemon answers at /run/c.sock",
                None,
                &["no daemon answers at /run/c.sock"],
            ),
            (Some(77), "cutover: user 7 may not use", None, &["user 7 may not use"]),
            (
                Some(1),
                "",
                Some("This account is \u{1b}[2Jnot available."),
                &["it prints \"This account is \\u{1b}[2Jnot available.\" (exit code 1)"],
            ),
            (None, "", None, &["what runs there is not `cutover dial-stdio`; look at"]),
        ] {
            let error =
                SshError::of_exit(&host, code, said.to_owned(), printed.map(str::to_owned)).to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
            assert!(!error.starts_with("cutover: "), "{error}");
        }
    }
}
