//! gRPC servers with the health service.

use cutover_tests::certificate::{Authority, Validity};
use cutover_tests::temp::TempDir;
use cutover_tests::{GrpcServer, TestHost, TlsFront};

use super::{failed, group, nginx, said};

async fn servers() -> (GrpcServer, GrpcServer) {
    (GrpcServer::start().await.unwrap(), GrpcServer::start().await.unwrap())
}

async fn host((blue, green): &(GrpcServer, GrpcServer), probe: &str) -> TestHost {
    let builder = nginx(blue.address(), green.address(), "grpc_pass grpc://shop;");
    TestHost::start(builder, &group(probe)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_serves_is_deployed_and_another_one_is_not() {
    let servers = servers().await;
    for server in [&servers.0, &servers.1] {
        server.set("shop.Catalogue", true).await;
    }
    let host = host(&servers, "service = \"shop.Catalogue\"").await;
    host.deploy("2").await.unwrap().assert_ended("completed", 0).unwrap();
    servers.0.set("shop.Catalogue", false).await;
    let deployed = host.deploy("3").await.unwrap();
    let why = failed(&deployed);
    assert!(why.contains(": gRPC health of \"shop.Catalogue\": NOT_SERVING instead of SERVING"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_answer_is_said() {
    let servers = servers().await;
    for (probe, says) in [
        ("kind = \"grpc\"", None),
        ("service = \"shop.Basket\"", Some("NOT_FOUND")),
        ("", Some("it speaks HTTP/2 only: write http2 = true, or kind = \"grpc\"")),
        ("kind = \"grpc\"\ntls = { insecure = true }", Some("the server does not speak TLS: remove tls")),
    ] {
        let host = host(&servers, probe).await;
        let deployed = host.deploy("2").await.unwrap();
        match says {
            None => deployed.assert_ended("completed", 0).unwrap(),
            Some(says) => assert!(failed(&deployed).contains(says), "{probe}: {deployed:#?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls() {
    let folder = TempDir::new().unwrap();
    let authority = Authority::make(folder.path(), "ca").unwrap();
    let certificate = authority.issue("app", "DNS:shop.test", Validity::Days(2)).unwrap();
    let servers = servers().await;
    let blue = TlsFront::start(servers.0.address(), &certificate, &["h2"]).await.unwrap();
    let green = TlsFront::start(servers.1.address(), &certificate, &["h2"]).await.unwrap();
    let probe = format!(
        "kind = \"grpc\"\ntls = {{ ca = \"{}\", sni = \"shop.test\" }}",
        authority.own.certificate.display()
    );
    let smoke = format!(
        "[[group.shop.smoke]]\nname = \"serves\"\nkind = \"grpc\"\ntls = {{ ca = \"{}\", sni = \"shop.test\" }}\n",
        authority.own.certificate.display()
    );
    let builder = nginx(blue.address(), green.address(), "grpc_pass grpcs://shop;");
    let host = TestHost::start(builder, &format!("{}{smoke}", group(&probe))).await.unwrap();
    let deployed = host.deploy("2").await.unwrap();
    deployed.assert_ended("completed", 0).unwrap();
    assert!(said(&deployed, "smoke \"serves\" passed in "), "{deployed:#?}");
    servers.0.set("", false).await;
    let deployed = host.deploy("3").await.unwrap();
    assert!(failed(&deployed).contains(": gRPC health: NOT_SERVING instead of SERVING"), "{deployed:#?}");
}
