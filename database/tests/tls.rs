//! TLS to PostgreSQL: a server that demands it, with a certificate of the test's own CA.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs, reason = "tests")]

mod fixture;

use cutover_database::{Consent, Url, look};
use cutover_tests::certificate::Authority;

use fixture::Shop;

const GIFTS: [(&str, &str); 2] = [
    ("0002_gifts.up.sql", "CREATE TABLE gifts (id INTEGER PRIMARY KEY);"),
    ("0002_gifts.down.sql", "DROP TABLE gifts;"),
];

#[tokio::test(flavor = "multi_thread")]
async fn migrations_go_over_tls_and_only_to_a_server_that_proves_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::make(folder.path(), "ca").unwrap();
    let shop = Shop::start_with_tls(&authority).await;
    shop.write(&GIFTS);
    assert_eq!(shop.migrate("shop-2").await.unwrap().len(), 1);
    assert_eq!(shop.revert("shop-2", Consent::None).await.unwrap().len(), 1);

    let other = Authority::make(folder.path(), "other").unwrap();
    let base = shop.url.split_once('?').unwrap().0;
    for (url, said) in [
        (base.to_owned(), "no encryption"),
        (format!("{base}?sslmode=require"), "UnknownIssuer"),
        (format!("{base}?sslrootcert={}", other.own.certificate.display()), "UnknownIssuer"),
        (shop.url.replace("127.0.0.1", "localhost"), "not valid for name \"localhost\""),
        (format!("{base}?sslrootcert=/nowhere.pem"), "sslrootcert \"/nowhere.pem\": "),
    ] {
        let url = Url::parse(&url).unwrap();
        let failed = look(&url, fixture::LIMITS, &shop.folder()).await.unwrap_err().to_string();
        assert!(
            failed.starts_with("failed to connect to postgres://") && failed.contains(said),
            "{url}: {failed}"
        );
        assert!(!failed.contains("s3cret"), "{failed}");
    }
}
