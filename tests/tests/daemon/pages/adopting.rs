//! docs/adopting.md and docs/removing.md: a site that runs goes under Cutover, makes its first deployment, and goes back to stock
//! nginx, all under load.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cutover_tests::load::{Load, Plan};
use cutover_tests::page::Shell;
use cutover_tests::{Backend, Nginx, Page, SlotOracle, client};

use super::site::{End, functions};

/// nginx.conf of the host.
const HTTP: &str = "include %%prefix%%/conf.d/*.conf; # %%listen:main%%";

/// A page with the paths and the addresses of the test.
fn here(name: &str, nginx: &Nginx, slots: &[Backend; 2]) -> Page {
    let shown = nginx.prefix().display().to_string();
    let names = [
        ("listen 80;", format!("listen {};", nginx.address("main").unwrap())),
        ("127.0.0.1:3000", slots[0].address().to_string()),
        ("127.0.0.1:3001", slots[1].address().to_string()),
        ("/etc/nginx/", format!("{shown}/")),
        ("/etc/cutover", format!("{shown}/etc")),
        ("/usr/local/bin/", format!("{shown}/bin/")),
        ("/run/cutover/nginx.sock", format!("{shown}/admin.sock")),
        ("/var/lib/cutover", format!("{shown}/state")),
        // The test machine has no such user.
        (" uid=cutover", String::new()),
    ];
    let text = Page::read(name).unwrap().text().to_owned();
    Page::of(name, &names.iter().fold(text, |text, (name, here)| text.replace(name, here)))
}

/// The requests of users that a slot has had: all but those of the daemon.
fn of_users(slot: &Backend) -> u64 {
    slot.truth()
        .targets
        .iter()
        .filter(|(target, _)| *target != "/health/ready")
        .map(|(_, requests)| requests)
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_site_adopts_cutover_and_removes_it() {
    let slots = [Backend::start("blue").await.unwrap(), Backend::start("green").await.unwrap()];
    let nginx = Nginx::builder().without_module().http(HTTP).build().unwrap();
    let folder: PathBuf = nginx.prefix().to_owned();
    let [adopting, removing] =
        ["docs/adopting.md", "docs/removing.md"].map(|name| here(name, &nginx, &slots));
    let shell = Shell::new(&folder, functions(&nginx));
    for name in ["conf.d", "bin", "modules-enabled"] {
        fs::create_dir(folder.join(name)).unwrap();
    }
    for name in ["shop-start", "shop-stop"] {
        std::os::unix::fs::symlink("/bin/true", folder.join("bin").join(name)).unwrap();
    }
    let conf = folder.join("conf.d/shop.conf");
    let [before] = adopting.section("Before").unwrap().blocks_of("nginx").unwrap();
    fs::write(&conf, before).unwrap();
    nginx.start().await.unwrap();
    let _end = End(folder.clone());

    let main = nginx.address("main").unwrap();
    let oracle = SlotOracle::new("blue");
    oracle.observe(&["blue", "green"], Instant::now());
    let load = Load::start(Plan::new(main).connections(2, 1).pause(Duration::from_millis(5)), &oracle);
    load.answers(50).await.unwrap();

    // Adopt.
    let after = adopting.section("After").unwrap();
    let [after_conf] = after.blocks_of("nginx").unwrap();
    fs::write(&conf, after_conf).unwrap();
    // What host/nginx-module.conf does in Debian's nginx.conf.
    nginx.set("load_module", format!("load_module {};", nginx.flavour().module().display()));
    nginx.write_http(HTTP).unwrap();
    let [reload] = after.blocks_of("sh").unwrap();
    let said = shell.run(&reload).unwrap();
    assert!(said.contains("\"active\"") && said.contains("\"blue\""), "{said}");
    assert_eq!(of_users(&slots[1]), 0, "nothing has gone to green");

    // The daemon.
    let section = adopting.section("The daemon").unwrap();
    let [toml] = section.blocks_of("toml").unwrap();
    let shown = folder.display();
    let daemon = format!("[daemon]\nsocket = \"{shown}/cutover.sock\"\nstate = \"{shown}/daemon\"\n");
    fs::write(folder.join("cutover.toml"), format!("{daemon}{toml}")).unwrap();
    let console = section.blocks().unwrap().into_iter().find(|block| block.language == "console").unwrap();
    shell.session(&console).unwrap();
    // A short soak in place of that of the page.
    let short = "duration = \"2s\"\ninterval = \"100ms\"\nmin_requests = 20";
    let toml = Page::of("the configuration", &toml).with("duration = \"2m\"", short).unwrap();
    fs::write(folder.join("cutover.toml"), format!("{daemon}{}", toml.text())).unwrap();
    let [deploy] = adopting.section("The first deployment").unwrap().blocks_of("sh").unwrap();
    let said = shell.run(&deploy).unwrap();
    assert!(said.contains("version \"1.0\" is live"), "{said}");
    assert_eq!(client::get(main, "/").await.unwrap().slot(), "green");

    // Remove. From here on, nobody may get the blue of long ago.
    let live = removing.section("The live slot").unwrap();
    let [look] = live.blocks_of("sh").unwrap();
    let [shows] = live.blocks_of("text").unwrap();
    let said = shell.run(&look).unwrap();
    assert!(said.contains(shows.trim()), "{said}");
    let of_long_ago = of_users(&slots[0]);
    let stock = removing.section("Stock nginx").unwrap();
    let [stock_conf] = stock.blocks_of("nginx").unwrap();
    fs::write(&conf, stock_conf).unwrap();
    let [reload] = stock.blocks_of("sh").unwrap();
    shell.run(&reload).unwrap();
    load.answers(50).await.unwrap();
    assert_eq!(client::get(main, "/").await.unwrap().slot(), "green", "users stay where they were");

    // Clean up: the restart is without the module.
    let [clean] = removing.section("Cleaning up").unwrap().blocks_of("sh").unwrap();
    fs::write(folder.join("modules-enabled/50-mod-http-cutover.conf"), "").unwrap();
    shell.run(&clean).unwrap();
    assert!(!folder.join("state").exists());
    assert_eq!(of_users(&slots[0]), of_long_ago, "nobody was sent to blue");
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{report}");
    nginx.set("load_module", "");
    nginx.write_http(HTTP).unwrap();
    nginx.stop().await.unwrap();
    nginx.start().await.unwrap();
    assert_eq!(client::get(main, "/").await.unwrap().slot(), "green", "after the restart, too");
}
