//! Several daemons with one state folder or one socket.

use std::future::pending;

use super::*;
use crate::config::{Config, Digest};

fn config(folder: &Path, socket: &str) -> Loaded {
    let folder = folder.display();
    let text = format!(
        "[daemon]\nsocket = \"{folder}/{socket}\"\nstate = \"{folder}/state\"\n\
         [edge.nginx]\nadmin = \"unix:{folder}/nginx.sock\"\n[group.shop]\n"
    );
    let config = Config::parse(&text).unwrap();
    Loaded { config, path: PathBuf::from("cutover.toml"), digest: Digest::of(&text), broken: None }
}

fn no_reloads() -> mpsc::Receiver<Loaded> {
    mpsc::channel(1).1
}

async fn until_there(path: &Path) {
    while tokio::net::UnixStream::connect(path).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn one_daemon_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let first = tokio::spawn(serve(config(folder.path(), "a.sock"), no_reloads(), pending()));
    let socket = folder.path().join("a.sock");
    until_there(&socket).await;
    let second = serve(config(folder.path(), "b.sock"), no_reloads(), pending()).await;
    assert!(matches!(second, Err(ServeError::InUse(_))), "{second:?}");

    let elsewhere = tempfile::tempdir().unwrap();
    let mut third = config(elsewhere.path(), "c.sock");
    third.config.daemon.socket.clone_from(&socket);
    let third = serve(third, no_reloads(), pending()).await;
    assert!(matches!(third, Err(ServeError::SocketInUse(_))), "{third:?}");

    // As by SIGKILL: the socket stays behind, the lock does not.
    first.abort();
    let _ = first.await;
    assert!(socket.exists());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let next = tokio::spawn(serve(config(folder.path(), "a.sock"), no_reloads(), async {
        let _ = stopped.await;
    }));
    until_there(&socket).await;
    stop.send(()).unwrap();
    next.await.unwrap().unwrap();
    assert!(!socket.exists(), "a daemon that was told to end takes its socket along");
}

#[tokio::test]
async fn the_state_folder_is_private() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = tokio::spawn(serve(config(folder.path(), "a.sock"), no_reloads(), pending()));
    until_there(&folder.path().join("a.sock")).await;
    let mode = |path: &str| fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("state"), 0o700);
    assert_eq!(mode("a.sock"), 0o600);
    daemon.abort();
}

#[tokio::test]
async fn metrics_that_cannot_be_served_and_a_socket_of_another_daemon_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = folder.path().join("a.sock");
    let mut config = config(folder.path(), "a.sock");
    let address = format!("\"{}\"", taken.local_addr().unwrap());
    config.config.daemon.metrics = Some(serde_json::from_str(&address).unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let daemon = tokio::spawn(serve(config, no_reloads(), async {
        let _ = stopped.await;
    }));
    until_there(&socket).await;
    fs::remove_file(&socket).unwrap();
    let _other = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    stop.send(()).unwrap();
    daemon.await.unwrap().unwrap();
    assert!(socket.exists(), "it is another daemon's");
}
