//! The words that a shell completes, and the manual page.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use cutover_tests::temp::TempDir;
use cutover_tests::test_edge::{LOCATION, UPSTREAMS};
use cutover_tests::test_host::GROUP_WITHOUT_TRAFFIC;
use cutover_tests::{Daemon, TestEdge, flavour};

/// A folder in PATH that has only `cutover`.
fn path_with_cutover() -> TempDir {
    let folder = TempDir::new().unwrap();
    symlink(flavour::program("cutover").unwrap(), folder.path().join("cutover")).unwrap();
    folder
}

/// What bash offers after a line, with the script that `cutover completions bash` prints.
fn completed(path: &TempDir, variables: &[(&str, &str)], words: &[&str]) -> Vec<String> {
    let script = r#"
        source <(cutover completions bash)
        complete -p cutover | grep -q -- "-F _clap_complete_cutover" || exit 9
        COMP_WORDS=("$@")
        COMP_CWORD=$(($# - 1))
        COMP_TYPE=9
        _clap_complete_cutover cutover "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let output = Command::new("bash")
        .args(["-c", script, "bash"])
        .args(words)
        .env("PATH", format!("{}:/usr/bin:/bin", path.path().display()))
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.split(['\n', '\u{b}']).map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn bash_completes_verbs_options_and_the_names_of_groups() {
    let path = path_with_cutover();
    let edge = TestEdge::start(&TestEdge::http(UPSTREAMS, LOCATION)).await.unwrap();
    let mut daemon = Daemon::start(edge.nginx.prefix(), GROUP_WITHOUT_TRAFFIC).await.unwrap();
    let config = daemon.config().display().to_string();
    let here = [("CUTOVER_CONFIG", config.as_str())];
    assert_eq!(completed(&path, &here, &["cutover", "dep"]), ["deploy"]);
    assert!(
        !completed(&path, &here, &["cutover", ""]).contains(&"dial-stdio".to_owned()),
        "it is no verb for people"
    );
    assert_eq!(completed(&path, &here, &["cutover", "deploy", "shop", "--reas"]), ["--reason"]);
    for verb in ["deploy", "status", "rollback", "freeze", "pause", "history", "switch"] {
        assert_eq!(completed(&path, &here, &["cutover", verb, "sh"]), ["shop"], "{verb}");
    }
    let deployed = daemon.deploy("shop", "2").await.unwrap();
    let id = deployed.events[0].deployment.as_str();
    assert_eq!(completed(&path, &here, &["cutover", "report", "shop-"]), [id]);
    // Without a daemon, the configuration has the names.
    daemon.stop().await.unwrap();
    assert_eq!(completed(&path, &here, &["cutover", "deploy", "sh"]), ["shop"]);
    assert_eq!(completed(&path, &[], &["cutover", "--config", &config, "status", "sh"]), ["shop"]);
}

/// What fish offers after a line.
fn completed_by_fish(path: &TempDir, config: &str, line: &str) -> Vec<String> {
    let script = "cutover completions fish | source; complete -C $argv[1]";
    let mut command = Command::new("fish");
    command.args(["--no-config", "-c", script, line]);
    let text = output_of(command, path, config);
    text.lines().filter_map(|line| line.split('\t').next()).map(str::to_owned).collect()
}

/// The line that zsh makes of a line and a Tab, at a terminal.
fn completed_by_zsh(path: &TempDir, config: &str, line: &str) -> String {
    let script = r#"
        zmodload zsh/zpty
        out=$2/line-of-zsh
        rm -f $out
        zpty shell zsh -f -i
        zpty -w shell "autoload -Uz compinit; compinit -u -D; source <(cutover completions zsh)"
        zpty -w shell "tell() { print -r -- \"\$BUFFER\" >$out.part && mv $out.part $out }; zle -N tell; bindkey '^G' tell"
        zpty -n -w shell "$1"$'\t\a'
        for i in {1..1200}; do [[ -s $out ]] && break; sleep 0.05; done
        zpty -d shell
        cat $out
    "#;
    let mut command = Command::new("zsh");
    command.args(["-f", "-c", script, "zsh", line]).arg(path.path());
    output_of(command, path, config).trim_end_matches('\n').to_owned()
}

fn output_of(mut command: Command, path: &TempDir, config: &str) -> String {
    let command = command
        .env("PATH", format!("{}:/usr/bin:/bin", path.path().display()))
        .env("HOME", path.path())
        .env("CUTOVER_CONFIG", config);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn zsh_and_fish_complete_the_same() {
    let path = path_with_cutover();
    let edge = TestEdge::start(&TestEdge::http(UPSTREAMS, LOCATION)).await.unwrap();
    let daemon = Daemon::start(edge.nginx.prefix(), GROUP_WITHOUT_TRAFFIC).await.unwrap();
    let config = daemon.config().display().to_string();
    for (line, word) in
        [("cutover dep", "deploy"), ("cutover deploy shop --reas", "--reason"), ("cutover status sh", "shop")]
    {
        assert_eq!(completed_by_fish(&path, &config, line), [word], "{line}");
        let begin = line.rsplit_once(' ').unwrap().0;
        assert_eq!(completed_by_zsh(&path, &config, line), format!("{begin} {word} "), "{line}");
    }
    let verbs = completed_by_fish(&path, &config, "cutover ");
    assert!(verbs.len() > 15 && !verbs.contains(&"dial-stdio".to_owned()), "{verbs:?}");
}

#[test]
fn the_manual_page_has_every_verb_and_no_fault() {
    let folder = TempDir::new().unwrap();
    let cutover = || Command::new(flavour::program("cutover").unwrap());
    let written = cutover().args(["man", "--out"]).arg(folder.path()).output().unwrap();
    assert!(written.status.success() && written.stdout.is_empty(), "{written:?}");
    let path = folder.path().join("cutover.1");
    assert_eq!(fs::read(&path).unwrap(), cutover().arg("man").output().unwrap().stdout);
    // groff says what is wrong with a page.
    let shown = Command::new("groff").args(["-man", "-ww", "-Tutf8", "-P-cbou"]).arg(&path).output().unwrap();
    assert!(shown.status.success() && shown.stderr.is_empty(), "{}", String::from_utf8_lossy(&shown.stderr));
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    let help = String::from_utf8(cutover().arg("--help").output().unwrap().stdout).unwrap();
    let verbs =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let verbs: Vec<&str> =
        verbs.filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next()).collect();
    assert!(verbs.contains(&"deploy") && verbs.len() > 15, "{verbs:?}");
    for verb in verbs.iter().filter(|verb| **verb != "help") {
        assert!(text.contains(&format!("CUTOVER {}", verb.to_uppercase())), "{verb}: {text}");
    }
    assert!(text.contains("--wait") && text.contains("Exit codes:"), "{text}");
}
