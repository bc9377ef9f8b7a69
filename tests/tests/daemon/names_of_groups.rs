//! The daemon and its command line, for a group and slots whose names must be encoded in paths and files.

use cutover_tests::{Backend, Daemon, Nginx};
use serde_json::Value;

const GROUP: &str = "*.example.com & two words";
const SLOTS: [&str; 2] = ["release #1?", "release #2 of a name that does not fit into the state file"];

const HTTP: &str = "
    cutover_state %%prefix%%/state;
    upstream b { server %%blue%%; }
    upstream g { server %%green%%; }
    cutover '%%group%%' { slot '%%one%%' b; slot '%%two%%' g; active '%%one%%'; }
    server { listen %%admin%%; location / { cutover_api write=on; } }
";

const GROUPS: &str = r#"
[group."%%group%%"]
host = "example.com"
[group."%%group%%".provision]
command = ["/bin/true"]
[group."%%group%%".decommission]
command = ["/bin/true"]
[group."%%group%%".probe]
path = "/health"
interval = "20ms"
[[group."%%group%%".smoke]]
name = "it answers"
path = "/"
[group."%%group%%".soak]
duration = "100ms"
interval = "50ms"
on_inconclusive = "promote"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_any_name_is_switched_by_the_daemon() {
    let [blue, green] = [Backend::start("blue").await.unwrap(), Backend::start("green").await.unwrap()];
    let nginx = Nginx::builder()
        .set("blue", blue.address())
        .set("green", green.address())
        .set("group", GROUP)
        .set("one", SLOTS[0])
        .set("two", SLOTS[1])
        .http(HTTP)
        .start()
        .await
        .unwrap();
    let daemon = Daemon::start(nginx.prefix(), &GROUPS.replace("%%group%%", GROUP)).await.unwrap();
    let text = |arguments: &[&str]| {
        let output = daemon.cli(arguments).unwrap();
        let (out, err) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr).into_owned());
        assert!(output.status.success(), "{arguments:?}: {out}{err}");
        out
    };
    let status = daemon.status(GROUP).unwrap();
    assert_eq!(status["group"], Value::from(GROUP), "{status}");
    text(&["switch", GROUP, "--to", SLOTS[1], "--force"]);
    let group = nginx.admin().group(GROUP).await.unwrap();
    assert_eq!(group.route.active, SLOTS[1]);
    assert!(text(&["status", GROUP]).contains(SLOTS[1]));
    assert!(text(&["history", GROUP]).contains(SLOTS[1]));
    text(&["check"]);
    assert!(text(&["deploy", GROUP, "--version", "2"]).contains("version \"2\" is live"));
    assert_eq!(nginx.admin().group(GROUP).await.unwrap().route.active, SLOTS[0]);
    text(&["rollback", GROUP]);
    assert_eq!(nginx.admin().group(GROUP).await.unwrap().route.active, SLOTS[1]);
}
