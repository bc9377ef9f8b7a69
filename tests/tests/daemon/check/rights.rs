//! `cutover check` by root finds what the daemon's user cannot do. The daemon's user here is `nobody`. The advice is typed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Output};

use cutover_tests::flavour::program;
use cutover_tests::{Backend, Nginx};
use serde_json::Value;

/// `nobody` and `nogroup`, see Debian's base-passwd.
const NOBODY: u32 = 65534;

/// The daemon's user is not among those who may switch, unless a test sets `uid`.
const HTTP: &str = "cutover_state %%prefix%%/state;
    upstream shop_blue { server %%blue%%; }
    upstream shop_green { server %%green%%; }
    cutover shop { slot blue shop_blue; slot green shop_green; active blue; }
    server { listen %%listen:main%%; location / { proxy_pass http://shop; } }
    server { listen %%admin%%; location / { cutover_api write=on %%uid%%; } }";

struct Host {
    nginx: Nginx,
    _slots: [Backend; 2],
}

impl Host {
    async fn start() -> Self {
        let slots = [Backend::start("blue").await.unwrap(), Backend::start("green").await.unwrap()];
        let nginx = Nginx::builder()
            .set("blue", slots[0].address())
            .set("green", slots[1].address())
            .set("uid", "")
            .http(HTTP)
            .start()
            .await
            .unwrap();
        let host = Self { nginx, _slots: slots };
        fs::set_permissions(host.nginx.prefix(), fs::Permissions::from_mode(0o755)).unwrap();
        host.script("start", 0o700);
        fs::create_dir(host.nginx.prefix().join("daemon")).unwrap();
        host.configure("");
        host
    }

    fn path(&self, name: &str) -> String {
        self.nginx.prefix().join(name).display().to_string()
    }

    fn script(&self, name: &str, mode: u32) {
        fs::write(self.path(name), "#!/bin/sh\n").unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn configure(&self, arguments: &str) {
        let text = format!(
            "[daemon]\nsocket = \"{daemon}/cutover.sock\"\nstate = \"{daemon}\"\n[edge.nginx]\nadmin = \"unix:{admin}\"\n\
             [group.shop.provision]\ncommand = [\"{start}\"{arguments}]\n[group.shop.decommission]\ncommand = [\"/bin/true\"]\n\
             [group.shop.probe]\npath = \"/\"\n[[group.shop.smoke]]\nname = \"x\"\npath = \"/\"\n",
            daemon = self.path("daemon"),
            admin = self.path("admin.sock"),
            start = self.path("start"),
        );
        fs::write(self.path("cutover.toml"), text).unwrap();
        fs::set_permissions(self.path("cutover.toml"), fs::Permissions::from_mode(0o644)).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let cutover = program("cutover").unwrap();
        Command::new(cutover)
            .args(["--config", &self.path("cutover.toml"), "check"])
            .args(arguments)
            .output()
            .unwrap()
    }

    /// The lines before those of the plan, and whether it succeeded.
    fn check(&self, arguments: &[&str]) -> (Vec<String>, bool) {
        let output = self.run(arguments);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        let text = String::from_utf8(output.stdout).unwrap();
        (
            text.lines().take_while(|line| !line.is_empty()).map(str::to_owned).collect(),
            output.status.success(),
        )
    }
}

/// Types the command that ends a finding.
fn type_advice(line: &str, before: &str) {
    let (_, advice) = line.split_once(before).unwrap();
    let typed = Command::new("sh").args(["-c", advice]).output().unwrap();
    assert!(typed.status.success(), "{advice}: {typed:?}");
}

fn one<'a>(lines: &'a [String], begin: &str) -> &'a str {
    lines.iter().find(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("{begin}: {lines:#?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_root_may_is_a_problem() {
    let host = Host::start().await;
    let (lines, good) = host.check(&[]);
    assert_eq!(
        (lines.as_slice(), good),
        (&["1 group checked, no problem".to_owned()][..], true),
        "the daemon runs as root"
    );

    // The state folder says who the daemon is.
    chown(host.path("daemon"), Some(NOBODY), Some(NOBODY)).unwrap();
    let (lines, good) = host.check(&[]);
    assert!(!good);
    let hint = format!("hint: checked as user \"nobody\", as whom the daemon runs ({})", host.path("daemon"));
    assert_eq!(lines[0], hint);
    let command = one(&lines, "problem: group.shop.provision: command");
    let why = "may not be executed by user \"nobody\", as whom the daemon runs it";
    assert!(command.contains(why), "{command}");
    assert!(lines.iter().any(|line| line.starts_with("problem: ") && line.contains("uid=")), "{lines:#?}");

    // What is advised helps.
    let chmod = command.split_once("runs it: ").unwrap().1.split_once(", or").unwrap().0;
    assert!(Command::new("sh").args(["-c", chmod]).status().unwrap().success());
    host.nginx.set("uid", "uid=nobody");
    host.nginx.write_http(HTTP).unwrap();
    host.nginx.reload().await.unwrap();
    let (lines, good) = host.check(&[]);
    assert_eq!((lines, good), (vec![hint, "1 group checked, no problem".to_owned()], true));
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_and_files_of_another_user() {
    let host = Host::start().await;
    let (lines, _) = host.check(&["--user", "nobody"]);
    let folder = one(&lines, "problem: daemon.state: user \"nobody\" may not write the folder");
    type_advice(folder, "does not start: ");
    fs::write(Path::new(&host.path("daemon")).join("lock"), "").unwrap();
    fs::set_permissions(host.path("daemon/lock"), fs::Permissions::from_mode(0o600)).unwrap();
    let (lines, _) = host.check(&["--user", "nobody"]);
    type_advice(one(&lines, "problem: daemon.state: user \"nobody\" may not write"), "does not start: ");
    let (lines, _) = host.check(&["--user", "nobody"]);
    assert!(lines.iter().all(|line| !line.contains("daemon.state")), "{lines:#?}");

    fs::remove_dir_all(host.path("daemon")).unwrap();
    let (lines, _) = host.check(&["--user", "nobody"]);
    type_advice(one(&lines, "problem: daemon.state: the folder"), "does not start: ");
    let (lines, _) = host.check(&["--user", "nobody"]);
    assert!(lines.iter().all(|line| !line.contains("daemon.state")), "{lines:#?}");

    // A configuration that the daemon's user cannot read.
    fs::set_permissions(host.path("cutover.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    let output = host.run(&[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("failed to read the configuration") && said.contains("let the daemon's user read it"),
        "{said}"
    );
    let (_, advice) = said.split_once("read it: ").unwrap();
    let advice = advice.split_once(", and let").unwrap().0.replace("chgrp cutover", "chgrp nogroup");
    assert!(Command::new("sh").args(["-c", &advice]).status().unwrap().success(), "{advice}");
    assert!(host.run(&[]).stderr.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_is_not_there_is_an_error() {
    let host = Host::start().await;
    let output = host.run(&["--user", "no-such-user"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("--user: there is no user \"no-such-user\": create it"), "{said}");
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_for_a_shell_is_a_warning_and_the_way_that_helps_works() {
    let host = Host::start().await;
    host.script("start", 0o755);
    host.configure(", \"$CUTOVER_SLOT\"");
    let (lines, good) = host.check(&[]);
    assert!(good, "a warning: {lines:#?}");
    let warning = one(&lines, "warning: group.shop.provision: no shell reads \"$CUTOVER_SLOT\"");
    let (_, advice) = warning.split_once("as in ").unwrap();
    let argv: Vec<String> = serde_json::from_str(advice).unwrap();
    fs::write(host.path("start"), "#!/bin/sh\nprintf %s \"$1\"\n").unwrap();
    let ran = Command::new(&argv[0]).args(&argv[1..]).env("CUTOVER_SLOT", "green").output().unwrap();
    assert_eq!(ran.stdout, b"green");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_result_as_json() {
    let host = Host::start().await;
    host.configure(", \"$CUTOVER_SLOT\"");
    let output = host.run(&["--json", "--user", "nobody"]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["user"], "nobody");
    assert_eq!(report["groups"], 1);
    let findings = report["findings"].as_array().unwrap();
    let problems = findings.iter().filter(|finding| finding["kind"] == "problem").count();
    assert_eq!(report["problems"].as_u64(), Some(problems as u64));
    assert!(problems > 0 && findings.iter().any(|finding| finding["kind"] == "warning"), "{report}");
    // nginx tells nobody nothing, so there is no plan.
    assert_eq!(report["plan"], Value::Array(Vec::new()));
    host.nginx.set("uid", "uid=nobody");
    host.nginx.write_http(HTTP).unwrap();
    host.nginx.reload().await.unwrap();
    let report: Value = serde_json::from_slice(&host.run(&["--json"]).stdout).unwrap();
    let plan = &report["plan"][0];
    assert_eq!(
        (&plan["group"], &plan["from"], &plan["to"]),
        (&"shop".into(), &"blue".into(), &"green".into())
    );
    assert_eq!(plan["steps"][0]["step"], "provision");
}
