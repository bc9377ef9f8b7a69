//! No connection: each error names the host, quotes ssh, and says what helps.

use std::fs;
use std::process::Command;

use cutover_tests::ssh_machine::ADDRESS;

use super::Site;

/// The error of a command that must fail with exit code 1.
fn refused(mut command: Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{said}");
    said
}

fn assert_says(said: &str, parts: &[&str]) {
    assert_eq!(said.lines().count(), 1, "{said}");
    for part in parts {
        assert!(said.contains(part), "{part:?} in {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_accepts_neither_the_key_nor_the_host() {
    let site = Site::start().await;
    let with = |config: &str| {
        let mut command = site.command(&["deploy", "shop", "--version", "2"]);
        command.env("CUTOVER_SSH", site.machine.ssh(config));
        refused(command)
    };
    let said = with("ssh_config_of_another");
    assert_says(
        &said,
        &["ssh: root@10.77.0.2: Permission denied (publickey); ", "try: ssh root@10.77.0.2\n"],
    );
    let said = with("ssh_config_of_a_new_host");
    assert_says(
        &said,
        &["Host key verification failed; compare the host's key", "by typing: ssh root@10.77.0.2\n"],
    );
    let other = fs::read_to_string(site.machine.path("other_key.pub")).unwrap();
    fs::write(site.machine.path("no_hosts"), format!("{ADDRESS} {other}")).unwrap();
    let said = with("ssh_config_of_a_new_host");
    assert_says(&said, &["the host has another key than before; find out why"]);
    let history = site.host.daemon.cli(&["history"]).unwrap();
    assert!(history.stdout.is_empty(), "{history:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_is_away_or_there_is_no_ssh() {
    let mut site = Site::start().await;
    let mut command = site.command(&["status"]);
    command.env("CUTOVER_SSH", "/nowhere/ssh -v");
    assert_says(
        &refused(command),
        &["the program \"/nowhere/ssh\" cannot be started: ", "Debian: openssh-client"],
    );
    let mut command = site.command(&["status"]);
    command.env("CUTOVER_SSH", "ssh -o 'User=x");
    assert_says(
        &refused(command),
        &["CUTOVER_SSH \"ssh -o 'User=x\" is not a command: it is empty, or a quote"],
    );
    site.machine.kill_sshd().unwrap();
    assert_says(
        &refused(site.command(&["status"])),
        &["ssh: connect to host 10.77.0.2 port 22: Connection refused"],
    );
    site.machine.cut().unwrap();
    assert_says(&refused(site.command(&["status"])), &["ssh: connect to host 10.77.0.2 port 22: "]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_program_or_none_answers_there() {
    let mut site = Site::start().await;
    let with = |options: &str| {
        site.machine.accept(options).unwrap();
        refused(site.command(&["status"]))
    };
    let said = with("command=\"echo Hello; exit 3\"");
    assert_says(
        &said,
        &["what runs there is not `cutover dial-stdio`: it prints \"Hello\" (exit code 3); look at"],
    );
    // As a program answers that does not know the verb.
    let said = with("command=\"cutover dial-stdio-of-later\"");
    assert_says(&said, &["does not know dial-stdio, so it is older than this one", "update it\n"]);
    let said = with("command=\"cutover --socket /nowhere/c.sock dial-stdio\"");
    assert_says(
        &said,
        &["10.77.0.2/", ": no daemon answers at /nowhere/c.sock: ", "is `cutover serve` running there?\n"],
    );
    site.machine.accept("").unwrap();
    site.machine.kill_sshd().unwrap();
    site.machine.configure("/nowhere").unwrap();
    site.machine.start_sshd().await.unwrap();
    let said = refused(site.command(&["status"]));
    assert_says(
        &said,
        &[
            "its shell finds no program `cutover` (",
            "not found): install it there, or put its folder into the PATH",
        ],
    );
}

/// What a shell prints at its start comes before the greeting.
#[tokio::test(flavor = "multi_thread")]
async fn a_shell_that_says_something_first_does_no_harm() {
    let site = Site::start().await;
    let socket = site.host.daemon.socket();
    let command = format!(
        "command=\"echo Welcome; echo Beware >&2; cutover --socket {} dial-stdio\"",
        socket.display()
    );
    site.machine.accept(&command).unwrap();
    let (over, here) = site.both(&["status", "shop", "--json"]);
    assert_eq!(over, here);
}

#[tokio::test(flavor = "multi_thread")]
async fn verbs_of_this_machine_take_no_host() {
    let site = Site::start().await;
    for (options, verb, variable, part) in [
        (&["--host", "ssh://edge"][..], "serve", None, "--host is not for `cutover serve`"),
        (&["--host", "ssh://edge"], "check", None, "--host is not for `cutover check`"),
        (&["--host", "ssh://edge"], "dial-stdio", None, "--host is not for `cutover dial-stdio`"),
        (&[], "check", Some("ssh://edge"), "CUTOVER_HOST is not for `cutover check`"),
        (&["--host", "edge"], "status", None, "\"edge\" is neither ssh://"),
        (&["--host", "ssh://-oProxyCommand=reboot"], "status", None, "is not the name of a host"),
        (&[], "status", Some("edge"), "CUTOVER_HOST \"edge\": \"edge\" is neither ssh://"),
    ] {
        let mut command = site.host.daemon.command_at(&[], options);
        command.arg(verb).env("CUTOVER_HOST", variable.unwrap_or_default());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{verb}: {said}");
        assert!(said.contains(part), "{said}");
    }
}
