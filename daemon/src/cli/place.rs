//! Which daemon a verb talks to: the global options and their variables.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::CliError;
use super::client::Client;
use super::codes::Codes;
use super::follow::Board;
use super::host::Host;
use super::screen::{Colour, Paper};
use crate::config::{ConfigError, DEFAULT_PATH, DEFAULT_SOCKET, Loaded};

/// Display order of the global options, so `--help` lists them after a verb's own options.
const AFTER_OWN: usize = 100;
const HOST: &str = "CUTOVER_HOST";
const SOCKET: &str = "CUTOVER_SOCKET";
const CONFIG: &str = "CUTOVER_CONFIG";

/// The configuration file, the socket of the daemon, and the hosts. An option counts before its variable and before CUTOVER_HOST.
#[derive(Debug, Default, Args)]
pub(super) struct Place {
    /// The daemon of another machine, as in ssh://user@host; repeat it for several [default: CUTOVER_HOST]
    #[arg(long, global = true, value_name = "ADDRESS", value_delimiter = ',', display_order = AFTER_OWN)]
    host: Vec<Host>,
    /// The configuration file [default: CUTOVER_CONFIG, then /etc/cutover/cutover.toml]
    #[arg(long, global = true, value_name = "FILE", display_order = AFTER_OWN)]
    config: Option<PathBuf>,
    /// The daemon's socket [default: CUTOVER_SOCKET, then daemon.socket of the configuration]
    #[arg(long, global = true, value_name = "PATH", display_order = AFTER_OWN)]
    socket: Option<PathBuf>,
    /// When to use colours
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t, display_order = AFTER_OWN)]
    color: Colour,
}

/// Why no daemon can be chosen.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The verb works on this machine.
    #[error(
        "{option} is not for `cutover {verb}`, which works on the machine where it runs; to run it on another machine: \
         ssh HOST cutover {verb}"
    )]
    LocalOnly {
        /// The verb.
        verb: &'static str,
        /// The option or variable that names another machine.
        option: &'static str,
    },
    /// Two options name a daemon.
    #[error(
        "--host and {option} exclude each other; the socket of another machine is part of the address: ssh://HOST/PATH"
    )]
    Exclusive {
        /// The other option.
        option: &'static str,
    },
    /// A variable is not a list of addresses.
    #[error("CUTOVER_HOST \"{value}\": {why}")]
    Variable {
        /// The value.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// Two variables name a daemon.
    #[error(
        "CUTOVER_HOST and CUTOVER_SOCKET are both set: unset one of them, or choose with --host or --socket"
    )]
    Both,
}

impl Place {
    /// The daemon of this machine with this configuration or socket.
    pub(super) fn at(config: Option<PathBuf>, socket: Option<PathBuf>) -> Self {
        Self { host: Vec::new(), config, socket, color: Colour::default() }
    }

    /// The configuration file.
    pub(super) fn path(&self) -> PathBuf {
        self.given_config(&variable).unwrap_or_else(|| DEFAULT_PATH.into())
    }

    /// The socket of the option or the variable.
    pub(super) fn socket(&self) -> Option<PathBuf> {
        self.given_socket(&variable)
    }

    pub(super) fn loaded(&self) -> Result<Loaded, ConfigError> {
        Loaded::read(&self.path())
    }

    /// Where the events of deployments go.
    pub(super) fn board(&self, client: &Client, json: Option<Codes>) -> Board {
        Board::new(self.paper(), json, client.program())
    }

    /// Standard output, as the options want it.
    pub(super) fn paper(&self) -> Paper {
        Paper::stdout(self.color)
    }

    /// Refuses `--host` for a verb that works on this machine.
    pub(super) fn here(&self, verb: &'static str) -> Result<(), PlaceError> {
        match self.host.is_empty() {
            true => Ok(()),
            false => Err(PlaceError::LocalOnly { verb, option: "--host" }),
        }
    }

    /// Like [`Self::here`], and refuses the variable too, for a verb that an operator could mean for another machine.
    pub(super) fn here_only(&self, verb: &'static str) -> Result<(), PlaceError> {
        self.here(verb)?;
        match self.hosts(&variable)?.is_empty() {
            true => Ok(()),
            false => Err(PlaceError::LocalOnly { verb, option: HOST }),
        }
    }

    /// `cutover` with the hosts of the options, for a command that an operator copies.
    pub(super) fn program(&self) -> String {
        self.client().map_or("cutover".to_owned(), |client| client.program())
    }

    /// Whether the daemon of this host is meant.
    pub(super) fn is_here(&self) -> bool {
        self.hosts(&variable).is_ok_and(|hosts| hosts.is_empty())
    }

    /// A client for the hosts of the options, otherwise for the socket of this machine.
    pub(super) fn client(&self) -> Result<Client, CliError> {
        let hosts = self.hosts(&variable)?;
        match hosts.is_empty() {
            true => Ok(Client::new(self.local_socket()?)),
            false => Ok(Client::of_hosts(hosts)),
        }
    }

    /// The socket of the options, otherwise of the configuration, otherwise the default if there is no readable configuration.
    pub(super) fn local_socket(&self) -> Result<PathBuf, ConfigError> {
        // A broken group in the file must not keep an operator from the daemon that runs.
        let configured = || Loaded::read_for_start(&self.path()).map(|loaded| loaded.config.daemon.socket);
        match (self.socket(), self.given_config(&variable)) {
            (Some(socket), _) => Ok(socket),
            (None, Some(_)) => configured(),
            (None, None) => Ok(configured().unwrap_or(DEFAULT_SOCKET.into())),
        }
    }

    /// The hosts, or none if a socket of this machine is meant.
    fn hosts(&self, variable: &impl Fn(&str) -> Option<OsString>) -> Result<Vec<Host>, PlaceError> {
        if !self.host.is_empty() {
            return match (&self.socket, &self.config) {
                (Some(_), _) => Err(PlaceError::Exclusive { option: "--socket" }),
                (None, Some(_)) => Err(PlaceError::Exclusive { option: "--config" }),
                (None, None) => Ok(self.host.clone()),
            };
        }
        if self.socket.is_some() || self.config.is_some() {
            return Ok(Vec::new());
        }
        let Some(value) = variable(HOST) else { return Ok(Vec::new()) };
        let value = value.to_string_lossy().into_owned();
        let texts = value.split([',', ' ']).filter(|text| !text.is_empty());
        let hosts: Result<Vec<Host>, _> = texts.map(str::parse).collect();
        match hosts {
            Ok(hosts) if !hosts.is_empty() && variable(SOCKET).is_some() => Err(PlaceError::Both),
            Ok(hosts) => Ok(hosts),
            Err(bad) => Err(PlaceError::Variable { why: bad.to_string(), value: value.clone() }),
        }
    }

    fn given_socket(&self, variable: &impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
        self.socket.clone().or_else(|| variable(SOCKET).map(PathBuf::from))
    }

    fn given_config(&self, variable: &impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
        self.config.clone().or_else(|| variable(CONFIG).map(PathBuf::from))
    }
}

/// A variable of the environment. An empty one counts as not set.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        place: Place,
    }

    /// What the options and the variables come to: hosts, or the error.
    fn hosts(options: &str, variables: &[(&str, &str)]) -> String {
        let words = std::iter::once("cutover").chain(options.split_whitespace());
        let Line { place } = Line::try_parse_from(words).unwrap();
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        };
        match place.hosts(&variable) {
            Ok(hosts) => Vec::from_iter(hosts.iter().map(Host::to_string)).join(" "),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn an_option_counts_before_the_variable_with_hosts() {
        let host = ("CUTOVER_HOST", "ssh://a,ssh://b unix:/c");
        let socket = ("CUTOVER_SOCKET", "/s");
        for (options, variables, expected) in [
            ("", &[][..], ""),
            ("", &[host], "ssh://a ssh://b unix:/c"),
            ("", &[("CUTOVER_HOST", " , ")], ""),
            ("", &[socket], ""),
            ("--host ssh://d", &[host, socket], "ssh://d"),
            ("--host ssh://d,ssh://e --host unix:/f", &[], "ssh://d ssh://e unix:/f"),
            ("--socket /s", &[host], ""),
            ("--config /c", &[host], ""),
            ("", &[host, ("CUTOVER_CONFIG", "/c")], "ssh://a ssh://b unix:/c"),
        ] {
            assert_eq!(hosts(options, variables), expected, "{options} {variables:?}");
        }
    }

    #[test]
    fn two_daemons_at_once_are_refused() {
        for (options, variables, part) in [
            ("--host ssh://a --socket /s", &[][..], "--host and --socket exclude each other"),
            ("--host ssh://a --config /c", &[], "--host and --config exclude each other"),
            ("", &[("CUTOVER_HOST", "ssh://a"), ("CUTOVER_SOCKET", "/s")], "are both set"),
            ("", &[("CUTOVER_HOST", "ssh://a,b")], "CUTOVER_HOST \"ssh://a,b\": \"b\" is neither ssh://"),
        ] {
            let said = hosts(options, variables);
            assert!(said.contains(part), "{said}");
        }
    }
}
