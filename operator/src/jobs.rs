//! Migrations, reverts and hooks: Jobs of the new version's image.
//!
//! A Job has the Pod template of the new slot's Deployment, so it has the same environment, secrets and service account, with
//! another command. Its name is made of the deployment and the step. An operator that resumes a deployment finds the Job of the one
//! before, and waits for it.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover_engine::commands::{Failed, Job as Step};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, EnvVar, Pod};
use kube::api::{DeleteParams, ListParams, LogParams, ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt};

use crate::edge::{MANAGED_BY, MANAGER, is_final, told};
use crate::resource::JobSpecOf;

/// Pause between two readings.
const PAUSE: Duration = Duration::from_millis(250);

/// Lines of a Pod's log that a failure shows.
const TAIL: i64 = 20;

/// The label of a Job with the deployment that it belongs to.
const DEPLOYMENT: &str = "cutover.dev/deployment";

/// How long a Job stays after its end, in seconds.
const KEPT: i32 = 24 * 3600;

/// The Jobs of a namespace.
#[derive(Clone)]
pub struct Jobs {
    client: Client,
    namespace: String,
}

impl Jobs {
    /// Those of a namespace.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { client, namespace: namespace.to_owned() }
    }

    /// Runs a step to its end: in a new Job, or in the one that an operator before this one has begun.
    pub async fn run(&self, step: &Step, what: &JobSpecOf, slot: &Deployment) -> Result<String, Failed> {
        let name = name(step);
        let limit = step.command.timeout.get();
        let job = made(&name, step, what, slot).map_err(Failed::early)?;
        match self.api().get_opt(&name).await {
            Ok(Some(before)) if end(&before) == Some(End::Failed) => self.replace(&name, &job).await?,
            Ok(Some(_)) => {}
            Ok(None) => self.create(&job).await.map_err(|error| early(&name, &error))?,
            Err(error) => return Err(early(&name, &error)),
        }
        // The Job ends by its own deadline. The API server may be away meanwhile.
        let begin = tokio::time::Instant::now();
        loop {
            match self.api().get(&name).await {
                Ok(job) => match end(&job) {
                    Some(End::Complete) => return Ok(format!("Job \"{name}\" has completed")),
                    Some(End::Failed) => return Err(self.failure(&name, &job).await),
                    None => {}
                },
                Err(kube::Error::Api(status)) if status.code == 404 => {
                    return Err(Failed::early(format!("Job \"{name}\" was deleted before it had ended")));
                }
                Err(error) => tracing::debug!(job = name, %error, "a Job cannot be read"),
            }
            if begin.elapsed() > limit + limit / 2 + Duration::from_secs(60) {
                return Err(Failed::early(format!(
                    "Job \"{name}\" has not ended within {}: kubectl describe job {name} -n {}",
                    humantime::format_duration(limit),
                    self.namespace
                )));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The end of what the Job of a step has said.
    pub async fn output(&self, step: &Step) -> String {
        let name = name(step);
        match self.pod(&name).await {
            Some(pod) => self.tail(&pod).await,
            None => String::new(),
        }
    }

    /// Makes a Job with this name, unless it is there. Fails if it can never be made. If it is not there then, it needs another
    /// try.
    pub async fn begin(
        &self,
        name: &str,
        step: &Step,
        what: &JobSpecOf,
        slot: &Deployment,
    ) -> Result<(), Failed> {
        let job = made(name, step, what, slot).map_err(Failed::early)?;
        match self.create(&job).await {
            Ok(()) => Ok(()),
            Err(error) if is_final(&error) => Err(early(name, &error)),
            Err(error) => {
                tracing::debug!(job = name, %error, "a Job cannot be made for now");
                Ok(())
            }
        }
    }

    /// How a Job stands.
    pub async fn state(&self, name: &str) -> JobState {
        match self.api().get_opt(name).await {
            Ok(None) => JobState::Missing,
            Ok(Some(job)) => match end(&job) {
                None => JobState::Runs,
                Some(End::Complete) => JobState::Ended(Ok(())),
                Some(End::Failed) => JobState::Ended(Err(self.failure(name, &job).await)),
            },
            Err(error) if is_final(&error) => {
                let why = format!("Job \"{name}\" cannot be read: {}", told(&error));
                JobState::Ended(Err(Failed::early(why)))
            }
            Err(_) => JobState::Runs,
        }
    }

    /// Deletes the Jobs of a deployment that have not ended.
    pub async fn end(&self, deployment: &str) -> Result<(), String> {
        let of_deployment = ListParams::default().labels(&format!("{DEPLOYMENT}={deployment}"));
        let listed = self.api().list(&of_deployment).await.map_err(|error| told(&error))?;
        for job in listed.iter().filter(|job| end(job).is_none()) {
            self.delete(&job.name_any()).await.map_err(|error| told(&error))?;
        }
        Ok(())
    }

    async fn create(&self, job: &Job) -> Result<(), kube::Error> {
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        match self.api().create(&params, job).await {
            // The reply to an earlier try was lost.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            created => created.map(drop),
        }
    }

    async fn replace(&self, name: &str, job: &Job) -> Result<(), Failed> {
        self.delete(name).await.map_err(|error| early(name, &error))?;
        while self.api().get_opt(name).await.map_err(|error| early(name, &error))?.is_some() {
            tokio::time::sleep(PAUSE).await;
        }
        self.create(job).await.map_err(|error| early(name, &error))
    }

    async fn delete(&self, name: &str) -> Result<(), kube::Error> {
        match self.api().delete(name, &DeleteParams::background()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            deleted => deleted.map(drop),
        }
    }

    /// Why a Job has failed, with the end of its Pod's log.
    async fn failure(&self, name: &str, job: &Job) -> Failed {
        let mut conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let failed = conditions.rfind(|one| one.type_ == "Failed");
        let why = failed.and_then(|one| one.message.clone()).unwrap_or_default();
        let pod = self.pod(name).await;
        let code = pod.as_ref().and_then(terminated).map(|terminated| terminated.exit_code);
        let tail = match &pod {
            Some(pod) => self.tail(pod).await,
            None => String::new(),
        };
        let last = tail.lines().next_back().map(|line| format!(": {line}")).unwrap_or_default();
        let exited = code.map(|code| format!(", exit code {code}")).unwrap_or_default();
        let reason = format!(
            "Job \"{name}\" has failed{exited}{last}; {why}; its output: kubectl logs job/{name} -n {}",
            self.namespace
        );
        Failed { reason, tail, code }
    }

    /// The Pod of a Job.
    async fn pod(&self, name: &str) -> Option<Pod> {
        let listed = self.pods().list(&ListParams::default().labels(&format!("job-name={name}"))).await;
        listed.ok().and_then(|listed| listed.items.into_iter().next())
    }

    /// The end of the log of a Pod, or of what its kubelet has kept of it. Empty if nobody has it.
    async fn tail(&self, pod: &Pod) -> String {
        let last = LogParams { tail_lines: Some(TAIL), ..LogParams::default() };
        let log = self.pods().logs(&pod.name_any(), &last).await.unwrap_or_default();
        match log.trim().is_empty() {
            true => terminated(pod).and_then(|terminated| terminated.message).unwrap_or_default(),
            false => log,
        }
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn api(&self) -> Api<Job> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

/// How the container of a Pod has ended.
fn terminated(pod: &Pod) -> Option<ContainerStateTerminated> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.first()?.state.as_ref()?.terminated.clone()
}

fn early(name: &str, error: &kube::Error) -> Failed {
    Failed::early(format!("Job \"{name}\" cannot be run: {}", told(error)))
}

/// The name of the Job of a step.
fn name(step: &Step) -> String {
    format!("{}-{}", step.deployment, step.name)
}

/// How a Job stands.
#[derive(Debug)]
pub enum JobState {
    /// There is none.
    Missing,
    /// It has not ended, as far as is known.
    Runs,
    /// It has ended, or can never be read.
    Ended(Result<(), Failed>),
}

/// How a Job has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Complete,
    Failed,
}

fn end(job: &Job) -> Option<End> {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.filter(|one| one.status == "True").find_map(|one| match one.type_.as_str() {
        "Complete" => Some(End::Complete),
        "Failed" => Some(End::Failed),
        _ => None,
    })
}

/// The Job of a step. `slot` is the Deployment of the new version, with its template.
fn made(name: &str, step: &Step, what: &JobSpecOf, slot: &Deployment) -> Result<Job, String> {
    let spec = slot.spec.as_ref().ok_or("the Deployment has no spec")?;
    let mut template = spec.template.clone();
    // The labels of the Deployment's Pods would make this one an endpoint of the slot's Service.
    let labels: BTreeMap<String, String> = [
        (MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned()),
        (DEPLOYMENT.to_owned(), step.deployment.clone()),
    ]
    .into();
    template.metadata = Some(ObjectMeta { labels: Some(labels.clone()), ..ObjectMeta::default() });
    let pod = template.spec.as_mut().ok_or("the Deployment has no Pod template")?;
    pod.restart_policy = Some("Never".to_owned());
    let wanted = what.container.as_deref();
    pod.containers.retain({
        let mut first = true;
        move |container| wanted.map_or_else(|| std::mem::take(&mut first), |name| container.name == name)
    });
    let container = pod.containers.first_mut().ok_or_else(|| {
        format!("Job \"{name}\": the Pods have no container \"{}\"", wanted.unwrap_or_default())
    })?;
    container.command = Some(what.command.clone());
    container.args = Some(what.args.clone()).filter(|args| !args.is_empty());
    (container.readiness_probe, container.liveness_probe, container.startup_probe) = (None, None, None);
    container.lifecycle = None;
    // The node may be gone, and the log with it.
    container.termination_message_policy = Some("FallbackToLogsOnError".to_owned());
    container.ports = None;
    let given = step.environment.iter().map(|(name, value)| EnvVar {
        name: name.clone(),
        value: Some(value.clone()),
        ..EnvVar::default()
    });
    container.env.get_or_insert_default().extend(given);
    let limit = i64::try_from(step.command.timeout.get().as_secs()).unwrap_or(i64::MAX).max(1);
    Ok(Job {
        metadata: ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() },
        spec: Some(JobSpec {
            backoff_limit: Some(0),
            active_deadline_seconds: Some(limit),
            ttl_seconds_after_finished: Some(KEPT),
            template,
            ..JobSpec::default()
        }),
        status: None,
    })
}

#[cfg(test)]
mod tests {
    use cutover_engine::policy::Policy;
    use serde_json::json;

    use super::*;

    fn step() -> Step {
        let policy: Policy = serde_json::from_value(json!({
            "migrate": { "command": ["/cutover/migrate"], "timeout": "90s" },
        }))
        .unwrap();
        let environment = [("CUTOVER_VERSION".to_owned(), "2".to_owned())].into();
        Step {
            name: "migrate".to_owned(),
            deployment: "shop-1".to_owned(),
            command: policy.migrate.unwrap(),
            environment,
        }
    }

    fn deployment() -> Deployment {
        serde_json::from_value(json!({
            "metadata": { "name": "shop-green" },
            "spec": {
                "selector": { "matchLabels": { "slot": "green" } },
                "template": {
                    "metadata": { "labels": { "slot": "green" } },
                    "spec": { "serviceAccountName": "shop", "containers": [
                        { "name": "app", "image": "shop:2", "env": [{ "name": "DATABASE_URL", "value": "db" }],
                          "readinessProbe": { "httpGet": { "port": 80 } }, "ports": [{ "containerPort": 80 }] },
                        { "name": "proxy", "image": "proxy:1" },
                    ] },
                },
            },
        }))
        .unwrap()
    }

    fn spec(container: Option<&str>) -> JobSpecOf {
        JobSpecOf {
            command: vec!["/app/migrate".to_owned()],
            args: vec!["up".to_owned()],
            container: container.map(str::to_owned),
            nothing_applied: None,
        }
    }

    #[test]
    fn it_is_a_pod_of_the_new_version_and_no_endpoint_of_the_slot() {
        let job = made("shop-1-migrate", &step(), &spec(None), &deployment()).unwrap();
        let spec = job.spec.unwrap();
        assert_eq!((spec.backoff_limit, spec.active_deadline_seconds), (Some(0), Some(90)));
        assert!(!spec.template.metadata.unwrap().labels.unwrap().contains_key("slot"));
        let pod = spec.template.spec.unwrap();
        assert_eq!(
            (pod.restart_policy.as_deref(), pod.service_account_name.as_deref()),
            (Some("Never"), Some("shop"))
        );
        let [container] = &pod.containers[..] else { panic!("{:?}", pod.containers) };
        assert_eq!(container.image.as_deref(), Some("shop:2"));
        assert_eq!(container.command.as_deref(), Some(&["/app/migrate".to_owned()][..]));
        assert!(container.readiness_probe.is_none() && container.ports.is_none());
        let names: Vec<_> = container.env.iter().flatten().map(|variable| variable.name.as_str()).collect();
        assert_eq!(names, ["DATABASE_URL", "CUTOVER_VERSION"]);
    }

    #[test]
    fn another_container() {
        let job = made("m", &step(), &spec(Some("proxy")), &deployment()).unwrap();
        assert_eq!(job.spec.unwrap().template.spec.unwrap().containers[0].image.as_deref(), Some("proxy:1"));
        let unknown = made("m", &step(), &spec(Some("db")), &deployment()).unwrap_err();
        assert!(unknown.contains("no container \"db\""), "{unknown}");
    }
}
