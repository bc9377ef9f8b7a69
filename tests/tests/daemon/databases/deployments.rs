//! Promise 8: only what this deployment applied is reverted, only after the traffic is off and has drained, and never where data
//! would be lost.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_version_leaves_the_database_as_it_was_unless_rows_would_be_lost() {
    for kind in DatabaseKind::ALL {
        println!("{kind:?}");
        let shop = Shop::start(kind).await;
        shop.publish("2.0", &GIFTS);
        let ended = shop.deploy_bad("2.0", "").await;
        ended.assert_ended("rolled_back", 4).unwrap();
        let said = messages(&ended);
        assert!(
            said.contains("2 migrations to apply: 0002_wrap, 0003_gifts"),
            "shown before anything runs: {said}"
        );
        assert!(said.contains("applied 0002_wrap, 0003_gifts"), "{said}");
        assert!(!shop.has_gifts(), "{kind:?}");
        assert_eq!(shop.records(), "stock|applied");

        // The same again, but users write.
        shop.publish("2.1", &GIFTS);
        let ended = shop.deploy_bad("2.1", "INSERT INTO gifts VALUES (1, 'ribbon'), (2, 'box')").await;
        ended.assert_ended("stuck", 5).unwrap();
        let said = messages(&ended);
        let why = "traffic is back on \"blue\", and the database is not reverted: 0003_gifts would drop table \"gifts\", where 2 \
                   rows were written since the deployment";
        assert!(said.contains(why), "{said}");
        assert_eq!(shop.host.active().await.unwrap(), "blue");
        assert!(shop.has_gifts());
        let refused = shop.host.refused("cutover database revert shop").unwrap();
        assert!(
            refused.contains("0003_gifts would drop table \"gifts\", where 2 rows were written"),
            "{refused}"
        );
        assert_eq!(advice(&said), "cutover database revert shop --yes");
        assert_eq!(advice(&refused), advice(&said));
        let done = shop.says(&advice(&said));
        assert!(done.starts_with("reverted 0003_gifts, 0002_wrap (deployment shop-"), "{done}");
        assert!(!shop.has_gifts());
        let status = shop.host.daemon.status("shop").unwrap();
        assert_eq!(status["deployment"]["needs_operator"], false, "{status}");
        no_password(&shop, &said);
    }
}

/// The password is in no output, log or journal that an operator reads.
fn no_password(shop: &Shop, said: &str) {
    let all = [
        said.to_owned(),
        shop.host.daemon.log(),
        shop.says("cutover database status shop"),
        shop.says("cutover history --json"),
    ];
    for text in all {
        assert!(!text.contains("s3cret"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_asks_or_never_reverts() {
    let shop = Shop::start_with(DatabaseKind::Sqlite, "revert = \"ask\"").await;
    shop.publish("2.0", &GIFTS);
    let ended = shop.deploy_bad("2.0", "").await;
    ended.assert_ended("stuck", 5).unwrap();
    let said = messages(&ended);
    assert!(said.contains("the database is not reverted: revert = \"ask\""), "{said}");
    shop.says(&advice(&said));
    assert!(!shop.has_gifts());

    let shop = Shop::start_with(DatabaseKind::Sqlite, "revert = \"never\"").await;
    shop.publish("2.0", &GIFTS);
    let ended = shop.deploy_bad("2.0", "").await;
    ended.assert_ended("rolled_back", 4).unwrap();
    assert!(messages(&ended).contains("the database keeps its migrations: revert = \"never\""));
    assert!(shop.has_gifts());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_reverted_by_itself_is_marked_in_the_files() {
    let shop = Shop::start(DatabaseKind::Sqlite).await;
    for (version, down, said) in [
        ("2.0", None, "0002_wrap has no .down.sql"),
        (
            "2.1",
            Some("-- cutover: destructive\nALTER TABLE stock DROP COLUMN wrap;"),
            "0002_wrap is marked as destructive",
        ),
        (
            "2.2",
            Some("UPDATE stock SET wrap = 0;"),
            "it is not certain what this would lose: UPDATE stock SET wrap = 0",
        ),
    ] {
        let mut files = vec![GIFTS[0]];
        files.extend(down.map(|down| ("0002_wrap.down.sql", down)));
        shop.publish(version, &files);
        let ended = shop.deploy_bad(version, "").await;
        ended.assert_ended("stuck", 5).unwrap();
        assert!(messages(&ended).contains(said), "{}", messages(&ended));
        // Done by hand, as the message says; without a file, the operator writes one first.
        shop.publish(version, &GIFTS[..2]);
        shop.says(&advice(&messages(&ended)));
        assert_eq!(shop.records(), "stock|applied");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_the_database_forbids_is_refused_before_anything_moves() {
    let shop = Shop::start(DatabaseKind::Sqlite).await;
    let requires = (
        "0002_wrap.up.sql",
        "-- cutover: requires-version >= 1.8\nALTER TABLE stock ADD COLUMN wrap INTEGER;",
    );
    shop.publish("1.7", &[]);
    shop.publish("2.0", &[requires]);
    let refused = async |version: &str| {
        let deployed = shop.host.deploy(version).await.unwrap();
        assert_eq!((deployed.code, deployed.events.len()), (1, 0), "{deployed:#?}");
        assert_eq!(shop.records(), "stock|applied");
        deployed.stderr
    };
    let unknown = refused("2.0").await;
    assert!(
        unknown.contains("it is not known which version that is, because cutover has not deployed it"),
        "{unknown}"
    );
    let users = shop.host.users().unwrap();
    shop.host.deploy("1.7").await.unwrap().assert_ended("completed", 0).unwrap();
    let old = refused("2.0").await;
    let said = "0002_wrap.up.sql requires version >= 1.8 of what has the traffic, and that is 1.7: deploy a version first that \
                works before and after the migration";
    assert!(old.contains(said), "{old}");
    let planned = shop.host.daemon.cli(&["database", "plan", "shop", "--version", "2.0"]).unwrap();
    assert_eq!(planned.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&planned.stdout).contains(said), "{planned:?}");
    shop.publish("1.8", &[]);
    shop.host.deploy("1.8").await.unwrap().assert_ended("completed", 0).unwrap();
    shop.host.deploy("2.0").await.unwrap().assert_ended("completed", 0).unwrap();
    drop(users);

    // An applied file has another content, and files that fit no pattern.
    shop.publish("2.1", &[("0002_wrap.up.sql", "ALTER TABLE stock ADD COLUMN wrapped INTEGER;")]);
    let changed = shop.host.deploy("2.1").await.unwrap().stderr;
    assert!(changed.contains("0002_wrap.up.sql was changed after deployment \"shop-"), "{changed}");
    shop.publish("2.2", &[requires, ("gifts.sql", "")]);
    let named = shop.host.deploy("2.2").await.unwrap().stderr;
    assert!(named.contains("\"gifts.sql\" is not named NNNN_name.up.sql or NNNN_name.down.sql"), "{named}");
    let missing = shop.host.deploy("2.3").await.unwrap().stderr;
    assert!(
        missing.contains("failed to read the migrations ") && missing.contains("releases/2.3"),
        "{missing}"
    );
    let outside = shop.host.deploy("../2.0").await.unwrap().stderr;
    assert!(outside.contains("version \"../2.0\" is not the name of a folder"), "{outside}");
}

/// The script fails after a part of the deployment's migrations.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_fails_leaves_nothing_behind() {
    for kind in DatabaseKind::ALL {
        println!("{kind:?}");
        let shop = Shop::start(kind).await;
        let mut files = GIFTS.to_vec();
        files.push(("0004_bad.up.sql", "INSERT INTO nowhere VALUES (1);"));
        shop.publish("2.0", &files);
        let ended = shop.host.deploy("2.0").await.unwrap();
        ended.assert_ended("failed", 3).unwrap();
        let said = messages(&ended);
        assert!(said.contains("0004_bad.up.sql: ") && said.contains("nowhere"), "{said}");
        assert_eq!(shop.records(), "stock|applied", "{said}");
        assert!(!shop.has_gifts());
    }
}
