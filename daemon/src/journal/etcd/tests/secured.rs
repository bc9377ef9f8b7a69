//! etcd with TLS, and with a user, as the configuration describes them.

use std::path::Path;

use cutover_tests::certificate::{Authority, Certificate, Validity};
use cutover_tests::etcd::Tls;

use super::*;
use crate::config::Config;

fn tls(folder: &Path) -> anyhow::Result<Tls> {
    let authority = Authority::make(folder, "authority")?;
    let member = authority.issue("member", "IP:127.0.0.1", Validity::Days(2))?;
    let daemon = authority.issue("daemon", "", Validity::Days(2))?;
    let pair = |made: Certificate| (made.certificate, made.key);
    Ok(Tls { ca: authority.own.certificate, server: pair(member), client: pair(daemon) })
}

fn open(cluster: &Cluster, keys: &str) -> EtcdJournal {
    let endpoints = cluster.endpoints();
    let text = format!(
        "[daemon]\nstore = \"etcd\"\n[daemon.etcd]\nendpoints = {endpoints:?}\nttl = \"4s\"\n{keys}\n[edge.nginx]\nadmin = \
         \"unix:/a\"\n"
    );
    let config = Config::parse(&text).unwrap();
    EtcdJournal::new(config.etcd().unwrap().settings().unwrap(), identity("a"))
}

async fn works(journal: EtcdJournal) {
    let led = tokio::time::timeout(Duration::from_secs(20), journal.campaign()).await;
    assert!(led.expect("it leads in time").is_certain());
    tell(&journal.clone().into(), deployment("a", "blue", "green", "2"), []).await;
    assert_eq!(journal.open_deployments().await.unwrap().len(), 1);
}

#[tokio::test]
async fn members_and_daemons_prove_who_they_are() {
    let cluster = Cluster::start_with(1, Some(tls)).await.unwrap();
    let Tls { ca, client: (certificate, key), .. } = cluster.tls().unwrap();
    let ca = format!("ca = {ca:?}\n");
    let stranger = open(&cluster, &ca).open_deployments().await.unwrap_err().to_string();
    assert!(stranger.contains("etcd does not answer: https://127.0.0.1:"), "{stranger}");
    works(open(&cluster, &format!("{ca}client_cert = {certificate:?}\nclient_key = {key:?}"))).await;
}

#[tokio::test]
async fn a_user_with_a_password() {
    let cluster = Cluster::start(1).await.unwrap();
    let mut admin = etcd_client::Client::connect(cluster.endpoints(), None).await.unwrap();
    admin.user_add("root", "secret", None).await.unwrap();
    admin.role_add("root").await.unwrap();
    admin.user_grant_role("root", "root").await.unwrap();
    admin.auth_enable().await.unwrap();
    let refused = open(&cluster, "").open_deployments().await.unwrap_err().to_string();
    assert!(refused.contains("refuses: "), "{refused}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "secret\n").unwrap();
    works(open(&cluster, &format!("user = \"root\"\npassword_file = {file:?}"))).await;
}
