//! The section "Other hosts" of docs/admin-api.md sets up an edge host and a daemon on another host, word by word.

use std::fs;

use cutover_tests::flavour::{Flavour, program, root};
use cutover_tests::page::Shell;
use cutover_tests::temp::TempDir;
use cutover_tests::{Backend, Network, Nginx, Page};

/// What the page and the example call by the names of a real host.
fn here(text: &str, names: &[(&str, String)]) -> String {
    names.iter().fold(text.to_owned(), |text, (name, here)| text.replace(name, here))
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
        let section = Page::read("docs/admin-api.md").unwrap().section("Other hosts").unwrap();
        let section = Page::of(section.name(), &here(section.text(), &names));
        let [make, edge, daemon, check, curl] = section.blocks_of("bash").unwrap();
        let [keys] = section.blocks_of("toml").unwrap();

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
        let shell = Shell::new(folder.path(), functions);
        shell.run(&make).unwrap();
        let made = Shell { folder: folder.path().join("ca"), ..shell };
        made.run(&edge).unwrap();
        nginx.start().await.unwrap();
        made.run(&daemon).unwrap();
        let group = "[group.shop]\nprovision = { command = [\"/bin/true\"] }\ndecommission = { command = [\"/bin/true\"] }\n\
                     [group.shop.probe]\npath = \"/\"\n[[group.shop.smoke]]\nname = \"answers\"\npath = \"/\"\n";
        let state =
            format!("[daemon]\nsocket = \"{}\"\nstate = \"{}\"\n", path("control.sock"), path("state"));
        fs::write(path("cutover.toml"), format!("{state}{keys}{group}")).unwrap();
        let said = made.run(&check).unwrap();
        assert!(said.starts_with("1 group checked, no problem\n"), "{said}");
        assert_eq!(made.run(&curl).unwrap(), "shop\n");
    });
}
