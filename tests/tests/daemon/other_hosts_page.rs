//! The section "Other hosts" of docs/admin-api.md sets up an edge host and a daemon on another host, word by word.

use std::fs;
use std::path::Path;
use std::process::Command;

use cutover_tests::flavour::{Flavour, program, root};
use cutover_tests::temp::TempDir;
use cutover_tests::{Backend, Network, Nginx};

/// What the page and the example call by the names of a real host.
fn here(text: &str, names: &[(&str, String)]) -> String {
    names.iter().fold(text.to_owned(), |text, (name, here)| text.replace(name, here))
}

/// The blocks of a page's section in this language, in order.
fn blocks<'a>(section: &'a str, language: &str) -> Vec<&'a str> {
    let begin = format!("```{language}\n");
    section.split(&begin).skip(1).filter_map(|rest| rest.split_once("```")).map(|(block, _)| block).collect()
}

/// Runs a block in a folder, with functions in place of the installed programs. Returns what it prints.
fn run(block: &str, folder: &Path, functions: &str) -> String {
    let script = format!("{functions}\n{block}");
    let output =
        Command::new("bash").args(["-euo", "pipefail", "-c", &script]).current_dir(folder).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{block}\n{}\n{said}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_section_about_other_hosts_runs_in_order() {
    if !Flavour::from_env().unwrap().has_tls().unwrap() {
        println!("SKIPPED: this nginx has no TLS");
        return;
    }
    Network::run(async |network| {
        let host = network.host(1).unwrap();
        let mut backends = Vec::new();
        for (slot, port) in [("blue", 3000), ("green", 3001)] {
            backends.push(Backend::start_at(slot, (Network::TEST, port).into()).await.unwrap());
        }
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let names = [
            ("/etc/nginx/cutover", path("nginx")),
            ("/etc/cutover", path("daemon")),
            ("10.0.0.2", host.address().to_string()),
            ("10.0.0.11", Network::TEST.to_string()),
            ("10.0.0.12", Network::TEST.to_string()),
            ("10.0.0.0/24", "10.77.0.0/24".to_owned()),
            ("load_module modules/ngx_http_cutover_module.so;", "%%load_module%%".to_owned()),
            ("/run/nginx.pid", "%%prefix%%/nginx.pid".to_owned()),
            ("/var/log/nginx/error.log", "%%prefix%%/error.log".to_owned()),
            ("/var/lib/cutover", "%%prefix%%/state".to_owned()),
            ("unix:/run/cutover/nginx.sock", "%%admin%%".to_owned()),
        ];
        let page = fs::read_to_string(root().join("docs/admin-api.md")).unwrap();
        let section = page.split_once("\n## Other hosts\n").unwrap().1;
        let section = here(section.split_once("\n## ").unwrap().0, &names);
        let [make, edge, daemon, check, curl] = blocks(&section, "bash")[..] else {
            unreachable!("blocks of the page")
        };
        let [keys] = blocks(&section, "toml")[..] else { unreachable!("one configuration on the page") };

        let example = fs::read_to_string(root().join("nginx-conf/remote.conf")).unwrap();
        let [enter, namespace] = host.through();
        let nginx = Nginx::builder().through(&[&enter, &namespace]).workers(1);
        let nginx =
            nginx.whole(&here(&example, &names).replace("worker_processes auto", "worker_processes 1"));
        let nginx = nginx.build().unwrap();
        // Where an nginx without the paths of a distribution writes its access log.
        fs::create_dir(nginx.prefix().join("logs")).unwrap();
        let options: Vec<String> =
            nginx.options().iter().map(|option| format!("'{}'", option.to_string_lossy())).collect();
        let functions = format!(
            "nginx() {{ '{}' {} \"$@\"; }}\ncutover() {{ '{}' --config '{}' \"$@\"; }}",
            nginx.flavour().nginx().display(),
            options.join(" "),
            program("cutover").unwrap().display(),
            path("cutover.toml")
        );
        run(make, folder.path(), &functions);
        let made = folder.path().join("ca");
        run(edge, &made, &functions);
        nginx.start().await.unwrap();
        run(daemon, &made, &functions);
        let group = "[group.shop]\nprovision = { command = [\"/bin/true\"] }\ndecommission = { command = [\"/bin/true\"] }\n\
                     [group.shop.probe]\npath = \"/\"\n[[group.shop.smoke]]\nname = \"answers\"\npath = \"/\"\n";
        let state =
            format!("[daemon]\nsocket = \"{}\"\nstate = \"{}\"\n", path("control.sock"), path("state"));
        fs::write(path("cutover.toml"), format!("{state}{keys}{group}")).unwrap();
        assert_eq!(run(check, &made, &functions), "1 group checked, no problem\n");
        assert_eq!(run(curl, &made, &functions), "shop\n");
    });
}
