//! `--keep`: prints addresses and commands to try.

use anyhow::Result;
use cutover_tests::flavour;
use cutover_tests::site::{GROUP, Release, Site};

/// Publishes some bad releases and prints the addresses and commands. Any other version is a good release.
pub(crate) fn open(site: &mut Site) -> Result<()> {
    let prefix = site.prefix()?.to_owned();
    for (version, fault) in [
        ("9.1.0", "never-ready"),
        ("9.2.0", "bad-catalogue"),
        ("9.3.0", "errors-after=40"),
        ("9.4.0", "exit-after=40"),
        ("9.5.0", "hangs=30%"),
        ("9.6.0", "not-found"),
        ("9.7.0", "errors=2%"),
    ] {
        Release::new(version, 3, Some(fault)).publish(&prefix)?;
    }
    let config = site.daemon()?.config().to_owned();
    let cutover = format!("{} --config {}", flavour::program("cutover")?.display(), config.display());
    let shop = site.address()?;
    let preview = site.nginx()?.address("preview")?;
    let admin = site.nginx()?.admin_socket();
    println!(
        "
everything goes on running:
  the shop                  curl -i http://{shop}/products
  the standby               curl -i http://{preview}/products
  some traffic              while sleep 0.01; do curl -so /dev/null -H x-request-id:1 http://{shop}/products; done
  the module                curl --unix-socket {admin} http://cutover/v1/groups/{GROUP}
  what is going on          {cutover} status {GROUP}
  a good release            {cutover} deploy {GROUP} --version 9.0.0
  one that is never ready   {cutover} deploy {GROUP} --version 9.1.0
  one without products      {cutover} deploy {GROUP} --version 9.2.0
  one that turns bad        {cutover} deploy {GROUP} --version 9.3.0
  one that dies             {cutover} deploy {GROUP} --version 9.4.0
  one that hangs            {cutover} deploy {GROUP} --version 9.5.0
  one that finds nothing    {cutover} deploy {GROUP} --version 9.6.0
  one with 2 % errors       {cutover} deploy {GROUP} --version 9.7.0
  the way back              {cutover} rollback {GROUP}
  the end                   {simulate} end {prefix}
(a release needs traffic to pass its soak, or to fail it; its faults hit requests with an x-request-id)",
        admin = admin.display(),
        simulate = std::env::current_exe()?.display(),
        prefix = prefix.display(),
    );
    Ok(())
}
