//! A user who may only reach the daemon, as docs/remote.md sets it up.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use cutover_tests::ssh_machine::{ADDRESS, UID, USER};

use super::Site;

#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_the_sockets_group_deploys_and_can_do_nothing_else() {
    let site = Site::start().await;
    let socket = site.host.daemon.socket();
    site.machine
        .accept(&format!("restrict,command=\"cutover --socket {} dial-stdio\"", socket.display()))
        .unwrap();
    let address = format!("ssh://{USER}@{ADDRESS}");
    let ask = |arguments: &[&str]| site.command_at(&[&address], arguments).output().unwrap();

    // The socket is for root alone.
    let refused = ask(&["status"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    let expected = format!(
        "cutover: {address}: user {UID} may not use the daemon's socket {}; see daemon.socket_mode\n",
        socket.display()
    );
    assert_eq!(said, expected);

    std::os::unix::fs::chown(&socket, None, Some(UID)).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o660)).unwrap();
    let begun = ask(&["deploy", "shop", "--version", "2", "--detach"]);
    assert_eq!(begun.status.code(), Some(0), "{begun:?}");
    let status = site.host.daemon.status("shop").unwrap();
    assert_eq!(status["deployment"]["asked_by"], format!("uid {UID}"), "{status}");

    // The forced command is all that runs, whatever is asked for.
    let ssh = site.machine.ssh("ssh_config");
    let mut words = ssh.split_whitespace();
    let mut other = Command::new(words.next().unwrap());
    let file = site.machine.path("made-by-the-user");
    let output = other.args(words).arg(format!("{USER}@{ADDRESS}")).arg(format!("touch {}", file.display()));
    let output = output.stdin(std::process::Stdio::null()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "cutover dial-stdio 1\n", "{output:?}");
    assert!(!file.exists());
}
