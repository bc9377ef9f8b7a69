//! What an operator sees on a terminal of 80 columns. The files in `screens` are screens of real runs; figures, times, ports and
//! ids are not compared. `CUTOVER_WRITE_SCREENS=1` writes them anew.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use cutover_tests::nginx::Builder;
use cutover_tests::terminal::{COLUMNS, Terminal};
use cutover_tests::test_edge::{LOCATION, UPSTREAMS};
use cutover_tests::test_host::GROUP;
use cutover_tests::{Action, Backend, Nginx, TestEdge, TestHost, wait};

/// The page that quotes the screens.
const PAGE: &str = include_str!("../../../docs/screen.md");

async fn backends() -> (Backend, Backend) {
    (Backend::start("blue").await.unwrap(), Backend::start("green").await.unwrap())
}

fn nginx(blue: &Backend, green: &Backend) -> Builder {
    let http = TestEdge::http(UPSTREAMS, LOCATION);
    Nginx::builder().set("blue", blue.address()).set("green", green.address()).http(&http)
}

/// A group with a soak that is long enough to be looked at, and without the help of nginx, so the daemon tells the reason.
fn group(more: &str) -> String {
    let group = GROUP
        .replace("duration = \"1500ms\"", "duration = \"4s\"")
        .replace("\"1s\"\n    [group.shop.probe]", "\"40m\"\n    [group.shop.probe]");
    format!("{group}[group.shop.trial]\nguard = false\nrescue = false\n{more}")
}

fn in_terminal(host: &TestHost, arguments: &[&str]) -> Terminal {
    let mut command: Command = host.daemon.command(arguments);
    command.env("TZ", "UTC");
    Terminal::start(&command).unwrap()
}

/// A screen without what differs from run to run: each number is `#`, a line that was wrapped is one, and blanks are one.
fn masked(rows: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for row in rows {
        let indent = row.len() - row.trim_start().len();
        let goes_on = indent >= 6;
        // The spinner of a live line turns.
        let text = row
            .split_whitespace()
            .filter(|word| !["|", "/", "-", "\\"].contains(word))
            .collect::<Vec<_>>()
            .join(" ");
        match lines.last_mut().filter(|_| goes_on) {
            Some(line) => {
                line.push(' ');
                line.push_str(&text);
            }
            None => lines.push(text),
        }
    }
    // A probe that comes early, and a baseline that is short, are told or not.
    lines.retain(|line| !line.contains(" is not healthy yet: "));
    lines.iter().map(|line| without_path(&without_baseline(&numbers_masked(line)))).collect()
}

fn without_baseline(line: &str) -> String {
    match (line.find("; compared with "), line.find(" answers; ")) {
        (Some(begin), Some(end)) if begin < end => {
            format!("{}{}", &line[..begin], &line[end + " answers".len()..])
        }
        _ => line.to_owned(),
    }
}

/// A path that is longer than a row is broken somewhere.
fn without_path(line: &str) -> String {
    let rest = |line: &str| {
        line.find(" (output in ").and_then(|begin| Some((begin, begin + line[begin..].find(')')?)))
    };
    match rest(line) {
        Some((begin, end)) => format!("{} (output{}", &line[..begin], line[end..].replacen(") ;", ");", 1)),
        None => line.to_owned(),
    }
}

fn numbers_masked(line: &str) -> String {
    let mut shown = String::new();
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        if !c.is_ascii_digit() {
            shown.push(c);
            continue;
        }
        shown.push('#');
        // The rest of the number: digits, and what is between two of them.
        loop {
            let mut ahead = characters.clone();
            match (ahead.next(), ahead.next()) {
                (Some(next), _) if next.is_ascii_digit() => drop(characters.next()),
                (Some('.' | ',' | ':'), Some(after)) if after.is_ascii_digit() => drop(characters.next()),
                _ => break,
            }
        }
    }
    // Units change with their numbers.
    shown.replace("# us", "# ms")
}

/// Compares a screen with its file, and the file with the page.
fn assert_screen(name: &str, rows: &[String]) {
    assert!(rows.iter().all(|row| row.chars().count() <= usize::from(COLUMNS)), "{rows:#?}");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/daemon/screens/{name}.txt"));
    if std::env::var_os("CUTOVER_WRITE_SCREENS").is_some() {
        fs::write(&path, format!("{}\n", rows.join("\n"))).unwrap();
        return;
    }
    let file = fs::read_to_string(&path).unwrap();
    let kept: Vec<String> = file.lines().map(str::to_owned).collect();
    assert_eq!(masked(rows), masked(&kept), "{}\n{}", path.display(), rows.join("\n"));
    assert!(PAGE.contains(&file), "docs/screen.md does not quote {}", path.display());
}

/// The command after `type  ` in the last line.
fn advice(rows: &[String]) -> String {
    rows.last().unwrap().strip_prefix("type  ").unwrap_or_else(|| panic!("{rows:#?}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_deployment() {
    let (blue, green) = backends().await;
    let host = TestHost::start(nginx(&blue, &green), &group("")).await.unwrap();
    let users = host.users().unwrap();
    host.deploy("1.0.0").await.unwrap().assert_ended("completed", 0).unwrap();
    host.deploy("1.1.0").await.unwrap().assert_ended("completed", 0).unwrap();
    users.more_good(50).await.unwrap();
    let terminal = in_terminal(&host, &["deploy", "shop", "--version", "2.0.0"]);
    let is_soak = |row: &String| {
        row.contains("soaking ")
            && row.contains("/4 s, ")
            && row.contains(" answers, 0 5xx (limit ")
            && row.contains("), p99 old ")
            && row.contains(" new ")
    };
    terminal.until("the line of the soak", |rows| rows.last().is_some_and(is_soak)).await.unwrap();
    terminal
        .until("its figures to change", |rows| rows.last().is_some_and(|row| row.contains("soaking 3/4 s")))
        .await
        .unwrap();
    assert!(terminal.written().contains("\u{1b}["), "colours, and a line that is written anew");
    let (code, rows) = terminal.finish().await.unwrap();
    assert_eq!(code, 0, "{rows:#?}");
    // O7: the price is in the first line.
    let first = masked(&rows).first().cloned().unwrap();
    assert!(
        first.contains("slot \"green\" holds version #, warm for # min: this deployment ends that way back"),
        "{first}"
    );
    assert_screen("good", &rows);
    let is_well =
        |status: &serde_json::Value, slot: usize| status["slots"][slot]["health"]["state"] == "healthy";
    wait::until("both slots to be healthy", || {
        host.daemon.status("shop").is_ok_and(|status| is_well(&status, 0) && is_well(&status, 1))
    })
    .await
    .unwrap();
    let status = in_terminal(&host, &["status", "shop"]).finish().await.unwrap().1;
    assert_screen("status", &status);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_deployment() {
    let (blue, green) = backends().await;
    green.on("/", Action::status(500));
    green.on("/health/ready", Action::status(200));
    let host = TestHost::start(nginx(&blue, &green), &group("")).await.unwrap();
    let users = host.users().unwrap();
    users.more_good(50).await.unwrap();
    let (code, rows) = in_terminal(&host, &["deploy", "shop", "--version", "2.0.0"]).finish().await.unwrap();
    assert_eq!(code, 4, "{rows:#?}");
    assert_eq!(advice(&rows), "cutover deploy shop --version VERSION");
    assert_screen("bad", &rows);
    // For programs the same is in fields.
    let events = host.daemon.cli(&["watch", "shop", "--json"]).unwrap();
    let events: Vec<serde_json::Value> = String::from_utf8_lossy(&events.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let back = events.iter().find(|event| event["phase"] == "rolling_back").unwrap();
    let glance = &back["glance"];
    assert!(
        glance["answers"].as_u64() >= glance["errors"].as_u64() && glance["errors"].as_u64() >= Some(3),
        "{back}"
    );
    assert!(glance["limit"].is_f64() && glance["old_p99_us"].is_u64(), "{back}");
    let ending = &events.last().unwrap()["ending"];
    assert_eq!(ending["next"].as_str(), Some(advice(&rows).as_str()), "{ending}");
    let status = host.daemon.status("shop").unwrap();
    assert!(status["slots"][0]["last_60_s"]["requests_per_s"].is_f64(), "{status}");
    assert_eq!(status["slots"][0]["share"], 100.0, "{status}");
    assert_eq!(status["deployment"]["ending"], *ending, "{status}");
    assert_eq!(status["next"]["command"], "cutover deploy shop --version VERSION", "{status}");
    green.on("/", Action::status(200));
    host.run(&advice(&rows).replace("VERSION", "2.0.1")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_deployment() {
    let (blue, green) = backends().await;
    green.on("/", Action::status(500));
    green.on("/health/ready", Action::status(200));
    let commands = "[group.shop.migrate]\ncommand = [\"/bin/true\"]\n[group.shop.revert]\n\
                    command = [\"/bin/sh\", \"-c\", 'test -e %%folder%%/mended || { echo the table is locked; exit 1; }']\n";
    let host = TestHost::start(nginx(&blue, &green), &group(commands)).await.unwrap();
    let users = host.users().unwrap();
    users.more_good(50).await.unwrap();
    let terminal = in_terminal(&host, &["deploy", "shop", "--version", "2.0.0"]);
    terminal
        .until("the count of tries", |rows| rows.last().is_some_and(|row| row.contains(", tried 3 times")))
        .await
        .unwrap();
    let (code, rows) = terminal.finish().await.unwrap();
    assert_eq!(code, 5, "{rows:#?}");
    let told = rows.iter().filter(|row| row.contains("the table is locked")).count();
    assert!(told <= 2, "once when it happens, and once at the end: {rows:#?}");
    assert_eq!(advice(&rows), "cutover run shop revert");
    assert_screen("stuck", &rows);
    let status = in_terminal(&host, &["status", "shop"]).finish().await.unwrap().1;
    assert!(status.iter().any(|row| row.contains("next       cutover run shop revert")), "{status:#?}");
    fs::write(host.path("mended"), "").unwrap();
    host.run(&advice(&rows)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_says_how_to_follow_and_to_end_it() {
    let (blue, green) = backends().await;
    let long = group("").replace("\"4s\"", "\"10s\"");
    let host = TestHost::start(nginx(&blue, &green), &long).await.unwrap();
    let users = host.users().unwrap();
    users.more_good(20).await.unwrap();
    let mut terminal = in_terminal(&host, &["deploy", "shop", "--version", "2.0.0"]);
    terminal
        .until("the soak", |rows| rows.last().is_some_and(|row| row.contains("soaking 1/10 s")))
        .await
        .unwrap();
    terminal.type_keys("\u{3}").unwrap();
    let (code, rows) = terminal.finish().await.unwrap();
    assert_eq!(code, 130, "{rows:#?}");
    assert_screen("interrupted", &rows);
    let mut followed = in_terminal(&host, &["watch", "shop"]);
    followed.until("the soak", |rows| rows.last().is_some_and(|row| row.contains("/10 s, "))).await.unwrap();
    followed.type_keys("\u{3}").unwrap();
    followed.finish().await.unwrap();
    host.run("cutover abort shop").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn status_is_shown_anew_in_its_place() {
    let (mut blue, green) = backends().await;
    let host = TestHost::start(nginx(&blue, &green), &group("")).await.unwrap();
    let users = host.users().unwrap();
    let mut terminal = in_terminal(&host, &["status", "--watch"]);
    let is_healthy = |rows: &[String], slot: &str| {
        rows.iter().any(|row| row.contains("healthy for ") && row.contains(slot))
    };
    let is_well = |rows: &[String]| is_healthy(rows, "active") && is_healthy(rows, "standby");
    terminal.until("both slots to be healthy", is_well).await.unwrap();
    let has_rates = |rows: &[String]| {
        rows.iter().any(|row| row.contains("10 s ") && row.contains("/s ") && row.contains("0 5xx"))
    };
    terminal.until("its rates", has_rates).await.unwrap();
    blue.stop().await;
    let is_dead =
        |rows: &[String]| rows.first().is_some_and(|row| row.starts_with("shop: slot \"blue\" is DEAD for "));
    terminal.until("the first line to say that it is dead", is_dead).await.unwrap();
    let advised =
        |rows: &[String]| rows.iter().any(|row| row.contains("next       cutover switch shop --to green"));
    terminal.until("the next command", advised).await.unwrap();
    let rows = terminal.rows();
    assert_eq!(
        rows.iter().filter(|row| row.contains("DEAD")).count(),
        2,
        "one status on the screen: {rows:#?}"
    );
    assert!(terminal.written().contains("\u{1b}[1;31mshop: slot \"blue\" is DEAD"), "red");
    terminal.type_keys("\u{3}").unwrap();
    assert_eq!(terminal.finish().await.unwrap().0, 0);
    assert_screen("dead", &in_terminal(&host, &["status", "shop"]).finish().await.unwrap().1);
    drop(users);
}

#[tokio::test(flavor = "multi_thread")]
async fn colours_are_as_the_options_say() {
    let (blue, green) = backends().await;
    let host = TestHost::start(nginx(&blue, &green), &group("")).await.unwrap();
    let written = |arguments: &[&str], no_color: bool| {
        let mut command = host.daemon.command(arguments);
        if no_color {
            command.env("NO_COLOR", "1");
        }
        String::from_utf8_lossy(&command.output().unwrap().stdout).contains('\u{1b}')
    };
    assert!(!written(&["status"], false), "a file has no colours");
    assert!(written(&["status", "--color", "always"], true));
    assert!(!written(&["status", "--color", "never"], false));
}
