//! docs/several-daemons.md.

use cutover_tests::Network;
use cutover_tests::page::Shell;
use cutover_tests::test_host::Users;

use super::host::{Hosts, consoles};

const PAGE: &str = "docs/several-daemons.md";

#[test]
fn the_page_runs_in_its_order() {
    Network::run(async |network| {
        let Some(hosts) = Hosts::set_up(network).await else { return };
        let Hosts { paris, lyon, .. } = &hosts;

        // The files of etcd, and those that the daemons show to nginx.
        let [make, ..]: [String; 3] = paris.page(PAGE).section("Set-up").unwrap().blocks_of("sh").unwrap();
        let folder = paris.shell.folder.join("etcd");
        std::fs::create_dir(&folder).unwrap();
        Shell { folder, ..paris.shell.clone() }.run(&make).unwrap();
        for (host, number) in hosts.all().into_iter().zip(1..) {
            let set_up = host.page(PAGE).section("Set-up").unwrap();
            let [_, install, member] = set_up.blocks_of("sh").unwrap();
            let address = format!("host={}", host.site.ip());
            let its = |text: &str| {
                text.replace("name=m1", &format!("name=m{number}")).replace("host=10.77.0.1", &address)
            };
            // In the folders of paris: what is copied to a host and what is read there is the same.
            let on_host =
                |folder: &str| Shell { folder: paris.shell.folder.join(folder), ..host.shell.clone() };
            on_host("etcd").run(&its(&install)).unwrap();
            host.shell.run(&its(&member)).unwrap();
            let [daemon, edges] = set_up.blocks_of("toml").unwrap();
            let of_nginx = host.page("docs/several-hosts.md").section("Set-up").unwrap();
            let [_, _, install_daemon] = of_nginx.blocks_of("sh").unwrap();
            let [rest] = of_nginx.blocks_of("toml").unwrap();
            on_host("ca").run(&install_daemon).unwrap();
            let groups = &rest[rest.find("[group.shop]").unwrap()..rest.find("[group.intern]").unwrap()];
            host.configure(&format!("{daemon}{edges}{groups}"));
        }
        let [on_paris] = consoles(&paris.page(PAGE), "Set-up").try_into().unwrap();
        paris.show(&on_paris);
        let [on_lyon, begin, go_on] = consoles(&lyon.page(PAGE), "Who leads").try_into().unwrap();
        lyon.show(&on_lyon);
        let _users = hosts.all().map(|host| Users::start(host.site).unwrap());
        paris.show(&begin);
        paris.shell.run("systemctl kill --signal KILL cutover").unwrap();
        lyon.show(&go_on);
    });
}
