//! The files of docs/recipes/docker-compose.md. No Docker daemon runs here: the file is read as YAML, and the scripts run with a
//! program in place of docker that shows what they would type.

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

#[test]
fn the_compose_file_uses_the_variables_that_the_scripts_set() {
    let to_json = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)";
    let output = Command::new("/usr/bin/python3")
        .args(["-c", to_json])
        .stdin(fs::File::open(file("compose.yaml")).unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let service = &serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["services"]["shop"];
    assert_eq!(service["image"], "registry.example.com/shop:${VERSION:?}");
    assert_eq!(service["ports"][0], "127.0.0.1:${PORT:?}:3000");
    assert_eq!(service["environment"]["SLOT"], serde_json::Value::Null);
    assert_eq!(service["environment"]["SHOP_SLOT"], "${SLOT:?}");
}
