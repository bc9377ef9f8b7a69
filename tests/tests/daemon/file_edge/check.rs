//! `cutover check` over stock nginx.

use std::fs;

use cutover_tests::file_host::{FileSettings, HTTP, http_with_log};
use cutover_tests::{FileHost, wait};

fn found(host: &FileHost) -> (String, bool) {
    let output = host.daemon.cli(&["check"]).unwrap();
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success())
}

/// Sends a request, and waits until nginx has written it down.
async fn answered(host: &FileHost) {
    host.answering().await.unwrap();
    let log = host.path("access.log");
    wait::until("a line in the access log", || fs::read(&log).is_ok_and(|text| !text.is_empty()))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_configuration_has_no_problem() {
    let host = FileHost::start(FileSettings::with_log()).await.unwrap();
    let (said, good) = found(&host);
    assert!(good && said.contains("access.log\": it is empty"), "{said}");
    assert!(said.contains("hint: edge.nginx: nginx has no worker_shutdown_timeout"), "{said}");
    answered(&host).await;
    let (said, good) = found(&host);
    assert!(good && !said.contains("access.log"), "{said}");
    assert_eq!(host.files().unwrap(), ["backend.conf"], "check changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named() {
    let http = http_with_log("log_format cutover '$remote_addr $status';");
    let reload = Some("[\"no-such-nginx\"]".to_owned());
    let host = FileHost::start(FileSettings { http, reload, ..FileSettings::with_log() }).await.unwrap();
    answered(&host).await;
    let (said, good) = found(&host);
    assert!(!good, "{said}");
    for problem in [
        "problem: edge.nginx.reload: \"no-such-nginx\" is no program in /usr/local/sbin:",
        "access.log\": its lines do not begin with \"$upstream_addr $status $request_time\"",
    ] {
        assert!(said.contains(problem), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_nginx_does_not_read_is_a_problem() {
    let http = HTTP.replace("include %%prefix%%/conf.d/*.conf;", "upstream backend { server %%blue%%; }");
    let host = FileHost::start(FileSettings { http, ..FileSettings::default() }).await.unwrap();
    let (said, good) = found(&host);
    assert!(!good && said.contains("nginx does not read it, so a change would have no effect"), "{said}");
    assert!(said.contains("warning: group.shop: a new version is watched by probes only"), "{said}");

    fs::write(host.path("conf.d/backend.conf"), "upstream backend {\n    server 127.0.0.1:9;\n}\n").unwrap();
    let (said, good) = found(&host);
    assert!(!good && said.contains("its servers are not those of one slot"), "{said}");
}
