//! `cutover serve`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing_subscriber::EnvFilter;

use super::{CliError, Place};
use crate::config::{ConfigError, Loaded};

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The format of the log; its level is that of CUTOVER_LOG, as in CUTOVER_LOG=debug, otherwise info
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// The configuration file, and the socket from the command line.
#[derive(Clone, Debug)]
struct Source {
    path: PathBuf,
    socket: Option<PathBuf>,
}

impl Source {
    fn with_options(&self, mut loaded: Loaded) -> Loaded {
        if let Some(socket) = &self.socket {
            loaded.config.daemon.socket.clone_from(socket);
        }
        loaded
    }

    fn read_for_start(&self) -> Result<Loaded, ConfigError> {
        Loaded::read_for_start(&self.path).map(|loaded| self.with_options(loaded))
    }

    fn read(&self) -> Result<Loaded, ConfigError> {
        Loaded::read(&self.path).map(|loaded| self.with_options(loaded))
    }
}

impl Serve {
    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        place.here("serve")?;
        log_to_stderr(self.log_format);
        let source = Source { path: place.path(), socket: place.socket() };
        let loaded = source.read_for_start()?;
        let mut terminated = signal(SignalKind::terminate())?;
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut hung_up = signal(SignalKind::hangup())?;
        let (send, reloads) = mpsc::channel(1);
        tokio::spawn(async move {
            while hung_up.recv().await.is_some() {
                match source.read() {
                    Ok(loaded) => {
                        let _ = send.send(loaded).await;
                    }
                    Err(error) => {
                        tracing::error!(%error, "the new configuration is refused; the daemon keeps the old one")
                    }
                }
            }
        });
        let stop = async {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
        };
        crate::serve::serve(loaded, reloads, stop).await?;
        Ok(0)
    }
}

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_env("CUTOVER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // This fails only if the process has installed a logger before.
    let _ = match format {
        LogFormat::Text => log.with_ansi(false).with_target(false).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}
