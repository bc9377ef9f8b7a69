//! The files of docs/recipes/docker-compose.md. No Docker daemon runs here: Debian's docker-compose reads the file and knows the
//! options, and the scripts run with a program in place of docker that shows what they would type.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use cutover_tests::flavour::root;
use cutover_tests::temp::TempDir;

const COMPOSE: &str = "--file /etc/shop/compose.yaml";

fn file(name: &str) -> PathBuf {
    root().join("docs/recipes/docker-compose").join(name)
}

/// What a script types, with the variables that docker gets.
fn typed(script: &str, slot: &str, version: &str) -> (bool, String) {
    let folder = TempDir::new().unwrap();
    let docker = folder.path().join("docker");
    fs::write(&docker, "#!/bin/sh\necho \"SLOT=$SLOT VERSION=$VERSION PORT=$PORT $*\"\n").unwrap();
    fs::set_permissions(&docker, fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(file(script))
        .env("CUTOVER_SLOT", slot)
        .env("CUTOVER_VERSION", version)
        .env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()))
        .output()
        .unwrap();
    let text = if output.status.success() { output.stdout } else { output.stderr };
    (output.status.success(), String::from_utf8(text).unwrap().trim().to_owned())
}

#[test]
fn each_slot_is_a_project_of_its_own() {
    for (slot, port) in [("blue", 3000), ("green", 3001)] {
        let up = format!(
            "SLOT={slot} VERSION=2.1 PORT={port} compose {COMPOSE} --project-name shop-{slot} \
             up --detach --force-recreate --remove-orphans"
        );
        assert_eq!(typed("shop-start", slot, "2.1"), (true, up));
        let down = format!(
            "SLOT={slot} VERSION=2.1 PORT=3000 compose {COMPOSE} --project-name shop-{slot} down --remove-orphans"
        );
        assert_eq!(typed("shop-stop", slot, "2.1"), (true, down));
    }
    let (succeeded, said) = typed("shop-start", "red", "2.1");
    assert!(!succeeded && said.contains("slot \"red\" has no port"), "{said}");
    let (succeeded, said) = typed("shop-start", "blue", "");
    assert!(!succeeded && said.contains("deploy with --version"), "{said}");
}

/// Runs Debian's docker-compose, which needs no Docker daemon for this.
fn compose(slot: &str, version: &str, port: u16, arguments: &[&str]) -> (bool, String) {
    let output = Command::new("/usr/bin/docker-compose")
        .arg("--file")
        .arg(file("compose.yaml"))
        .args(arguments)
        .env("SLOT", slot)
        .env("VERSION", version)
        .env("PORT", port.to_string())
        .output()
        .unwrap();
    let text = if output.status.success() { output.stdout } else { output.stderr };
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn compose_reads_the_file_with_the_variables_of_the_scripts() {
    for (slot, port) in [("blue", 3000), ("green", 3001)] {
        let (succeeded, text) = compose(slot, "2.1", port, &["config"]);
        assert!(succeeded, "{text}");
        let address = format!("- 127.0.0.1:{port}:3000/tcp");
        let name = format!("SHOP_SLOT: {slot}");
        for line in ["image: registry.example.com/shop:2.1", &address, &name, "stop_grace_period: 20s"] {
            assert!(text.lines().any(|have| have.trim() == line), "no {line:?} in {text}");
        }
    }
    let (succeeded, text) = compose("blue", "", 3000, &["config"]);
    assert!(!succeeded && text.contains("VERSION"), "{text}");
}

#[test]
fn compose_knows_the_options_of_the_scripts() {
    for (script, verb, count) in [("shop-start", "up", 3), ("shop-stop", "down", 1)] {
        let text = fs::read_to_string(file(script)).unwrap();
        let (_, after) = text.rsplit_once(&format!(" {verb} ")).unwrap();
        let options: Vec<&str> = after.split_whitespace().filter(|word| word.starts_with("--")).collect();
        assert_eq!(options.len(), count, "{after}");
        let (_, help) = compose("blue", "2.1", 3000, &[verb, "--help"]);
        for option in options {
            assert!(help.split_whitespace().any(|word| word == option), "no {option} in {help}");
        }
    }
}
