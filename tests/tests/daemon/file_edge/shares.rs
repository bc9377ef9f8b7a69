//! Shares of the traffic by `weight=`.

use cutover_tests::FileHost;
use cutover_tests::file_host::{FileSettings, GROUP};

fn in_steps() -> String {
    GROUP.replace("warm = \"1h\"", "warm = \"1h\"\n    steps = [\"20% 500ms\", \"100%\"]")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_gives_a_part_of_the_traffic() {
    let keys = "shares = \"weight\"".to_owned();
    let settings = FileSettings { groups: in_steps(), keys, ..FileSettings::default() };
    let host = FileHost::start(settings).await.unwrap();
    let load = host.load().unwrap();
    let mut deployment = host.daemon.begin_deploy("shop", "2").unwrap();
    deployment.phase("soaking").await.unwrap();
    let (blue, green) = (host.blue.address(), host.green.address());
    let text = host.text().unwrap();
    for line in [
        "# Written by cutover; slot blue is active with 80 %, green has 20 %, generation 1.\n".to_owned(),
        format!(
            "    # blue (active, 80 %)\n    server {blue} weight=4;\n    # green (20 %)\n    server {green} weight=1;\n"
        ),
    ] {
        assert!(text.contains(&line), "{text}");
    }
    let before = load.report();
    load.answers(200).await.unwrap();
    let after = load.report();
    let of =
        |report: &cutover_tests::load::Report, slot: &str| report.by_slot.get(slot).copied().unwrap_or(0);
    let (blue, green) =
        (of(&after, "blue") - of(&before, "blue"), of(&after, "green") - of(&before, "green"));
    let share = green as f64 / (green + blue) as f64;
    assert!((0.1..0.35).contains(&share), "{green} of {} answers", green + blue);
    deployment.finish().await.unwrap().assert_ended("completed", 0).unwrap();
    assert_eq!(host.answering().await.unwrap(), "green");
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_them_steps_are_refused() {
    let host = FileHost::start(FileSettings { groups: in_steps(), ..FileSettings::default() }).await.unwrap();
    let refused = host.daemon.cli(&["deploy", "shop", "--version", "2"]).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(
        said.contains("edge \"nginx\" moves all traffic at once, so it cannot move it in steps"),
        "{said}"
    );
}
