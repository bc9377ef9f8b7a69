//! The files of docs/recipes/systemd.md: a systemd of the test runs the unit by the scripts, and the programs that read the other
//! files on a host check them.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use cutover_tests::flavour::root;
use cutover_tests::temp::TempDir;
use cutover_tests::wait;

use super::installed::Installed;
use super::journey;

fn file(name: &str) -> PathBuf {
    root().join("docs/recipes/systemd").join(name)
}

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

/// What a script types for systemctl, and the link of the slot, which says which release runs.
fn typed(script: &str, folder: &TempDir) -> (String, Option<PathBuf>) {
    let srv = folder.path().display().to_string();
    let text = fs::read_to_string(file(script)).unwrap().replace("/srv/shop", &srv);
    let output = Command::new("sh")
        .args(["-c", &text])
        .env("CUTOVER_SLOT", "blue")
        .env("CUTOVER_VERSION", "2.1")
        .env("SYSTEMCTL", "echo /usr/bin/systemctl")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let link = fs::read_link(folder.path().join("slots/blue")).ok();
    (String::from_utf8(output.stdout).unwrap().trim().to_owned(), link)
}

/// Asks the rule of polkit, whether the user may do this with the unit.
fn polkit_allows(user: &str, verb: &str, unit: &str) -> bool {
    let script = format!(
        "let rule; const polkit = {{ Result: {{ YES: 'yes' }}, addRule: (f) => rule = f }};
        {rules}
        const of = {{ unit: '{unit}', verb: '{verb}' }};
        const action = {{ id: 'org.freedesktop.systemd1.manage-units', lookup: (key) => of[key] }};
        console.log(rule(action, {{ user: '{user}' }}) === 'yes');",
        rules = fs::read_to_string(file("shop.rules")).unwrap(),
    );
    let output = run("node", &["-e", &script]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).trim() == "true"
}

#[test]
fn the_scripts_do_what_sudo_and_polkit_permit_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    for name in ["releases/2.1", "slots"] {
        fs::create_dir_all(folder.path().join(name)).unwrap();
    }
    let sudoers = fs::read_to_string(file("shop.sudoers")).unwrap();
    let permitted: Vec<&str> =
        sudoers.lines().filter_map(|line| Some(line.split_once("NOPASSWD: ")?.1)).collect();
    assert_eq!(permitted.len(), 4, "{sudoers}");

    let (start, link) = typed("shop-start", &folder);
    assert_eq!(start, "/usr/bin/systemctl restart shop@blue.service");
    assert_eq!(link.unwrap(), folder.path().join("releases/2.1"));
    let (stop, link) = typed("shop-stop", &folder);
    assert_eq!((stop.as_str(), link), ("/usr/bin/systemctl stop shop@blue.service", None));

    for command in [&start, &stop] {
        for slot in ["blue", "green"] {
            let command = command.replace("blue", slot);
            assert!(permitted.contains(&command.as_str()), "{command}: {sudoers}");
            let [_, verb, unit] = command.split(' ').collect::<Vec<_>>()[..] else { panic!("{command}") };
            assert!(polkit_allows("cutover", verb, unit), "{command}");
        }
    }
    for (user, verb, unit) in [
        ("nobody", "restart", "shop@blue.service"),
        ("cutover", "start", "shop@blue.service"),
        ("cutover", "restart", "ssh.service"),
        ("cutover", "stop", "shop@red.service"),
    ] {
        assert!(!polkit_allows(user, verb, unit), "{user} {verb} {unit}");
    }
}

#[test]
fn sudo_accepts_its_file() {
    let folder = TempDir::new().unwrap();
    // sudo insists on the owner and the mode of the installed file.
    let installed = folder.path().join("shop");
    fs::copy(file("shop.sudoers"), &installed).unwrap();
    fs::set_permissions(&installed, std::os::unix::fs::PermissionsExt::from_mode(0o440)).unwrap();
    let output = run("/usr/sbin/visudo", &["--check", "--strict", "--file", installed.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn sudo_permits_the_slots_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let installed = folder.path().join("shop");
    // A user that every Debian has.
    let text = fs::read_to_string(file("shop.sudoers")).unwrap().replace("\ncutover ", "\nwww-data ");
    fs::write(&installed, text).unwrap();
    fs::set_permissions(&installed, std::os::unix::fs::PermissionsExt::from_mode(0o440)).unwrap();
    // In a mount namespace, so that this machine's sudo does not change.
    let permits = |command: &str| {
        let script = format!(
            "mount --bind {} /etc/sudoers.d || exit 9
            exec setpriv --reuid=www-data --regid=www-data --clear-groups sudo -n -l {command}",
            folder.path().display()
        );
        let output = run("unshare", &["--mount", "sh", "-c", &script]);
        match output.status.code() {
            Some(0) => true,
            Some(1) => false,
            _ => panic!("{output:?}"),
        }
    };
    for slot in ["blue", "green"] {
        assert!(permits(&format!("/usr/bin/systemctl restart shop@{slot}.service")));
        assert!(permits(&format!("/usr/bin/systemctl stop shop@{slot}.service")));
    }
    assert!(!permits("/usr/bin/systemctl restart ssh.service"));
    assert!(!permits("/usr/bin/systemctl restart shop@blue.service ssh.service"));
    assert!(!permits("/bin/sh"));
}

#[test]
fn systemd_accepts_its_unit() {
    let folder = TempDir::new().unwrap();
    let text = fs::read_to_string(file("shop@.service")).unwrap();
    assert!(text.contains("/usr/local/bin/shop-run"), "adapt the test: {text}");
    let here = |text: &str| {
        let unit = folder.path().join("shop@.service");
        // verify looks for the program and the user, which only a host with the recipe has.
        fs::write(
            unit,
            text.replace("/usr/local/bin/shop-run", "/bin/sh").replace("User=shop", "User=daemon"),
        )
        .unwrap();
        let unit = folder.path().join("shop@blue.service");
        let output = run("systemd-analyze", &["verify", "--man=no", unit.to_str().unwrap()]);
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    // Of other units on this machine, it says what is wrong with them too.
    let (succeeded, said) = here(&text);
    assert!(succeeded && !said.contains("shop@"), "{said}");
    // It does find what is wrong.
    let (_, said) = here(&text.replace("KillMode=mixed", "KillMode=most"));
    assert!(said.contains("shop@") && said.contains("kill mode"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slots_are_units_of_a_real_systemd() {
    let Some(mut recipe) = Installed::with_systemd("node").await.unwrap() else { return };
    recipe.start(std::convert::identity).await.unwrap();
    journey::good_and_bad(&recipe, ("slot: SLOT", "slot: LOST")).await.unwrap();

    let systemd = recipe.systemd().unwrap();
    let shows = |unit: &str, key: &str| {
        systemd.run(&["show", "--value", &format!("--property={key}"), unit]).unwrap()
    };
    assert_eq!(shows("shop@blue.service", "ActiveState"), "inactive");
    assert_eq!(shows("shop@green.service", "ActiveState"), "active");
    // A stopped slot has no link, so systemd does not start it at boot.
    systemd.run(&["start", "shop@blue.service"]).unwrap();
    assert_eq!(shows("shop@blue.service", "ActiveState"), "inactive");

    systemd.run(&["kill", "--signal=KILL", "shop@green.service"]).unwrap();
    wait::until("systemd to start it again", || shows("shop@green.service", "NRestarts") == "1")
        .await
        .unwrap();
    let up = async || recipe.version().await.is_ok_and(|version| version == "2");
    wait::until_async(wait::PATIENCE, "version 2 to be back", up).await.unwrap();
}
