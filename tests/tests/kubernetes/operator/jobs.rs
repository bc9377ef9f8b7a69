//! An operator that is killed while a Job runs: the next one waits for the same Job.

use cutover_tests::kubernetes::operator::{
    Operator, apply_shop, selected, text, until_ended, until_soaking, until_status,
};
use cutover_tests::kubernetes::{self, Cluster, Namespace, jobs};
use serde_json::{Value, json};

use super::{live, run_typed};

/// The Jobs that there are: the step and the unique id of each.
async fn all(namespace: &Namespace<'_>) -> Vec<(String, String)> {
    let jobs = namespace.kubectl().get(&["jobs"]).await.unwrap();
    let of = |job: &Value| {
        let step = text(job, "/metadata/name").rsplit_once('-').unwrap().1.to_owned();
        (step, text(job, "/metadata/uid").to_owned())
    };
    jobs["items"].as_array().unwrap().iter().map(of).collect()
}

/// Waits until the Job of a step runs, kills the leader, and waits until the next operator drives. Returns the Jobs.
async fn killed_in(namespace: &Namespace<'_>, leader: &mut Operator, step: &str) -> Vec<(String, String)> {
    let runs = async || {
        let pods = namespace.pods("batch.kubernetes.io/job-name").await.unwrap();
        pods.iter().any(|pod| pod.name.contains(step))
    };
    kubernetes::until(&format!("the Job {step} to run"), runs).await.unwrap();
    let status = until_status(namespace, "the status", |_| true).await.unwrap();
    let epoch = status["epoch"].as_i64();
    leader.server().kill();
    until_status(namespace, "the next operator", |status| status["epoch"].as_i64() > epoch).await.unwrap();
    all(namespace).await
}

#[test]
fn a_leader_that_is_killed_while_a_job_runs_is_followed_by_one_that_waits_for_it() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let spec = json!({
            "migrations": {
                "migrate": { "command": ["/bin/waits"] },
                "revert": { "command": ["/bin/waits"] },
                "deadline": "5m",
            },
            "policy": {
                "probe": { "interval": "200ms", "deadline": "60s" },
                "soak": { "duration": "60s", "interval": "200ms" },
                "drain": { "deadline": "1s" },
                "warm": "1s",
            },
        });
        let (_kubelet, mut first) = live(&namespace, &spec).await;
        let kubeconfig = namespace.kubectl().kubeconfig();
        let mut second = Operator::start_as(&namespace, "operator-1", kubeconfig).unwrap();
        apply_shop(&namespace, "2", &spec).await.unwrap();
        let migrating = killed_in(&namespace, &mut first, "migrate").await;
        assert_eq!(migrating.len(), 1, "{migrating:?}");
        let _third = Operator::start_as(&namespace, "operator-2", kubeconfig).unwrap();
        jobs::end(&namespace, 0).await.unwrap();
        until_soaking(&namespace).await.unwrap();
        assert_eq!(all(&namespace).await, migrating);

        run_typed(&namespace, &format!("cutover-operator abort shop -n {}", namespace.name())).await;
        let reverting = killed_in(&namespace, &mut second, "revert").await;
        assert_eq!(reverting.len(), 2, "{reverting:?}");
        jobs::end(&namespace, 0).await.unwrap();
        until_ended(&namespace, "2", "rolled_back").await.unwrap();
        assert_eq!(all(&namespace).await, reverting);
        let pods = namespace.kubectl().get(&["pods", "--selector", "batch.kubernetes.io/job-name"]).await;
        assert_eq!(pods.unwrap()["items"].as_array().unwrap().len(), 2, "each has run once");
        assert_eq!(selected(&namespace).await.unwrap(), "blue");
    });
}
