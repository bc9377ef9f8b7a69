//! Certificates, keys and tokens that cannot be used: what `cutover check` says of them, and what a replaced one needs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use cutover_tests::certificate::{self, Authority, Certificate, Validity};
use cutover_tests::{Hosts, Network};

use super::{check, replace, replaced, run, serve, start};

#[test]
fn check_names_what_is_wrong_with_the_certificate_of_nginx() {
    Network::run(async |network| {
        let Some(hosts) = Hosts::start(network, 1).await.unwrap() else { return };
        let host = hosts.host(1).unwrap();
        let keys = hosts.keys(host);
        let issue = |name: &str, names: &str, validity| hosts.authority.issue(name, names, validity).unwrap();
        let stranger = Authority::make(&hosts.folder(), "stranger").unwrap();
        let ca = hosts.authority.own.certificate.display().to_string();
        for (certificate, why) in [
            (
                issue("named", "DNS:edge.test,DNS:*.edge.test", Validity::Days(20)),
                "the certificate of 10.77.0.1:9443 is not valid for \"10.77.0.1\"; it is for \"edge.test\", \"*.edge.test\". Add \
                 \"10.77.0.1\" to its subjectAltName, or set edge.nginx.server_name to a name that it has"
                    .to_owned(),
            ),
            (
                issue("other", "IP:10.77.0.2", Validity::Days(20)),
                "is not valid for \"10.77.0.1\"; it is for \"10.77.0.2\"".to_owned(),
            ),
            (issue("nameless", "", Validity::Days(20)), "; it has no name (subjectAltName)".to_owned()),
            (
                issue("old", "IP:10.77.0.1", Validity::Expired),
                "the certificate of 10.77.0.1:9443 has expired on 20".to_owned(),
            ),
            (
                issue("young", "IP:10.77.0.1", Validity::NotYet),
                "UTC on: compare the clocks of both hosts".to_owned(),
            ),
            (
                stranger.issue("foreign", "IP:10.77.0.1", Validity::Days(20)).unwrap(),
                format!("is not signed by a CA in edge.nginx.ca \"{ca}\": add the CA that has signed it"),
            ),
            (hosts.authority.own.clone(), "is the certificate of a CA: nginx must have a certificate".to_owned()),
        ] {
            serve(host, &certificate).await;
            let (code, said) = check(&hosts, &keys);
            assert!(code == 1 && said.contains(&why), "{why}\n{said}");
            assert!(said.contains("nginx does not answer at https://10.77.0.1:9443: "), "{said}");
            assert!(said.contains(", 1 problem\n"), "{said}");
        }
        serve(host, &issue("named", "DNS:edge.test", Validity::Days(20))).await;
        let by_name = format!("{keys}server_name = \"edge.test\"\n");
        let (code, said) = check(&hosts, &by_name);
        assert!(code == 0 && said.starts_with("1 group checked, no problem\n"), "{said}");
        let (_, said) = check(&hosts, &format!("{keys}server_name = \"other.test\"\n"));
        assert!(said.contains("is not valid for \"other.test\"; it is for \"edge.test\""), "{said}");
        // Without ca, the CAs of this host count.
        let (_, said) = check(&hosts, &replaced(&by_name, "ca", None));
        let why = "is not signed by a CA that this host trusts: set edge.nginx.ca to a file with the CA";
        assert!(said.contains(why), "{said}");
        serve(host, &issue("ending", "IP:10.77.0.1", Validity::Days(3))).await;
        let (code, said) = check(&hosts, &keys);
        let warning =
            "warning: edge.nginx: the certificate of https://10.77.0.1:9443 (CN=ending) expires on ";
        assert!(code == 0 && said.contains(warning), "{said}");
        assert!(said.contains(" UTC, in 2 days: renew it there, and reload nginx\n"), "{said}");
    });
}

#[test]
fn check_names_the_key_and_the_file_that_cannot_be_used() {
    Network::run(async |network| {
        let Some(hosts) = Hosts::start(network, 1).await.unwrap() else { return };
        let host = hosts.host(1).unwrap();
        let (keys, folder) = (hosts.keys(host), hosts.folder());
        let path = |name: &str| folder.join(name);
        let write = |name: &str, content: &str, mode: u32| {
            fs::write(path(name), content).unwrap();
            fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        write("empty", "", 0o600);
        write("damaged", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", 0o600);
        write("cut", "-----BEGIN CERTIFICATE-----\nAAAA\n", 0o600);
        write("nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 0o600);
        write("open.key", &fs::read_to_string(&hosts.client.key).unwrap(), 0o644);
        let encrypted = path("encrypted.key");
        let made = Command::new("openssl")
            .args(["pkey", "-aes128", "-passout", "pass:secret", "-in"])
            .arg(&hosts.client.key)
            .arg("-out")
            .arg(&encrypted)
            .status();
        assert!(made.unwrap().success());
        let other = hosts.authority.issue("other", "", Validity::Days(20)).unwrap();
        for (key, file, why) in [
            ("ca", path("none"), "does not exist"),
            ("ca", path("empty"), "has no certificate: expected a PEM file with \"BEGIN CERTIFICATE\""),
            ("ca", path("damaged"), "is not a PEM file: "),
            ("ca", path("cut"), "is not a PEM file: "),
            ("ca", path("nonsense"), "has no certificate of a CA that can be used: "),
            ("ca", folder.clone(), "is not a regular file"),
            ("ca", hosts.client.key.clone(), "has no certificate: "),
            ("client_cert", path("none"), "does not exist"),
            ("client_cert", hosts.client.key.clone(), "has no certificate: "),
            ("client_cert", path("nonsense"), "has a certificate that cannot be used: "),
            ("client_key", path("none"), "does not exist"),
            ("client_key", path("empty"), "has no private key: expected a PEM file with"),
            (
                "client_key",
                path("open.key"),
                "can be read or written by others (mode 0644): set its mode to 0600",
            ),
            ("client_key", encrypted, "has a private key with a passphrase, and nobody could enter it"),
            (
                "client_key",
                other.key.clone(),
                "is not the key of the certificate in edge.nginx.client_cert \"",
            ),
        ] {
            let (code, said) = check(&hosts, &replaced(&keys, key, Some(&file)));
            let shown = format!("no credentials for nginx: edge.nginx.{key} \"{}\" {why}", file.display());
            assert!(code == 1 && said.contains(&shown), "{shown}\n{said}");
            assert!(said.contains(", 1 problem\n"), "{said}");
        }
        let daemon = start(&hosts, &replaced(&keys, "client_key", Some(&other.key))).await;
        let (code, said) = run(&daemon, "deploy shop --version 2");
        assert!(code == 1 && said.contains("is not the key of the certificate in"), "{said}");
        assert_eq!(host.group().await.unwrap().route.generation, 0);
    });
}

#[test]
fn check_names_what_nginx_does_not_accept() {
    Network::run(async |network| {
        let Some(hosts) = Hosts::start(network, 1).await.unwrap() else { return };
        let host = hosts.host(1).unwrap();
        let keys = hosts.keys(host);
        let without = replaced(&replaced(&keys, "client_cert", None), "client_key", None);
        let (code, said) = check(&hosts, &without);
        let why = "nginx refuses: https://10.77.0.1:9443 requires a client certificate (ssl_verify_client): set \
                   edge.nginx.client_cert and edge.nginx.client_key";
        assert!(code == 1 && said.contains(why), "{said}");
        let stranger = Authority::make(&hosts.folder(), "stranger").unwrap();
        let foreign = stranger.issue("foreign", "", Validity::Days(20)).unwrap();
        let with = |certificate: &Certificate| {
            let keys = replaced(&keys, "client_cert", Some(&certificate.certificate));
            replaced(&keys, "client_key", Some(&certificate.key))
        };
        let (code, said) = check(&hosts, &with(&foreign));
        let why = format!(
            "nginx refuses: https://10.77.0.1:9443 does not accept the certificate of edge.nginx.client_cert \"{}\": it has \
             expired, or its CA is not in the file that \"ssl_client_certificate\" names there",
            foreign.certificate.display()
        );
        assert!(code == 1 && said.contains(&why), "{said}");
        let expired = hosts.authority.issue("expired", "", Validity::Expired).unwrap();
        let (code, said) = check(&hosts, &with(&expired));
        let why = format!(
            "edge.nginx.client_cert \"{}\" (CN=expired) has expired on ",
            expired.certificate.display()
        );
        assert!(code == 1 && said.contains(&why), "{said}");
        let ending = hosts.authority.issue("ending", "", Validity::Days(3)).unwrap();
        let (code, said) = check(&hosts, &with(&ending));
        assert!(code == 0 && said.contains("(CN=ending) expires on "), "{said}");
        let wrong = hosts.folder().join("wrong-token");
        fs::write(&wrong, "bm90IHRoZSByaWdodCBvbmU\n").unwrap();
        fs::set_permissions(&wrong, fs::Permissions::from_mode(0o600)).unwrap();
        let (code, said) = check(&hosts, &replaced(&keys, "token_file", Some(&wrong)));
        assert!(
            code == 1 && said.contains("nginx does not accept the token of edge.nginx.token_file"),
            "{said}"
        );
        let (code, said) = check(&hosts, &replaced(&keys, "token_file", None));
        assert!(code == 1 && said.contains("\"https://10.77.0.1:9443\" needs token_file"), "{said}");
        // The port of the site does not speak TLS.
        let (code, said) = check(&hosts, &keys.replace(":9443", ":80"));
        let why = "10.77.0.1:80 does not speak TLS: nginx needs \"listen ADDRESS:PORT ssl\" there";
        assert!(code == 1 && said.contains(why), "{said}");
        // A server that does not ask for the certificate.
        host.nginx.write_http(&Hosts::http().replace("ssl_verify_client on;", "")).unwrap();
        host.nginx.reload().await.unwrap();
        let (code, said) = check(&hosts, &keys);
        assert!(code == 0 && said.contains("does not ask for the certificate of client_cert"), "{said}");
        let (code, said) = check(&hosts, &without);
        assert!(code == 0 && said.contains("hint: edge.nginx: the token alone is enough at"), "{said}");
        host.nginx.write_http(&Hosts::http().replace("write=on remote=on", "remote=on")).unwrap();
        host.nginx.reload().await.unwrap();
        let (code, said) = check(&hosts, &keys);
        assert!(
            code == 1 && said.contains("every deploy and switch is refused: this location only reads"),
            "{said}"
        );
    });
}

#[test]
fn replaced_certificates_need_no_restart() {
    Network::run(async |network| {
        let Some(hosts) = Hosts::start(network, 1).await.unwrap() else { return };
        let host = hosts.host(1).unwrap();
        let daemon = start(&hosts, &hosts.keys(host)).await;
        assert_eq!(run(&daemon, "switch shop --to green").0, 0);
        // Between the two renames the certificate does not match its key: the client goes on with what it has.
        let new = hosts.authority.issue("successor", "", Validity::Days(20)).unwrap();
        replace(&new.certificate, &hosts.client.certificate);
        let (code, said) = run(&daemon, "status");
        assert!(code == 0 && !said.contains("does not answer"), "{said}");
        let (code, said) = run(&daemon, "switch shop --to blue");
        assert!(
            code == 1 && said.contains("is not the key of the certificate in"),
            "a change needs good files: {said}"
        );
        replace(&new.key, &hosts.client.key);
        assert_eq!(run(&daemon, "switch shop --to blue").0, 0);
        let log = host.nginx.error_log();
        assert!(log.contains("with the certificate \"CN=deployer\""), "{log}");
        assert!(log.contains("with the certificate \"CN=successor\""), "{log}");
        // A new CA on both sides.
        let heir = Authority::make(&hosts.folder(), "heir").unwrap();
        serve(host, &heir.issue("edge-of-heir", "IP:10.77.0.1", Validity::Days(20)).unwrap()).await;
        let (code, said) = run(&daemon, "switch shop --to green");
        assert!(code == 1 && said.contains("is not signed by a CA in edge.nginx.ca"), "{said}");
        replace(&heir.own.certificate, &hosts.authority.own.certificate);
        let ours = heir.issue("client-of-heir", "", Validity::Days(20)).unwrap();
        replace(&ours.certificate, &hosts.client.certificate);
        replace(&ours.key, &hosts.client.key);
        host.nginx.reload().await.unwrap();
        assert_eq!(run(&daemon, "switch shop --to green"), (0, run(&daemon, "switch shop --to green").1));
        assert_eq!(host.active().await.unwrap(), "green");
    });
}

/// A certificate without a CA: the one that nginx serves is the one that is trusted.
#[test]
fn a_self_signed_certificate_is_refused_with_the_reason() {
    Network::run(async |network| {
        let Some(hosts) = Hosts::start(network, 1).await.unwrap() else { return };
        let host = hosts.host(1).unwrap();
        let own = certificate::make(host.nginx.prefix(), "edge.test").unwrap();
        serve(host, &own).await;
        let keys = replaced(&hosts.keys(host), "ca", Some(&own.certificate));
        let (code, said) = check(&hosts, &format!("{keys}server_name = \"edge.test\"\n"));
        assert!(code == 1 && said.contains("is the certificate of a CA"), "{said}");
    });
}
