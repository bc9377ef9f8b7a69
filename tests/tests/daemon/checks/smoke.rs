//! Smoke tests that depend on each other, and what is kept of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use cutover_tests::temp::TempDir;
use cutover_tests::{Action, flavour};

use super::{backends, failed, group, host, said};

const ORDER: &str = r#"
    [[group.shop.smoke]]
    name = "log in"
    method = "POST"
    path = "/login"
    body = "{\"to\":\"{slot}\"}"
    capture = { token = { json = "/token" }, place = { header = "x-place" }, number = { regex = "\"id\":(\\d+)" } }
    [[group.shop.smoke]]
    name = "order"
    path = "/orders/{number}/{place}?of={slot}&v={version}"
    headers = { authorization = "Bearer {token}" }
    expect = { status = [200, 201], body_contains = "GET", json = { "/slot" = "{slot}" } }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_one_test_captures_another_one_sends() {
    let (blue, green) = backends().await;
    let login = Action::status(200).body(r#"{"id":7,"token":"a secret"}"#).header("x-place", "row 1");
    green.on("/login", login.clone());
    green.on("/orders", Action::status(401).unless_header("authorization", "Bearer a secret"));
    let host = host(blue.address(), green.address(), &format!("{}{ORDER}", group(""))).await;
    let deployed = host.deploy("2").await.unwrap();
    deployed.assert_ended("completed", 0).unwrap();
    assert_eq!(green.truth().targets["/orders/7/row%201"], 1, "{:?}", green.truth().targets);
    assert!(said(&deployed, "smoke \"order\" passed in "), "{deployed:#?}");

    blue.on("/login", Action::status(200).body("{\"id\":7}"));
    let deployed = host.deploy("3").await.unwrap();
    let why = failed(&deployed);
    assert!(why.contains("smoke \"log in\" failed: "), "{why}");
    assert!(
        why.contains("POST /login: cannot capture \"number\"") || why.contains("cannot capture \"place\""),
        "{why}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_kept_and_shown_on_failure() {
    let (blue, green) = backends().await;
    let long = format!("the basket is broken {}", "x".repeat(5000));
    green.on("/basket", Action::status(500).body(&long));
    let tests = "[[group.shop.smoke]]\nname = \"catalogue\"\npath = \"/products\"\n\
                 [[group.shop.smoke]]\nname = \"basket\"\npath = \"/basket\"\n";
    let host = host(blue.address(), green.address(), &format!("{}{tests}", group(""))).await;
    let deployed = host.deploy("2").await.unwrap();
    let why = failed(&deployed);
    let at = green.address();
    assert!(
        why.contains(&format!("smoke \"basket\" failed: {at}: /basket: status 500 instead of 200 to 299")),
        "{why}"
    );
    assert!(said(&deployed, &format!("answer of {at} to /basket: status 500, ")), "{deployed:#?}");
    assert!(said(&deployed, "the basket is broken xxx"), "{deployed:#?}");
    let status = host.daemon.status("shop").unwrap();
    let results = status["deployment"]["smoke"].as_array().unwrap();
    let result = |number: usize, key: &str| results[number][key].as_str().unwrap_or_default().to_owned();
    assert_eq!(results.len(), 2, "{status}");
    assert_eq!(
        (result(0, "name"), result(0, "sent"), result(0, "came")),
        ("catalogue".into(), "/products".into(), "status 200".into())
    );
    assert_eq!((result(1, "peer"), result(1, "answer").len()), (at.to_string(), 1024));
    assert!(results[0]["failed"].is_null() && results[1]["milliseconds"].is_u64(), "{status}");
    assert!(result(1, "failed").contains("status 500"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_told_all_servers() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("smoke");
    fs::write(&path, format!("#!/bin/sh\necho \"$CUTOVER_PEERS\" > {}/peers\n", folder.path().display()))
        .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let (blue, green) = backends().await;
    let test = format!("[[group.shop.smoke]]\nname = \"script\"\ncommand = [\"{}\"]\n", path.display());
    let host = host(blue.address(), green.address(), &format!("{}{test}", group(""))).await;
    host.deploy("2").await.unwrap().assert_ended("completed", 0).unwrap();
    let told = fs::read_to_string(folder.path().join("peers")).unwrap();
    assert_eq!(told.trim(), green.address().to_string());
    let status = host.daemon.status("shop").unwrap();
    assert_eq!(status["deployment"]["smoke"][0]["came"], "exit code 0", "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_hurl_runs_against_each_server() {
    let hurl = flavour::tool("hurl").unwrap();
    let tools = hurl.parent().unwrap().display();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("smoke-2.hurl");
    let text = "GET {{host}}/products?v={{version}}&of={{slot}}\n\
                authorization: Bearer {{token}}\n\
                HTTP 200\n\
                [Asserts]\n\
                jsonpath \"$.slot\" == \"green\"\n";
    fs::write(&file, text).unwrap();
    let (blue, green) = backends().await;
    for backend in [&blue, &green] {
        backend.on("/login", Action::status(200).body("{\"token\":\"a secret\"}"));
        backend.on("/products", Action::status(401).unless_header("authorization", "Bearer a secret"));
    }
    let tests = format!(
        "[[group.shop.smoke]]\nname = \"log in\"\npath = \"/login\"\ncapture = {{ token = {{ json = \"/token\" }} }}\n\
         [[group.shop.smoke]]\nname = \"pages\"\nhurl = \"{}/smoke-{{version}}.hurl\"\n",
        folder.path().display()
    );
    let env = format!("env = {{ PATH = \"{tools}:/usr/bin:/bin\" }}\nwarm =");
    let groups = format!("{}{tests}", group("").replace("warm =", &env));
    let with_hurl = host(blue.address(), green.address(), &groups).await;
    with_hurl.deploy("2").await.unwrap().assert_ended("completed", 0).unwrap();
    assert_eq!(green.truth().targets["/products"], 1, "{:?}", green.truth().targets);
    // What was captured is nowhere to be read, neither in results nor in outputs.
    let id =
        with_hurl.daemon.status("shop").unwrap()["deployment"]["deployment"].as_str().unwrap().to_owned();
    let kept = fs::read_dir(with_hurl.path("daemon/deployments").join(&id)).unwrap();
    let kept: Vec<String> = kept.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    assert!(kept.iter().any(|text| text.contains("hurl --test")), "{kept:#?}");
    assert!(!kept.iter().any(|text| text.contains("a secret")), "{kept:#?}");

    // The file expects green.
    fs::copy(&file, folder.path().join("smoke-3.hurl")).unwrap();
    let deployed = with_hurl.deploy("3").await.unwrap();
    let why = failed(&deployed);
    assert!(
        why.contains(&format!(
            "smoke \"pages\" failed: {}: smoke-2 ended with exit status: 4",
            blue.address()
        )),
        "{why}"
    );
    assert!(said(&deployed, "Assert failure"), "{deployed:#?}");

    let without = group("").replace("warm =", "env = { PATH = \"/nowhere\" }\nwarm =");
    let host = host(blue.address(), green.address(), &format!("{without}{tests}")).await;
    let deployed = host.deploy("2").await.unwrap();
    assert!(failed(&deployed).contains("; install the program hurl into a folder of PATH"), "{deployed:#?}");
    let (lines, _) = host.check().unwrap();
    let problem =
        "problem: group.shop.smoke \"pages\": the program hurl is in no folder of PATH, /nowhere: install it";
    assert!(lines.iter().any(|line| line.starts_with(problem)), "{lines:#?}");
}
