//! The daemon: connects journal, control, socket and metrics, and runs until it is stopped.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use cutover_engine::world::World;
use metrics_exporter_prometheus::PrometheusHandle;
use rustix::fs::FlockOperation;
use tokio::sync::mpsc;

use crate::api::{self, Peer};
use crate::command::Runner;
use crate::config::{Config, Loaded};
use crate::control::Control;
use crate::journal::{EtcdJournal, Identity, JournalError, SqliteJournal, Store};
use crate::live::Live;
use crate::metrics;
use crate::steady;

mod socket;
#[cfg(test)]
mod tests;

/// Why the daemon cannot run. The text completes "failed to serve: ..".
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The state folder cannot be used.
    #[error("daemon.state \"{}\": {source}; {}", path.display(), next_step(source, path, "0700"))]
    State {
        /// The folder.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Another daemon uses the state folder.
    #[error("daemon.state \"{}\" is in use by another daemon", .0.display())]
    InUse(PathBuf),
    /// The configuration is invalid, and no unfinished deployment could continue without it.
    #[error("{0}")]
    Broken(String),
    /// The store in etcd cannot be used.
    #[error("{0}")]
    Etcd(String),
    /// The journal failed.
    #[error("journal: {0}")]
    Journal(#[from] JournalError),
    /// The control socket cannot be used.
    #[error("daemon.socket \"{}\": {source}; {}", path.display(), next_step(source, folder_of(path), "0755"))]
    Socket {
        /// The path.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Another daemon listens on the socket.
    #[error("daemon.socket \"{}\" is in use by another daemon", .0.display())]
    SocketInUse(PathBuf),
}

/// What an operator can do about a folder that the daemon cannot use.
fn next_step(error: &io::Error, folder: &Path, mode: &str) -> String {
    let (uid, shown) = (rustix::process::getuid().as_raw(), folder.display());
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound => format!(
            "as root, create the folder for the daemon's user, or give it to this user: install -d -o {uid} -m {mode} {shown}"
        ),
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::StorageFull => {
            format!("name a folder on another disk, or make space there: df {shown}")
        }
        _ => "name another path in the configuration, or see: cutover check".to_owned(),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// Runs the daemon until `stop` completes. Each configuration from `reloads` replaces the current one. The next daemon resumes
/// unfinished deployments.
pub async fn serve(
    loaded: Loaded,
    mut reloads: mpsc::Receiver<Loaded>,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let config = loaded.config.clone();
    let state = &config.daemon.state;
    let failed = |source| ServeError::State { path: state.clone(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(state).map_err(failed)?;
    let _lock = lock(state)?;
    let etcd = open_etcd(&config)?;
    let journal = match &etcd {
        Some(etcd) => Store::from(etcd.clone()),
        None => Store::from(SqliteJournal::open(state)?),
    };
    if let Some(why) = &loaded.broken {
        // With several daemons, another one may have them.
        if etcd.is_none() && journal.open_deployments().await?.is_empty() {
            return Err(ServeError::Broken(why.clone()));
        }
        tracing::error!(why, "the configuration is refused; only unfinished deployments continue");
    }
    let socket = socket::bind(&config.daemon.socket, config.daemon.socket_mode)?;
    let mine = socket::identity(&config.daemon.socket);
    if let Some(address) = config.daemon.metrics {
        // Without metrics the daemon must still resume its deployments.
        if let Err(why) = serve_metrics(address.get()).await {
            tracing::warn!(address = %address.get(), why, "daemon.metrics: no metrics are served");
        }
    }
    let commands = state.join("deployments");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&commands).map_err(failed)?;
    let edges = config.edge.iter().map(|(name, section)| section.edge(name.as_str()));
    let world = Live::new(edges, journal.clone(), Runner::new(commands));
    let shown = config.daemon.socket.clone();
    let control = match &etcd {
        // The deadlines of an open deployment may be those of another host.
        Some(_) => Control::new(loaded, Arc::new(world), journal, steady::clock(state, false)),
        None => {
            let clock = steady::clock(state, !journal.open_deployments().await?.is_empty());
            Control::resume(loaded, Arc::new(world), journal, clock).await?
        }
    };
    control.keep_sampling();
    let mut leading = std::pin::pin!(async {
        match &etcd {
            Some(etcd) => control.lead(etcd).await,
            None => std::future::pending().await,
        }
    });
    let router = api::router(control.clone()).into_make_service_with_connect_info::<Peer>();
    tracing::info!(socket = %shown.display(), "serving");
    // The end does not wait for open connections, because followers of events stay connected.
    tokio::select! {
        served = std::future::IntoFuture::into_future(axum::serve(socket, router)) => {
            served.map_err(|source| ServeError::Socket { path: shown.clone(), source })?;
        }
        () = stop => {}
        () = reload(&control, &mut reloads) => {}
        () = &mut leading => {}
    }
    tracing::info!("stopping; the next daemon resumes unfinished deployments");
    // Removed before the deployments stop, because the next daemon may create its socket right after that.
    if mine.is_some() && socket::identity(&shown) == mine {
        let _ = fs::remove_file(&shown);
    }
    // A database command may take a while to end, so the lease is renewed meanwhile. It is never given up before its time.
    tokio::select! {
        () = control.stop() => {}
        () = leading => {}
    }
    Ok(())
}

/// The journal in etcd, if the configuration says so. It connects later, because a daemon must also start while etcd is away.
fn open_etcd(config: &Config) -> Result<Option<EtcdJournal>, ServeError> {
    let Some(section) = config.etcd() else { return Ok(None) };
    let settings = section.settings().map_err(ServeError::Etcd)?;
    let me = Identity {
        // The kernel's random id is another one at each reading.
        daemon: fs::read_to_string("/proc/sys/kernel/random/uuid")
            .map_or_else(|_| std::process::id().to_string(), |uuid| uuid.chars().take(8).collect()),
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        socket: config.daemon.socket.display().to_string(),
    };
    Ok(Some(EtcdJournal::new(settings, me)))
}

/// Applies each new configuration. Never ends.
async fn reload<W: World>(control: &Control<W>, reloads: &mut mpsc::Receiver<Loaded>) {
    while let Some(loaded) = reloads.recv().await {
        let (file, groups) = (loaded.path.display().to_string(), loaded.config.group.len());
        match control.reload(loaded) {
            Ok(()) => tracing::info!(file, groups, "the configuration was read again"),
            Err(error) => {
                tracing::error!(file, %error, "the new configuration is refused; the daemon keeps the old one");
            }
        }
    }
    std::future::pending().await
}

/// Locks the state folder for this process. The kernel releases the lock at the end of the process.
pub fn lock(folder: &Path) -> Result<File, ServeError> {
    let failed = |source| ServeError::State { path: folder.to_owned(), source };
    let path = folder.join("lock");
    let file = File::options().create(true).append(true).open(path).map_err(failed)?;
    file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(failed)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(ServeError::InUse(folder.to_owned())),
        Err(error) => Err(failed(error.into())),
    }
}

async fn serve_metrics(address: std::net::SocketAddr) -> Result<(), String> {
    let listener = tokio::net::TcpListener::bind(address).await.map_err(|error| error.to_string())?;
    let handle: PrometheusHandle = metrics::install().map_err(|error| error.to_string())?;
    let router = Router::new().route(
        "/metrics",
        get(async move || {
            handle.run_upkeep();
            ([("content-type", "text/plain; version=0.0.4")], handle.render())
        }),
    );
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the metrics server has stopped");
        }
    });
    Ok(())
}
