//! docs/several-hosts.md.

use cutover_tests::Network;
use cutover_tests::page::Shell;
use cutover_tests::test_host::Users;

use super::host::{Hosts, consoles};

#[test]
fn the_page_runs_in_its_order() {
    Network::run(async |network| {
        let Some(hosts) = Hosts::set_up(network).await else { return };
        let (paris, page) = (&hosts.paris, hosts.paris.page("docs/several-hosts.md"));
        let set_up = page.section("Set-up").unwrap();
        let [_, _, install] = set_up.blocks_of("sh").unwrap();
        let at_ca = Shell { folder: paris.shell.folder.join("ca"), ..paris.shell.clone() };
        at_ca.run(&install).unwrap();
        let [toml] = set_up.blocks_of("toml").unwrap();
        paris.configure(&toml);
        for block in consoles(&page, "Set-up") {
            paris.show(&block);
        }
        let users = hosts.all().map(|host| Users::start(host.site).unwrap());
        for block in consoles(&page, "What a deployment does") {
            paris.show(&block);
        }
        drop(users);
        let [away, by_hand] = consoles(&page, "What happens").try_into().unwrap();
        hosts.lyon.shell.run("systemctl stop nginx").unwrap();
        paris.show(&away);
        hosts.lyon.shell.run("systemctl restart nginx").unwrap();
        paris.show(&by_hand);
        for block in consoles(&page, "Watching") {
            paris.show(&block);
        }
    });
}
