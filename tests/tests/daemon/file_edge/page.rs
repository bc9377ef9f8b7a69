//! The examples of docs/file-edge.md, in their order, on a host of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cutover_tests::flavour;
use cutover_tests::load::{Load, Plan};
use cutover_tests::page::Shell;
use cutover_tests::{Backend, Flavour, Nginx, Page, SlotOracle, client, process};

/// Ends the daemon that the page starts.
struct Daemon(PathBuf);

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Ok(pid) = process::from_file(&self.0) {
            process::kill_now(&[pid]);
        }
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(self.0.with_file_name("daemon.log")).unwrap_or_default());
        }
    }
}

const PAGE: &str = "docs/file-edge.md";

fn replaced(text: &str, name: &str, with: &str) -> String {
    Page::of(PAGE, text).with(name, with).unwrap().text().to_owned()
}

/// The programs of a host: `systemctl` knows the two units of the page.
fn functions(nginx: &Nginx, folder: &Path) -> String {
    let options: Vec<String> =
        nginx.options().iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let (program, cutover) = (nginx.flavour().nginx(), flavour::program("cutover").unwrap());
    let (folder, options) = (folder.display(), options.join(" "));
    format!(
        "nginx() {{ {program} {options} \"$@\"; }}
        cutover() {{ {cutover} --config {folder}/cutover.toml \"$@\"; }}
        systemctl() {{
            case \"$1 $2\" in
                'reload nginx') kill -HUP $(cat {folder}/nginx.pid); until test -S {folder}/admin.sock; do sleep 0.02; done ;;
                'stop cutover')
                    kill $(cat {folder}/daemon.pid)
                    while kill -0 $(cat {folder}/daemon.pid) 2>/dev/null; do sleep 0.02; done ;;
                'start cutover')
                    {cutover} --config {folder}/cutover.toml serve >>{folder}/daemon.log 2>&1 </dev/null &
                    echo $! >{folder}/daemon.pid
                    until cutover status >/dev/null 2>&1; do sleep 0.02; done ;;
            esac
        }}",
        program = program.display(),
        cutover = cutover.display(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_run_in_their_order() {
    let (blue, green) = (Backend::start("blue").await.unwrap(), Backend::start("green").await.unwrap());
    let http = "include %%prefix%%/conf.d/*.conf; # %%listen:main%%";
    let nginx = Nginx::builder().without_module().http(http).build().unwrap();
    let folder = nginx.prefix().to_owned();
    let shown = folder.display().to_string();
    let main = nginx.address("main").unwrap();
    let mut page = Page::read(PAGE).unwrap();
    for (name, with) in [
        ("127.0.0.1:3000", blue.address().to_string()),
        ("127.0.0.1:3001", green.address().to_string()),
        ("/etc/nginx/", format!("{shown}/")),
        ("/var/log/nginx/", format!("{shown}/")),
        ("/etc/cutover/", format!("{shown}/")),
        ("unix:/run/cutover/nginx.sock", format!("unix:{shown}/admin.sock")),
        ("/var/lib/cutover", format!("{shown}/state")),
        ("listen 80;", format!("listen {main};")),
    ] {
        page = page.with(name, with).unwrap();
    }
    let shell = Shell::new(&folder, functions(&nginx, &folder));
    let [set_up, to_module] = ["Set up", "To the module"].map(|heading| page.section(heading).unwrap());
    fs::create_dir(folder.join("conf.d")).unwrap();
    let [backend, shop] = set_up.blocks_of("nginx").unwrap();
    fs::write(folder.join("conf.d/backend.conf"), &backend).unwrap();
    fs::write(folder.join("conf.d/shop.conf"), &shop).unwrap();
    let [toml] = set_up.blocks_of("toml").unwrap();
    let host = format!("[daemon]\nsocket = \"{shown}/cutover.sock\"\nstate = \"{shown}/daemon\"\n");
    // A shorter soak, and the programs and the pid file of this nginx.
    let kind = "kind = \"file\"\n";
    let with = format!(
        "{kind}test = {}\nreload = {}\npid = \"{shown}/nginx.pid\"\n",
        nginx.command_line(&["-t"]).unwrap(),
        nginx.command_line(&["-s", "reload"]).unwrap()
    );
    let soak = "[group.shop.soak]\n";
    let short = format!("{soak}duration = \"2s\"\ninterval = \"100ms\"\nmin_requests = 20\n");
    let toml = replaced(&replaced(&toml, kind, &with), soak, &short);
    fs::write(folder.join("cutover.toml"), format!("{host}{toml}")).unwrap();
    nginx.start().await.unwrap();
    let _daemon = Daemon(folder.join("daemon.pid"));

    let oracle = SlotOracle::new("blue");
    oracle.observe(&["blue", "green"], std::time::Instant::now());
    let load =
        Load::start(Plan::new(main).connections(2, 1).pause(std::time::Duration::from_millis(5)), &oracle);
    load.answers(50).await.unwrap();
    let [script] = set_up.blocks_of("sh").unwrap();
    let said = shell.run(&script).unwrap();
    let [written] = page.section("The file").unwrap().blocks_of("nginx").unwrap();
    let comparable = |text: &str| -> String {
        let is_kept = |line: &&str| !line.starts_with("# It follows ");
        text.lines().filter(is_kept).map(|line| format!("{line}\n")).collect()
    };
    let backend = backend.lines().next().unwrap();
    assert!(comparable(&said).contains(&comparable(&written)), "{said}");
    assert!(said.contains(backend), "its own comment stays: {said}");
    assert_eq!(client::get(main, "/").await.unwrap().slot(), "blue", "it was rolled back");

    // To the module.
    shell.run("systemctl stop cutover").unwrap();
    let [conf] = to_module.blocks_of("nginx").unwrap();
    fs::remove_file(folder.join("conf.d/backend.conf")).unwrap();
    fs::write(folder.join("conf.d/shop.conf"), conf).unwrap();
    let flavour = Flavour::from_env().unwrap();
    nginx.set("load_module", format!("load_module {};", flavour.module().display()));
    nginx.write_http(http).unwrap();
    let [edge] = to_module.blocks_of("toml").unwrap();
    let group = toml.split_once("[group.shop.probe]").unwrap().1;
    fs::write(folder.join("cutover.toml"), format!("{host}{edge}[group.shop.probe]{group}")).unwrap();
    let [script] = to_module.blocks_of("sh").unwrap();
    shell.run(&script).unwrap();
    assert_eq!(client::get(main, "/").await.unwrap().slot(), "green");
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{report}");
}

/// The other examples are configurations, too.
#[tokio::test]
async fn the_variants_are_read() {
    let section = Page::read(PAGE).unwrap().section("systemd").unwrap();
    let variants: [String; 2] = section.blocks_of("toml").unwrap();
    let folder = cutover_tests::temp::TempDir::new().unwrap();
    for variant in variants {
        let file = folder.path().join("cutover.toml");
        let group = "[edge.nginx.group.shop]\nfile = \"/f\"\nupstream = \"b\"\n\
                     slots = { blue = [\"127.0.0.1:1\"], green = [\"127.0.0.1:2\"] }\n[group.shop]\n";
        let state = format!("[daemon]\nsocket = \"{0}/s\"\nstate = \"{0}/d\"\n", folder.path().display());
        fs::write(&file, format!("{state}[edge.nginx]\nkind = \"file\"\n{variant}{group}")).unwrap();
        let cutover = flavour::program("cutover").unwrap();
        let output = Command::new(cutover).arg("--config").arg(&file).arg("check").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("1 group checked"), "{variant}: {output:?}");
    }
}
