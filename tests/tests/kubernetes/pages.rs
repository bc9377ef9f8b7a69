//! The pages about Kubernetes: the API server takes each object that they show, and the first deployment is typed as its page says.

use std::path::PathBuf;

use cutover_tests::flavour::{program, root};
use cutover_tests::kubernetes::operator::{Operator, install, text, until_ended};
use cutover_tests::kubernetes::{Cluster, Kubelet, NODE, Namespace, documents, fetched, helm};
use cutover_tests::page::{Page, Shell};
use cutover_tests::temp::TempDir;
use serde_json::{Value, json};

use crate::policy::taken_by_engine;

const FOLDER: &str = "docs/kubernetes";

fn pages() -> Vec<Page> {
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(root().join(FOLDER)).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    names.sort();
    let name = |path: &PathBuf| format!("{FOLDER}/{}", path.file_name().unwrap().to_string_lossy());
    names.iter().map(|path| Page::read(&name(path)).unwrap()).collect()
}

/// The examples of a language, each with the name of its page.
fn blocks(language: &str) -> Vec<(String, String)> {
    let of_page = |page: &Page| {
        let blocks = page.blocks().unwrap().into_iter().filter(|block| block.language == language);
        blocks.map(|block| (page.name().to_owned(), block.text)).collect::<Vec<_>>()
    };
    pages().iter().flat_map(of_page).collect()
}

async fn add_namespace(cluster: &Cluster, name: &str) {
    let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
    cluster.kubectl().apply(&object.to_string()).await.unwrap();
}

#[test]
fn the_api_server_takes_each_object_of_the_pages() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        install(&namespace).await.unwrap();
        for definitions in
            [fetched("gateway-api", ""), fetched("argo-rollouts", "crds"), fetched("flagger", "")]
        {
            cluster.kubectl().apply_folder(&definitions).await.unwrap();
        }
        add_namespace(cluster, "shop").await;
        let blocks = blocks("yaml");
        assert!(blocks.len() >= 8, "only {} examples: has the language another name?", blocks.len());
        let mut policies = 0;
        for (page, example) in blocks {
            for object in documents(&example).unwrap() {
                assert!(
                    object.get("kind").is_some(),
                    "{page}: an example that is no object: name its language otherwise\n{example}"
                );
                if let Some(policy) = object.pointer("/spec/policy") {
                    policies += 1;
                    taken_by_engine(policy).unwrap_or_else(|why| panic!("{page}: {why}\n{example}"));
                }
            }
            let applied = cluster.kubectl().anywhere().would_apply(&example).await;
            applied.unwrap_or_else(|why| panic!("{page}: {why:#}\n{example}"));
        }
        assert!(policies >= 3, "only {policies} examples with a policy");
    });
}

#[test]
fn helm_takes_each_file_of_values_of_the_pages() {
    let folder = TempDir::new().unwrap();
    let blocks = blocks("yaml values");
    assert!(!blocks.is_empty());
    for (page, example) in blocks {
        let file = folder.path().join("values.yaml");
        std::fs::write(&file, &example).unwrap();
        let (chart, file) = (root().join("charts/cutover").display().to_string(), file.display().to_string());
        helm(&["template", "cutover", &chart, "--values", &file])
            .unwrap_or_else(|why| panic!("{page}: {why}"));
    }
}

#[test]
fn each_command_of_the_operator_on_the_pages_is_one() {
    let program = program("cutover-operator").unwrap();
    let mut verbs = std::collections::BTreeSet::new();
    for page in pages() {
        for after in page.text().split("cutover-operator ").skip(1) {
            let verb: String = after.chars().take_while(char::is_ascii_lowercase).collect();
            // Elsewhere it is the name of an image or a folder.
            if verb.is_empty() {
                continue;
            }
            if page.text().contains(&format!("`cutover-operator {verb}"))
                || after.starts_with(&format!("{verb} shop"))
            {
                verbs.insert(verb);
            }
        }
    }
    assert!(verbs.len() >= 7, "{verbs:?}");
    for verb in verbs {
        let helped = std::process::Command::new(&program).args([&verb, "--help"]).output().unwrap();
        assert!(helped.status.success(), "cutover-operator {verb}");
    }
}

/// Runs the commands of a page as the administrator.
pub(crate) fn shell(namespace: &Namespace<'_>, folder: &TempDir) -> Shell {
    let kubeconfig = namespace.kubectl().kubeconfig().display();
    let (kubectl, operator) = (fetched("kubernetes", "kubectl"), program("cutover-operator").unwrap());
    // There is no kubelet, so Pods of the chart do not start, and nobody keeps logs.
    let functions = format!(
        "export KUBECONFIG={kubeconfig} HOME=$PWD\nkubectl() {{ case \"$*\" in *'rollout status'* | *' logs '*) return ;; esac; \
         {} \"$@\"; }}\ncutover-operator() {{ {} \"$@\"; }}\nhelm() {{ {} \"$@\"; }}\nln -sfn {} charts",
        kubectl.display(),
        operator.display(),
        fetched("helm", "helm").display(),
        root().join("charts").display(),
    );
    Shell::new(folder.path(), functions)
}

#[test]
fn the_first_deployment_is_as_its_page_says() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let page = Page::read("docs/kubernetes/services.md").unwrap();
        // There is no scheduler, and this test has no five minutes.
        let page = page.with(
            "    spec:\n      containers:",
            format!("    spec:\n      nodeName: {NODE}\n      containers:"),
        );
        let page = page.unwrap().with("soak: { duration: 5m }", "soak: { duration: 2s }").unwrap();
        let page = page.with("namespace: shop", format!("namespace: {}", namespace.name())).unwrap();
        let page = page.with("-n shop", format!("-n {}", namespace.name())).unwrap();
        let [objects, resource] = page.section("What you need").unwrap().blocks_of("yaml").unwrap();
        namespace.kubectl().apply(&objects).await.unwrap();
        let _kubelet = Kubelet::start(&namespace);
        let operator = Operator::start(&namespace).await.unwrap();
        namespace.kubectl().apply(&resource).await.unwrap();

        let folder = TempDir::new().unwrap();
        let shell = shell(&namespace, &folder);
        let run = |script: &str| tokio::task::block_in_place(|| shell.run(script)).unwrap();
        let [see] = page.section("What you need").unwrap().blocks_of("sh").unwrap();
        run(&format!(
            "until kubectl -n {0} get bluegreen shop -o yaml | grep -q activeSlot; do sleep 0.2; done\n{see}",
            namespace.name()
        ));
        let [deploy, back] = page.section("A deployment").unwrap().blocks_of("sh").unwrap();
        let said = run(&deploy);
        for phase in ["Provisioning", "Probing", "Smoking", "Switching", "Soaking"] {
            assert!(said.contains(phase), "no event {phase}: {said}");
        }
        let resource = namespace.kubectl().get(&["bluegreen", "shop"]).await.unwrap();
        let status = resource.get("status").cloned().unwrap_or(Value::Null);
        assert_eq!((text(&status, "/activeSlot"), text(&status, "/version")), ("green", "2.1"));
        namespace.until_size("shop", 3).await.unwrap();
        run(&back);
        let status = until_ended(&namespace, "2.1", "rolled_back").await.unwrap();
        assert_eq!(text(&status, "/activeSlot"), "blue", "{status}");

        // What helps when something is wrong can be typed, too.
        let page = Page::read("docs/kubernetes/troubleshooting.md").unwrap();
        let page = page.with("-n shop", format!("-n {}", namespace.name())).unwrap();
        for block in page.blocks().unwrap().iter().filter(|block| block.language == "sh") {
            if !block.text.contains("finalizers") && !block.text.contains("grep") {
                run(&block.text);
            }
        }
        drop(operator);
        namespace.kubectl().run(&["delete", "bluegreen", "shop", "--wait=false"]).await.unwrap();
        let [release] = page.section("A BlueGreen is not deleted").unwrap().blocks_of("sh").unwrap();
        run(&release);
        namespace.kubectl().run(&["wait", "--for=delete", "bluegreen/shop", "--timeout=60s"]).await.unwrap();
    });
}

#[test]
fn the_chart_is_installed_and_removed_as_its_page_says() {
    Cluster::alone(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let page = Page::read("docs/kubernetes/installing.md").unwrap();
        let folder = TempDir::new().unwrap();
        let shell = shell(&namespace, &folder);
        let run = |script: &str| tokio::task::block_in_place(|| shell.run(script)).unwrap();
        let [install] = page.section("With helm").unwrap().blocks_of("sh").unwrap();
        let said = run(&install);
        assert!(said.contains("docs/kubernetes/services.md"), "no notes: {said}");
        let kubectl = cluster.kubectl();
        let deployment = kubectl.get(&["deployment", "cutover", "--namespace=cutover"]).await.unwrap();
        assert_eq!(deployment.pointer("/spec/replicas"), Some(&json!(2)));
        run("helm upgrade cutover charts/cutover --namespace cutover --reuse-values --set replicas=3");
        let [remove] = page.section("Removing").unwrap().blocks_of("sh").unwrap();
        let (before, definition) = remove.split_once("kubectl delete crd").unwrap();
        run(before);
        assert!(kubectl.get(&["deployment", "cutover", "--namespace=cutover"]).await.is_err());
        kubectl
            .get(&["crd", "bluegreens.cutover.dev"])
            .await
            .expect("the definition has gone with the release");
        run(&format!("kubectl delete crd{definition}"));
        assert!(kubectl.get(&["crd", "bluegreens.cutover.dev"]).await.is_err());

        run("kubectl delete namespace cutover --timeout=60s");
        let [without] = page.section("Without helm").unwrap().blocks_of("sh").unwrap();
        run(&without);
        kubectl.until_established(&["crd/bluegreens.cutover.dev"]).await.unwrap();
        kubectl.get(&["deployment", "cutover", "--namespace=cutover"]).await.unwrap();
    });
}

#[test]
fn ingress_nginx_gets_module_and_agent_as_its_page_says() {
    Cluster::alone(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let page = Page::read("docs/kubernetes/ingress-nginx.md").unwrap();
        let controller = fetched("ingress-nginx-files", "chart").display().to_string();
        let page = page.with("ingress-nginx/ingress-nginx ", format!("{controller} ")).unwrap();
        let folder = TempDir::new().unwrap();
        let shell = shell(&namespace, &folder);
        let run = |script: &str| tokio::task::block_in_place(|| shell.run(script)).unwrap();
        // An installation as it was before. No Job can make the certificate of its webhook here.
        run(&format!(
            "helm install ingress-nginx {controller} --namespace ingress-nginx --create-namespace \
                --set controller.admissionWebhooks.enabled=false"
        ));
        let section = page.section("With the module").unwrap();
        let [image, operator, token, upgrade, _next] = section.blocks_of("sh").unwrap();
        let dockerfile = std::fs::read_to_string(root().join("Dockerfile")).unwrap();
        assert!(image.contains("--target ingress-module --build-arg CONTROLLER=v1.11.0"), "{image}");
        assert!(
            dockerfile.contains(" AS ingress-module\n") && dockerfile.contains("ARG CONTROLLER=v1.11.0\n")
        );
        for script in [operator, token, upgrade] {
            run(&script);
        }
        let controller = ["deployment", "ingress-nginx-controller", "--namespace=ingress-nginx"];
        let deployment = cluster.kubectl().get(&controller).await.unwrap().to_string();
        for part in ["registry.example.com/cutover-ingress-module", "registry.example.com/cutover-operator"] {
            assert!(deployment.contains(part), "no {part}: {deployment}");
        }
        let secret = cluster.kubectl().get(&["secret", "cutover-agent", "--namespace=ingress-nginx"]).await;
        assert!(secret.unwrap().pointer("/data/token").is_some());
    });
}
