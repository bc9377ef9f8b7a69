//! The daemon with the admin API over TCP: with a token it deploys and switches, and errors say what is wrong with a token.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Output;

use cutover_tests::test_edge::{LOCATION, UPSTREAMS};
use cutover_tests::test_host::{GOOD_COMMANDS, GROUP_WITHOUT_TRAFFIC};
use cutover_tests::{Backend, Daemon, Nginx, Switcher, TestEdge};

const TOKEN: &str = "Zm9yIHRoZSBkYWVtb24gb25seQ";
const NEW_TOKEN: &str = "YW5vdGhlciBvbmUgYWZ0ZXIgaXQ";

const LISTENERS: &str = "
    server { listen %%listen:open%%; location / { cutover_api write=on; } }
    server { listen %%listen:closed%%; location / { cutover_api write=on token_file=%%prefix%%/token; } }
    server {
        listen %%listen:denied%%;
        location / { cutover_api write=on token_file=%%prefix%%/token; limit_except GET { deny all; } }
    }
    server { listen %%listen:reader%%; location / { cutover_api token_file=%%prefix%%/token; } }
    server { listen unix:%%prefix%%/both.sock; location / { cutover_api write=on token_file=%%prefix%%/token; } }
";

struct TcpHost {
    edge: TestEdge,
}

impl TcpHost {
    async fn start() -> Self {
        let http = format!("{}{LISTENERS}", TestEdge::http(UPSTREAMS, LOCATION));
        let blue = Backend::start("blue").await.unwrap();
        let green = Backend::start("green").await.unwrap();
        let builder = Nginx::builder().set("blue", blue.address()).set("green", green.address());
        // nginx reads the token at its start, so the file must exist before.
        let nginx = builder.http(&http).build().unwrap();
        let shop = Switcher::new(&nginx, "shop", &["blue", "green"]);
        let edge = TestEdge { blue, green, nginx, shop };
        let host = Self { edge };
        host.write(TOKEN);
        host.edge.nginx.start().await.unwrap();
        host
    }

    fn token(&self) -> PathBuf {
        self.edge.nginx.prefix().join("token")
    }

    /// Writes the token by rename, as it should be rotated: a reader never sees a part of it.
    fn write(&self, token: &str) {
        let new = self.edge.nginx.prefix().join("token.new");
        fs::write(&new, format!("{token}\n")).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(new, self.token()).unwrap();
    }

    fn without_token(&self, listener: &str) -> String {
        format!("admin = \"http://{}\"\n", self.edge.nginx.address(listener).unwrap())
    }

    fn with_token(&self, listener: &str) -> String {
        format!("{}token_file = \"{}\"", self.without_token(listener), self.token().display())
    }

    /// Starts the daemon; `admin` says how it reaches the admin API.
    async fn daemon(&self, admin: &str) -> Daemon {
        let groups = format!("{GROUP_WITHOUT_TRAFFIC}{GOOD_COMMANDS}");
        Daemon::start_with(self.edge.nginx.prefix(), admin, &groups).await.unwrap()
    }

    async fn active(&self) -> String {
        self.edge.group().await.unwrap().route.active
    }
}

fn run(daemon: &Daemon, arguments: &[&str]) -> (i32, String) {
    let Output { status, stdout, stderr } = daemon.cli(arguments).unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    for token in [TOKEN, NEW_TOKEN] {
        assert!(!said.contains(&token[..8]), "{said}");
        assert!(!daemon.log().contains(&token[..8]), "{}", daemon.log());
    }
    (status.code().unwrap(), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_token_it_deploys_rolls_back_and_switches() {
    let host = TcpHost::start().await;
    let daemon = host.daemon(&host.with_token("closed")).await;
    let (code, said) = run(&daemon, &["check"]);
    assert!(code == 0 && said.starts_with("1 group checked, no problem\n"), "{said}");
    let deployed = daemon.deploy("shop", "2").await.unwrap();
    assert_eq!((deployed.code, host.active().await.as_str()), (0, "green"), "{deployed:?}");
    assert_eq!(run(&daemon, &["rollback", "shop"]).0, 0);
    assert_eq!(host.active().await, "blue");
    let (code, said) = run(&daemon, &["switch", "shop", "--to", "green"]);
    assert_eq!((code, host.active().await.as_str()), (0, "green"), "{said}");
    let events = host.edge.group().await.unwrap().events;
    assert!(events.iter().all(|event| event.who == "token"), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_with_a_token_file_works_too() {
    let host = TcpHost::start().await;
    let prefix = host.edge.nginx.prefix().display().to_string();
    let admin = format!("admin = \"unix:{prefix}/both.sock\"\ntoken_file = \"{prefix}/token\"");
    let daemon = host.daemon(&admin).await;
    assert_eq!(run(&daemon, &["check"]).0, 0);
    assert_eq!(daemon.deploy("shop", "2").await.unwrap().code, 0);
    // On a unix socket the kernel identifies the caller, so a rollback does not need the token file.
    fs::remove_file(host.token()).unwrap();
    let mut daemon = daemon;
    daemon.stop().await.unwrap();
    daemon.resume().await.unwrap();
    assert_eq!(run(&daemon, &["rollback", "shop"]).0, 0);
    host.write(TOKEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_token_works_without_a_restart() {
    let host = TcpHost::start().await;
    let daemon = host.daemon(&host.with_token("closed")).await;
    assert_eq!(daemon.deploy("shop", "2").await.unwrap().code, 0);
    host.write(NEW_TOKEN);
    let (code, said) = run(&daemon, &["switch", "shop", "--to", "blue"]);
    assert_eq!((code, host.active().await.as_str()), (0, "blue"), "before the reload: {said}");
    host.edge.nginx.reload().await.unwrap();
    let (code, said) = run(&daemon, &["switch", "shop", "--to", "green"]);
    assert_eq!((code, host.active().await.as_str()), (0, "green"), "after it: {said}");
    // Without the file no deployment begins, but a rollback still works.
    assert_eq!(daemon.deploy("shop", "3").await.unwrap().code, 0);
    fs::remove_file(host.token()).unwrap();
    let (code, said) = run(&daemon, &["deploy", "shop", "--version", "4"]);
    let missing = format!(
        "edge.nginx.token_file \"{}\" does not exist: it must be the file that",
        host.token().display()
    );
    assert!(code == 1 && said.contains(&missing), "{said}");
    assert_eq!(run(&daemon, &["rollback", "shop"]).0, 0);
    assert_eq!(host.active().await, "green");
    host.write(NEW_TOKEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_names_the_file_of_an_unusable_token() {
    let host = TcpHost::start().await;
    let file = format!("edge.nginx.token_file \"{}\"", host.token().display());
    host.write(NEW_TOKEN);
    host.edge.nginx.reload().await.unwrap();
    host.write("bm90IHRoZSByaWdodCBvbmU");
    // Nginx has accepted no token of this daemon yet.
    let daemon = host.daemon(&host.with_token("closed")).await;
    for verb in [&["deploy", "shop"][..], &["switch", "shop", "--to", "green"], &["check"]] {
        let (code, said) = run(&daemon, verb);
        assert!(code == 1 && said.contains(&format!("nginx does not accept the token of {file}")), "{said}");
        assert!(said.contains("nginx reads a new token at its next reload"), "{said}");
    }
    for (content, mode, why) in [
        ("", 0o600, "holds no token: expected one line of 16 to 4096"),
        (TOKEN, 0o644, "can be read or written by others (mode 0644): set its mode to 0600"),
    ] {
        fs::write(host.token(), content).unwrap();
        fs::set_permissions(host.token(), fs::Permissions::from_mode(mode)).unwrap();
        for verb in [&["deploy", "shop"][..], &["switch", "shop", "--to", "green"], &["check"]] {
            let (code, said) = run(&daemon, verb);
            assert!(code == 1 && said.contains(&format!("{file} {why}")), "{said}");
        }
    }
    fs::remove_file(host.token()).unwrap();
    let (code, said) = run(&daemon, &["check"]);
    assert!(code == 1 && said.contains(&format!("{file} does not exist")), "{said}");
    host.write(NEW_TOKEN);
    assert_eq!(host.active().await, "blue");
    assert_eq!(daemon.deploy("shop", "2").await.unwrap().code, 0, "a corrected token file needs no restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_file_tcp_is_read_only() {
    let host = TcpHost::start().await;
    let daemon = host.daemon(&host.without_token("open")).await;
    assert_eq!(daemon.status("shop").unwrap()["active"], "blue");
    for verb in [&["deploy", "shop"][..], &["switch", "shop", "--to", "green"], &["check"]] {
        let (code, said) = run(&daemon, verb);
        assert!(code == 1 && said.contains("set edge.nginx.token_file to the file that"), "{said}");
    }
    assert_eq!(host.edge.group().await.unwrap().route.generation, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_finds_a_location_that_only_reads() {
    let host = TcpHost::start().await;
    for (listener, why) in [
        ("reader", "this location only reads; changes need \"cutover_api write=on\""),
        ("denied", "every deploy and switch is refused: status 403 without a JSON error"),
        ("open", "over TCP changes need a token: give \"cutover_api\" a \"token_file\""),
    ] {
        let daemon = host.daemon(&host.with_token(listener)).await;
        let (code, said) = run(&daemon, &["check"]);
        assert!(code == 1 && said.contains(why), "{said}");
        assert!(said.contains("1 group checked, 1 problem\n"), "{said}");
    }
    assert_eq!(host.edge.group().await.unwrap().route.generation, 0);
    assert!(host.edge.group().await.unwrap().events.is_empty(), "check changes nothing");
}
