//! `cutover check` on the shipped examples: each configuration of the daemon matches the nginx configuration that is shipped
//! with it.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use cutover_tests::{Backend, Nginx, flavour};

mod names;
mod rights;

/// The operator's commands in `host/cutover.toml`: keys, and programs in `/usr/local/bin`.
const COMMANDS: [(&str, &str); 4] = [
    ("migrate", "shop-migrate"),
    ("revert", "shop-migrate"),
    ("provision", "shop-start"),
    ("decommission", "shop-stop"),
];

/// An edge host in a temporary folder, with the shipped examples; only their paths and addresses are replaced.
struct ExampleHost {
    nginx: Nginx,
    _slots: [Backend; 2],
}

impl ExampleHost {
    /// `listen` is the example's `listen` line for users.
    async fn start(example: &str, listen: &str) -> Self {
        let slots = [Backend::start("blue").await.unwrap(), Backend::start("green").await.unwrap()];
        let text = shipped(example);
        // The main context is for a real host: user, log, pid.
        let (_, http) = text.split_once("http {").unwrap();
        let (http, _) = http.rsplit_once('}').unwrap();
        let moved = replace_each(
            http,
            &[
                ("cutover_state /var/lib/cutover;", "cutover_state %%prefix%%/state;"),
                ("server 127.0.0.1:3000;", &format!("server {};", slots[0].address())),
                ("server 127.0.0.1:3001;", &format!("server {};", slots[1].address())),
                (listen, "listen %%listen:main%%;"),
                ("listen unix:/run/cutover/nginx.sock;", "listen %%admin%%;"),
                // The test machine has no such user.
                (" uid=cutover", ""),
            ],
        );
        Self { nginx: Nginx::builder().http(&moved).start().await.unwrap(), _slots: slots }
    }

    /// The folder that replaces `/usr/local/bin`.
    fn programs(&self) -> PathBuf {
        self.nginx.prefix().join("bin")
    }

    /// Runs `cutover check` on an example. Returns whether it succeeded, and its lines before the plan.
    fn check(&self, example: &str, replacements: &[(&str, &str)]) -> (bool, Vec<String>) {
        let admin = format!("\"unix:{}\"", self.nginx.admin_socket().display());
        let text = replace_each(&shipped(example), &[("\"unix:/run/cutover/nginx.sock\"", &admin)]);
        let config = self.nginx.prefix().join("cutover.toml");
        fs::write(&config, replace_each(&text, replacements)).unwrap();
        let output = Command::new(flavour::program("cutover").unwrap())
            .arg("--config")
            .arg(&config)
            .arg("check")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        let text = String::from_utf8(output.stdout).unwrap();
        let (lines, plan) = text.split_once("\n\n").unwrap();
        assert!(plan.starts_with("a deployment of group shop to slot \"green\" would:\n   1. "), "{plan}");
        (output.status.success(), lines.lines().map(str::to_owned).collect())
    }

    /// Runs `cutover check` on `host/cutover.toml`, with its commands in [`programs`](Self::programs).
    fn check_host(&self) -> (bool, Vec<String>) {
        let programs = format!("\"{}/", self.programs().display());
        self.check("host/cutover.toml", &[("\"/usr/local/bin/", &programs)])
    }
}

fn shipped(example: &str) -> String {
    fs::read_to_string(flavour::root().join(example)).unwrap()
}

/// Fails when a text is not there, because the example would then be tested with its original paths.
fn replace_each(text: &str, replacements: &[(&str, &str)]) -> String {
    replacements.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from:?} is not in {text}");
        text.replace(from, to)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_edge_host_example_lacks_only_its_commands() {
    let edge = ExampleHost::start("nginx-conf/minimal.conf", "listen 80;").await;
    let programs = edge.programs();
    let mut missing = COMMANDS
        .map(|(key, program)| {
            let path = programs.join(program);
            format!(
                "problem: group.shop.{key}: command \"{}\": No such file or directory (os error 2)",
                path.display()
            )
        })
        .to_vec();
    missing.push("1 group checked, 4 problems".to_owned());
    assert_eq!(edge.check_host(), (false, missing));

    fs::create_dir(&programs).unwrap();
    for (_, program) in COMMANDS {
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o755)
            .open(programs.join(program))
            .unwrap();
    }
    assert_eq!(edge.check_host(), (true, vec!["1 group checked, no problem".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_image_example_lacks_nothing() {
    let edge = ExampleHost::start("container/nginx.conf", "listen 8080;").await;
    let checked = edge.check("container/cutover.toml", &[]);
    assert_eq!(checked, (true, vec!["1 group checked, no problem".to_owned()]));
}

/// The daemon reads the counters several times a second. A log of that would fill the disk.
#[test]
fn no_example_logs_what_the_daemon_reads() {
    let folder = flavour::root().join("nginx-conf");
    let examples = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut servers = 0;
    for example in examples {
        let text = fs::read_to_string(&example).unwrap();
        for server in text.split("\n    server {").skip(1).filter(|server| server.contains("cutover_api")) {
            assert!(server.contains("access_log off;"), "{}: {server}", example.display());
            servers += 1;
        }
    }
    assert!(servers >= 7, "{servers}");
}
