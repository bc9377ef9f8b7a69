//! A deployment and the way back, under load.

use cutover_tests::FileHost;
use cutover_tests::file_host::FileSettings;

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_and_the_way_back() {
    let host = FileHost::start(FileSettings::default()).await.unwrap();
    let load = host.load().unwrap();
    load.answers(50).await.unwrap();
    let deployed = host.deploy("2").await.unwrap();
    deployed.assert_ended("completed", 0).unwrap();
    let (blue, green) = (host.blue.address(), host.green.address());
    let text = host.text().unwrap();
    assert!(
        text.starts_with("# Written by cutover; slot green is active, generation 1.\n# It follows "),
        "{text}"
    );
    let body = format!(
        "upstream backend {{\n    # blue\n    # server {blue};\n    # green (active)\n    server {green};\n    keepalive 32;\n}}\n"
    );
    assert!(text.ends_with(&body), "{text}");
    assert_eq!(host.files().unwrap(), ["backend.conf"]);
    assert_eq!(host.answering().await.unwrap(), "green");

    let back = host.daemon.cli(&["rollback", "shop"]).unwrap();
    assert!(back.status.success(), "{back:?}");
    assert_eq!(host.answering().await.unwrap(), "blue");
    assert!(host.text().unwrap().contains("slot blue is active, generation 2."), "{}", host.text().unwrap());
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_watched_by_probes_only_says_so() {
    let host = FileHost::start(FileSettings::default()).await.unwrap();
    let mut deployment = host.daemon.begin_deploy("shop", "2").unwrap();
    let first = deployment.next().await.unwrap().unwrap();
    for clause in [
        "this edge reloads nginx, so workers that are shutting down may use the old slot for a while",
        "this edge cannot take a bad version back by itself",
        "watched by probes only",
    ] {
        assert!(first.message.contains(clause), "{}", first.message);
    }
    deployment.phase("soaking").await.unwrap();
    let status = host.daemon.status("shop").unwrap();
    let message = status.pointer("/deployment/message").and_then(|message| message.as_str()).unwrap();
    assert!(message.contains("watched by probes only"), "{message}");
    let deployed = deployment.finish().await.unwrap();
    deployed.assert_ended("completed", 0).unwrap();
    let last = deployed.events.last().unwrap();
    assert!(last.message.contains("version \"2\" is live, watched by probes only"), "{}", last.message);
}
