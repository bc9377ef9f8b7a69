//! The daemon dies at any moment of a change.

use std::fs;

use cutover_core::deployment::Phase;
use cutover_tests::daemon::Deployment;
use cutover_tests::file_host::{FileSettings, GROUP};
use cutover_tests::{FileHost, process, wait};

/// A deployment that has come to this phase, and then the daemon has died and come back.
async fn killed_at(host: &mut FileHost, phase: &str) -> Deployment {
    let mut deployment = host.daemon.begin_deploy("shop", "2").unwrap();
    deployment.phase(phase).await.unwrap();
    host.daemon.kill().unwrap();
    host.daemon.resume().await.unwrap();
    deployment
}

/// The route, the file and the answers of users agree.
async fn assert_settled(host: &FileHost, slot: &str) {
    assert_eq!(host.active().unwrap(), slot);
    assert_eq!(host.files().unwrap(), ["backend.conf"], "no change is open");
    for _ in 0..10 {
        assert_eq!(host.answering().await.unwrap(), slot);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_each_record_has_one_outcome() {
    let group = format!(
        "{}\n[group.shop.migrate]\ncommand = [\"/bin/true\"]\n[group.shop.provision]\ncommand = [\"/bin/true\"]\n\
         [[group.shop.smoke]]\nname = \"root\"\npath = \"/\"\n",
        GROUP.replace("warm = \"1h\"", "warm = \"100ms\"")
    );
    for phase in &Phase::NAMES[..=8] {
        let settings = FileSettings { groups: group.clone(), ..FileSettings::default() };
        let mut host = FileHost::start(settings).await.unwrap();
        let load = host.load().unwrap();
        let deployment = killed_at(&mut host, phase).await;
        let ended = host.daemon.follow(deployment).await.unwrap();
        assert_eq!((ended.outcome.as_str(), phase), ("completed", phase), "{}", host.daemon.log());
        assert_settled(&host, "green").await;
        let report = load.stop().await;
        assert_eq!(report.failed(), 0, "{phase}: {report}");
    }
}

/// A reload that waits until the test lets it go on. `act`: what it does then.
fn held(act: &str) -> Option<String> {
    let script =
        format!("echo $$ > %%folder%%/reloading; while test -e %%folder%%/hold; do sleep 0.01; done; {act}");
    Some(format!("[\"/bin/sh\", \"-c\", \"{script}\"]"))
}

const HUP: &str = "kill -HUP $(cat %%folder%%/nginx.pid)";

async fn killed_during_reload(reload: Option<String>) -> (FileHost, Deployment) {
    let mut host = FileHost::start(FileSettings { reload, ..FileSettings::default() }).await.unwrap();
    fs::write(host.path("hold"), "").unwrap();
    let deployment = host.daemon.begin_deploy("shop", "2").unwrap();
    let reloading = host.path("reloading");
    wait::until("the reload to begin", || reloading.exists()).await.unwrap();
    let is_new = || fs::read_to_string(&reloading).is_ok_and(|pid| pid.ends_with('\n'));
    wait::until("the reload to have its process id written", is_new).await.unwrap();
    assert!(host.text().unwrap().contains("slot green is active"), "the new file is there");
    host.daemon.kill().unwrap();
    (host, deployment)
}

/// The new file was never loaded, and the new slot has died since. The old file must come back: nobody has proven the new slot.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_nginx_has_not_loaded_is_taken_back() {
    let (mut host, deployment) = killed_during_reload(held(HUP)).await;
    let reload: i32 = fs::read_to_string(host.path("reloading")).unwrap().trim().parse().unwrap();
    process::kill_now(&[process::Pid::from_raw(reload).unwrap()]);
    fs::remove_file(host.path("hold")).unwrap();
    host.green.stop().await;
    let load = host.load().unwrap();
    load.answers(20).await.unwrap();
    host.daemon.resume().await.unwrap();
    let ended = host.daemon.follow(deployment).await.unwrap();
    assert_eq!(ended.outcome, "failed", "{}", host.daemon.log());
    assert_settled(&host, "blue").await;
    assert!(
        host.daemon.log().contains("a change was left half done: the old file is back"),
        "{}",
        host.daemon.log()
    );
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{report}");
}

/// The command that the daemon has started reaches nginx after the daemon has died.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_nginx_has_loaded_stays() {
    let (mut host, deployment) = killed_during_reload(held(HUP)).await;
    let before = host.nginx.workers();
    fs::remove_file(host.path("hold")).unwrap();
    let is_loaded = || {
        let now = host.nginx.workers();
        !now.is_empty() && now.iter().all(|pid| !before.contains(pid))
    };
    wait::until("nginx to load the new file", is_loaded).await.unwrap();
    host.daemon.resume().await.unwrap();
    let ended = host.daemon.follow(deployment).await.unwrap();
    assert_eq!(ended.outcome, "completed", "{}", host.daemon.log());
    assert_settled(&host, "green").await;
    assert!(
        host.daemon.log().contains("nginx had loaded the new file, so it stays"),
        "{}",
        host.daemon.log()
    );
}

/// A change of a route by hand has no journal that would tell of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_switch_by_hand_that_was_cut_off_is_taken_back() {
    let mut host =
        FileHost::start(FileSettings { reload: held(HUP), ..FileSettings::default() }).await.unwrap();
    fs::write(host.path("hold"), "").unwrap();
    let mut switch = host.daemon.command(&["switch", "shop", "--to", "green"]).spawn().unwrap();
    let reloading = host.path("reloading");
    wait::until("the reload to begin", || reloading.exists()).await.unwrap();
    host.daemon.kill().unwrap();
    assert!(!switch.wait().unwrap().success());
    fs::remove_file(host.path("hold")).unwrap();
    host.daemon.resume().await.unwrap();
    wait::until("the change to be settled", || host.files().unwrap().len() == 1).await.unwrap();
    // The reload that was under way may have come before or after. Both are settled.
    let slot = host.active().unwrap();
    assert_settled(&host, &slot).await;
}
