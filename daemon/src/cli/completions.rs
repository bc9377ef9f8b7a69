//! `cutover completions SHELL`: the shell asks this program for words, so that it knows the groups of the configuration.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, Args, Command, CommandFactory, ValueEnum};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};

use super::{Arguments, CliError, Place};
use crate::config::Loaded;
use crate::control::{DeploymentStatus, GroupStatus};

/// The variable by which the shell asks.
const VARIABLE: &str = "CUTOVER_COMPLETE";
/// How long a daemon may take. Somebody has pressed a key and waits.
const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell. To use it in bash: source <(cutover completions bash)
    shell: Shell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Completions {
    pub(super) fn run(&self) -> Result<u8, CliError> {
        let shell: &dyn EnvCompleter = match self.shell {
            Shell::Bash => &Bash,
            Shell::Zsh => &Zsh,
            Shell::Fish => &Fish,
        };
        let mut script = Vec::new();
        shell.write_registration(VARIABLE, "cutover", "cutover", "cutover", &mut script)?;
        io::Write::write_all(&mut io::stdout(), &script)?;
        Ok(0)
    }
}

/// Answers a shell that asks for words, and ends the program then.
pub(super) fn answer() {
    CompleteEnv::with_factory(|| with_names(Arguments::command())).var(VARIABLE).complete();
}

/// Lets the arguments that are names be completed with those that there are.
fn with_names(mut command: Command) -> Command {
    let verbs: Vec<String> = command.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    for verb in verbs {
        command = command.mut_subcommand(verb, |verb| verb.mut_args(completed));
    }
    command
}

fn completed(arg: Arg) -> Arg {
    match arg.get_id().as_str() {
        "group" | "groups" => arg.add(ArgValueCompleter::new(groups)),
        "deployment" => arg.add(ArgValueCompleter::new(deployments)),
        _ => arg,
    }
}

/// The groups of the running daemon, otherwise those of the configuration.
fn groups(typed: &OsStr) -> Vec<CompletionCandidate> {
    let place = Place::of_words(std::env::args_os());
    let of_daemon = asked::<Vec<GroupStatus>>(&place, "/v1/status");
    let names: Vec<String> = match of_daemon {
        Some(all) => all.into_iter().map(|status| status.group).collect(),
        None => Loaded::read(&place.path())
            .map(|loaded| loaded.config.group.keys().map(|name| name.as_str().to_owned()).collect())
            .unwrap_or_default(),
    };
    candidates(names, typed)
}

fn deployments(typed: &OsStr) -> Vec<CompletionCandidate> {
    let place = Place::of_words(std::env::args_os());
    let all = asked::<Vec<DeploymentStatus>>(&place, "/v1/deployments?limit=50").unwrap_or_default();
    candidates(all.into_iter().map(|status| status.deployment).collect(), typed)
}

fn candidates(names: Vec<String>, typed: &OsStr) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy().into_owned();
    names.into_iter().filter(|name| name.starts_with(&typed)).map(CompletionCandidate::new).collect()
}

/// What the daemon of this machine answers in time. A daemon behind ssh is not asked: the key would take seconds.
fn asked<T: serde::de::DeserializeOwned>(place: &Place, path: &str) -> Option<T> {
    let client = place.client().ok().filter(|client| !client.is_remote())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(async { tokio::time::timeout(PATIENCE, client.get(path)).await.ok()?.ok() })
}

impl Place {
    /// The place that the words of an unfinished command line name.
    fn of_words(words: impl Iterator<Item = std::ffi::OsString>) -> Self {
        let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
        let value = |option: &str| {
            let after = words.iter().position(|word| word == option).and_then(|at| words.get(at + 1));
            let joined = words.iter().find_map(|word| word.strip_prefix(option)?.strip_prefix('='));
            after.map(String::as_str).or(joined).map(PathBuf::from)
        };
        Self::at(value("--config"), value("--socket"))
    }
}
