//! The harness itself: a test that counts on it fails for its own reasons alone.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use cutover_tests::kubernetes::{Cluster, NODE, Namespace};
use cutover_tests::process::{self, Pid, Signal};
use cutover_tests::{Backend, client, flavour, wait};

/// A Deployment with two pods, and the Service over them.
async fn apply_shop(namespace: &Namespace<'_>) {
    let objects = format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: shop }}
spec:
  replicas: 2
  selector: {{ matchLabels: {{ app: shop }} }}
  template:
    metadata: {{ labels: {{ app: shop }} }}
    spec:
      nodeName: {NODE}
      containers: [{{ name: shop, image: shop, ports: [{{ name: http, containerPort: 8080 }}] }}]
---
apiVersion: v1
kind: Service
metadata: {{ name: shop }}
spec:
  selector: {{ app: shop }}
  ports: [{{ name: http, port: 80, targetPort: http }}]
"
    );
    namespace.kubectl().apply(&objects).await.unwrap();
}

#[test]
fn pods_of_a_deployment_become_endpoints_where_backends_answer() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        apply_shop(&namespace).await;
        namespace.until_rolled_out("shop").await.unwrap();
        let pods = namespace.pods("app=shop").await.unwrap();
        assert_eq!(pods.len(), 2);
        let addresses: Vec<_> = pods.iter().map(|pod| SocketAddr::new(pod.address, 8080)).collect();
        namespace.until_endpoints("shop", &addresses).await.unwrap();
        for (pod, address) in pods.iter().zip(addresses) {
            let _backend = Backend::start_at(&pod.name, address).await.unwrap();
            assert_eq!(client::get(address, "/").await.unwrap().status_and_slot(), (200, pod.name.as_str()));
        }

        namespace.kubectl().run(&["delete", "deployment", "shop"]).await.unwrap();
        namespace.until_endpoints("shop", &[]).await.unwrap();
        namespace.delete().await.unwrap();
        assert!(namespace.pods("app=shop").await.unwrap().is_empty());
    });
}

#[test]
fn a_service_account_may_do_what_its_role_says_and_no_more() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let admin = namespace.kubectl();
        admin.run(&["create", "serviceaccount", "reader"]).await.unwrap();
        admin.run(&["create", "role", "reader", "--verb=get,list", "--resource=services"]).await.unwrap();
        let account = format!("--serviceaccount={}:reader", namespace.name());
        admin.run(&["create", "rolebinding", "reader", "--role=reader", &account]).await.unwrap();
        let reader = namespace.kubectl_as("reader").await.unwrap();
        reader.get(&["services"]).await.unwrap();
        let refused = reader.get(&["pods"]).await.unwrap_err().to_string();
        assert!(refused.contains("Forbidden"), "{refused}");
    });
}

#[test]
fn a_cluster_of_its_own_loses_its_api_server_and_gets_it_back() {
    Cluster::alone(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        apply_shop(&namespace).await;
        namespace.until_rolled_out("shop").await.unwrap();
        cluster.stop_api_server();
        assert!(namespace.pods("app=shop").await.is_err());
        cluster.start_api_server().await.unwrap();
        assert_eq!(namespace.pods("app=shop").await.unwrap().len(), 2);
    });
}

/// Prints its folder and its servers, and waits to be killed.
#[test]
#[ignore = "another test starts and kills it"]
fn cluster_until_killed() {
    Cluster::shared(async |cluster| {
        eprintln!("folder {}", cluster.machine().folder().display());
        for pid in cluster.pids() {
            eprintln!("server {pid}");
        }
        eprintln!("up");
        tokio::time::sleep(wait::PATIENCE).await;
    });
}

#[test]
fn nothing_is_left_of_a_test_program_that_was_killed() {
    let mut program = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "harness::cluster_until_killed", "--nocapture"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut folder, mut servers) = (PathBuf::new(), Vec::new());
    for line in BufReader::new(program.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        match line.split_once(' ') {
            Some(("folder", path)) => folder = PathBuf::from(path),
            Some(("server", pid)) => servers.extend(Pid::from_raw(pid.parse().unwrap())),
            _ if line == "up" => break,
            _ => {}
        }
    }
    let running = servers.iter().all(|pid| process::alive(*pid));
    program.kill().unwrap();
    program.wait().unwrap();
    assert!(running && servers.len() == 4, "{servers:?}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        process::gone(&servers, wait::PATIENCE).await.unwrap();
        wait::until("the folder of the cluster to go", || !folder.exists()).await.unwrap();
    });
}

/// As Ctrl-C does: the signal goes to all processes of the terminal's foreground.
#[test]
fn nothing_is_left_of_a_simulation_that_was_interrupted() {
    let mut program = Command::new(flavour::program("simulate").unwrap())
        .args(["--kubernetes", "--scenario", "1"])
        .process_group(0)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = Pid::from_raw(i32::try_from(program.id()).unwrap()).unwrap();
    let (mut folder, mut is_playing) = (PathBuf::new(), false);
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines().map(Result::unwrap);
    for line in lines.by_ref() {
        if let Some((_, path)) = line.split_once("the logs are under ") {
            folder = PathBuf::from(path);
        }
        is_playing = line.contains("has the traffic");
        if is_playing {
            break;
        }
    }
    let is_running = folder.join("etcd.log").exists();
    process::signal_group(pid, Signal::INT);
    let rest: Vec<String> = lines.collect();
    let code = program.wait().unwrap().code();
    assert!(is_playing && is_running, "{rest:?}");
    assert_eq!(code, Some(130), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("everything that was started has been ended")), "{rest:?}");
    assert!(!folder.exists(), "{}", folder.display());
    let programs = ["etcd", "kube-apiserver", "kube-controller", "kwok", "nginx", "nginx-ingress-c", "shop"];
    let left = process::mentioning(&programs, &folder);
    assert!(left.is_empty(), "{left:?}");
}
