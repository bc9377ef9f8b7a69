//! From stock nginx to nginx with the module, under load: docs/file-edge.md has the steps.

use std::fs;

use cutover_tests::daemon::config;
use cutover_tests::file_host::{FileSettings, GROUP};
use cutover_tests::{FileHost, Flavour, Nginx};

/// The configuration with the module: the servers of the slots have upstreams of their own, and the group has the old name.
const WITH_MODULE: &str = "
    cutover_state %%prefix%%/state;
    upstream backend_blue { server %%blue%%; keepalive 32; }
    upstream backend_green { server %%green%%; keepalive 32; }
    cutover shop { slot blue backend_blue; slot green backend_green; active green; }
    proxy_http_version 1.1;
    proxy_set_header Connection '';
    server { listen %%listen:main%%; location / { proxy_pass http://shop; } }
    server { listen %%admin%%; location / { cutover_api write=on; } }
";

#[tokio::test(flavor = "multi_thread")]
async fn the_module_takes_over_without_an_outage() {
    let flavour = Flavour::from_env().unwrap();
    assert!(flavour.module().is_file(), "run scripts/build-module");
    // The module is loaded by the reload, as it would be on a host.
    let builder = Nginx::builder().without_module();
    let mut host = FileHost::start_with(FileSettings::default(), builder).await.unwrap();
    let load = host.load().unwrap();
    load.answers(50).await.unwrap();
    host.deploy("2").await.unwrap().assert_ended("completed", 0).unwrap();
    assert_eq!(host.answering().await.unwrap(), "green");

    host.daemon.stop().await.unwrap();
    host.nginx.set("load_module", format!("load_module {};", flavour.module().display()));
    host.nginx.write_http(WITH_MODULE).unwrap();
    let tested = host.nginx.check().unwrap();
    assert!(tested.ok, "{}", tested.output);
    host.nginx.reload().await.unwrap();
    load.answers(50).await.unwrap();
    let folder = host.nginx.prefix().display().to_string();
    fs::write(host.daemon.config(), config::text(config::UNIX_SOCKET, GROUP).replace("%%folder%%", &folder))
        .unwrap();
    host.daemon.resume().await.unwrap();
    assert_eq!(
        (host.active().unwrap().as_str(), host.answering().await.unwrap().as_str()),
        ("green", "green")
    );

    let deployed = host.deploy("3").await.unwrap();
    deployed.assert_ended("completed", 0).unwrap();
    let first = deployed.events.first().unwrap();
    assert!(!first.message.contains("this edge reloads nginx"), "{}", first.message);
    assert_eq!((host.active().unwrap().as_str(), host.answering().await.unwrap().as_str()), ("blue", "blue"));
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{report}");
    assert!(report.by_slot["blue"] > 0 && report.by_slot["green"] > 0, "{report}");
}
