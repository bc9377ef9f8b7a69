//! `cutover serve`

use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::{CliError, Place};

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// How the log is written; its level is that of CUTOVER_LOG, else info
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

impl Serve {
    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        log_to_stderr(self.log_format);
        let mut config = place.config()?;
        if let Some(socket) = &place.socket {
            config.daemon.socket.clone_from(socket);
        }
        let mut terminated = signal(SignalKind::terminate())?;
        let mut interrupted = signal(SignalKind::interrupt())?;
        let stop = async {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
        };
        crate::serve::serve(config, stop).await?;
        Ok(0)
    }
}

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_env("CUTOVER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Only a test that has begun to log already makes these fail.
    let _ = match format {
        LogFormat::Text => log.with_ansi(false).with_target(false).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}
