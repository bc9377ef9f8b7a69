//! What a probe sends and expects: redirects, headers, ports.

use cutover_tests::{Action, Backend};

use super::{backends, failed, group, host, said};

/// Answers a redirect to everything.
fn redirect(backend: &Backend) {
    backend.on("/", Action::status(301).header("location", "https://shop.example/"));
}

/// All that is not https is redirected before the health page, which says 503.
#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_does_not_hide_a_sick_application() {
    let (blue, green) = backends().await;
    [&blue, &green].into_iter().for_each(redirect);
    let host = host(blue.address(), green.address(), &group("")).await;
    let deployed = host.deploy("2").await.unwrap();
    let why = failed(&deployed);
    assert!(
        why.contains(": /health/ready: status 301 to https://shop.example/ instead of 200 to 299; a redirect does not show"),
        "{why}"
    );
    assert!(why.contains("headers = { X-Forwarded-Proto = \"https\" }"), "{why}");
    assert_eq!(host.active().await.unwrap(), "blue");
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_that_are_accepted_are_said_aloud() {
    let (blue, green) = backends().await;
    [&blue, &green].into_iter().for_each(redirect);
    let host = host(blue.address(), green.address(), &group("expect = { status = \"200-399\" }")).await;
    let deployed = host.deploy("2").await.unwrap();
    deployed.assert_ended("completed", 0).unwrap();
    let doubt = "its probes pass with redirects only (status 301 to https://shop.example/)";
    assert!(said(&deployed, &format!("slot \"green\": {doubt}")), "{deployed:#?}");
    let (lines, _) = host.check().unwrap();
    assert!(
        lines.iter().any(|line| line.contains(&format!("warning: group.shop, slot \"green\": {doubt}"))),
        "{lines:#?}"
    );
}

/// The health page answers only to what nginx would send.
#[tokio::test(flavor = "multi_thread")]
async fn a_probe_sends_its_headers() {
    let (blue, green) = backends().await;
    for backend in [&blue, &green] {
        backend.on("/health/ready", Action::status(426).unless_header("x-forwarded-proto", "https"));
    }
    let probe = "path = \"/health/ready\"\nheaders = { X-Forwarded-Proto = \"https\" }";
    let with = host(blue.address(), green.address(), &group(probe)).await;
    with.deploy("2").await.unwrap().assert_ended("completed", 0).unwrap();
    let without = host(blue.address(), green.address(), &group("")).await;
    let deployed = without.deploy("2").await.unwrap();
    assert!(failed(&deployed).contains("status 426 instead of 200 to 299"), "{deployed:#?}");
}

/// Two applications on one host have their health pages on ports of their own.
#[tokio::test(flavor = "multi_thread")]
async fn a_health_page_on_another_port() {
    let (blue, green) = backends().await;
    let (of_blue, of_green) = backends().await;
    for backend in [&blue, &green] {
        backend.on("/actuator", Action::status(404));
    }
    let (blue_port, green_port) = (of_blue.address().port(), of_green.address().port());
    let probe = format!(
        "path = \"/actuator/health/readiness\"\nport = {{ blue = {blue_port}, green = {green_port} }}"
    );
    let by_slot = host(blue.address(), green.address(), &group(&probe)).await;
    by_slot.deploy("2").await.unwrap().assert_ended("completed", 0).unwrap();
    assert!(of_green.truth().targets.contains_key("/actuator/health/readiness"));
    assert!(!green.truth().targets.contains_key("/actuator/health/readiness"));

    of_green.on("/actuator", Action::status(503));
    let one = format!("path = \"/actuator/health/readiness\"\nport = {green_port}");
    let deployed = host(blue.address(), green.address(), &group(&one)).await.deploy("2").await.unwrap();
    let expected = format!("{}: port {green_port}: /actuator/health/readiness: status 503", green.address());
    assert!(failed(&deployed).contains(&expected), "{deployed:#?}");

    let unnamed = format!("port = {{ blue = {blue_port} }}");
    let host = host(blue.address(), green.address(), &group(&unnamed)).await;
    let (lines, _) = host.check().unwrap();
    let problem = "problem: group.shop.probe: port has no value for slot \"green\": add one, as in port = { green = .. }";
    assert!(lines.iter().any(|line| line == problem), "{lines:#?}");
}
