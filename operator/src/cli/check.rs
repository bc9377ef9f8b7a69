//! `check`: what would go wrong, before anything is applied.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use cutover_engine::foreseen::DeploymentPlan;
use cutover_operator::check::{self, Account, Checked, Finding, Settings, TestedBy, What, documents};
use cutover_operator::client;
use kube::config::KubeConfigOptions;
use kube::{Client, Config};
use serde::Serialize;

/// The arguments.
#[derive(Args, Debug)]
pub(super) struct Check {
    /// A file with BlueGreens that are not applied yet, and maybe with the objects that they name; - is the standard input. Without
    /// files, the BlueGreens of the cluster are checked.
    #[arg(short, long = "filename", value_name = "FILE")]
    files: Vec<String>,
    /// The namespace of objects that name none; without files, the only one whose BlueGreens are checked.
    #[arg(short, long)]
    namespace: Option<String>,
    /// The context of the kubeconfig.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// As whom the operator runs; without it, what the Deployments with the labels of its chart say.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = Account::parse)]
    service_account: Option<Account>,
    /// An nginx that reads the snippets of ingress-nginx's ConfigMap, as `nginx -t` does; with --module.
    #[arg(long, value_name = "PROGRAM", requires = "module")]
    nginx: Option<PathBuf>,
    /// The module that was built for that nginx.
    #[arg(long, value_name = "FILE", requires = "nginx")]
    module: Option<PathBuf>,
    /// One JSON object: the findings, and what a deployment of each BlueGreen would do.
    #[arg(long)]
    json: bool,
}

/// The result with `--json`.
#[derive(Debug, Serialize)]
struct Report {
    resources: usize,
    problems: usize,
    warnings: usize,
    findings: Vec<Finding>,
    plan: Vec<DeploymentPlan>,
}

impl Check {
    /// Checks. The code is 1 if there is a problem.
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let client = self.client().await?;
        let namespace = self.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
        let what = if self.files.is_empty() {
            What::Applied(self.namespace.clone())
        } else {
            let mut objects = Vec::new();
            for file in &self.files {
                objects.extend(documents(file, &read(file)?, &namespace).map_err(anyhow::Error::msg)?);
            }
            What::Written(objects)
        };
        let nginx = self.nginx.clone().zip(self.module.clone());
        let nginx = nginx.map(|(nginx, module)| TestedBy { nginx, module });
        let settings = Settings { account: self.service_account.clone(), nginx };
        let checked = check::check(client, what, settings).await.map_err(anyhow::Error::msg)?;
        let report = Report::of(checked);
        if self.json {
            writeln!(std::io::stdout(), "{}", serde_json::json!(report))?;
        } else {
            report.print()?;
        }
        Ok(ExitCode::from(u8::from(report.problems > 0)))
    }

    async fn client(&self) -> anyhow::Result<Client> {
        let Some(context) = &self.context else { return client::client().await };
        let options = KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
        let config = Config::from_kubeconfig(&options).await;
        let config = config.with_context(|| format!("the kubeconfig has no usable context \"{context}\""))?;
        client::of(config)
    }
}

fn read(file: &str) -> anyhow::Result<String> {
    if file != "-" {
        return std::fs::read_to_string(file).with_context(|| format!("failed to read {file}"));
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("failed to read the standard input")?;
    Ok(text)
}

impl Report {
    fn of(Checked { resources, findings, plans }: Checked) -> Self {
        let problems = findings.iter().filter(|finding| finding.is_problem()).count();
        Self { resources, problems, warnings: findings.len() - problems, findings, plan: plans }
    }

    fn print(&self) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        for finding in &self.findings {
            writeln!(out, "{finding}")?;
        }
        let counted = |number: usize, noun: &str| match number {
            0 => format!("no {noun}"),
            1 => format!("1 {noun}"),
            more => format!("{more} {noun}s"),
        };
        let (resources, problems) = (counted(self.resources, "BlueGreen"), counted(self.problems, "problem"));
        writeln!(out, "{resources} checked, {problems}, {}", counted(self.warnings, "warning"))?;
        self.plan.iter().try_for_each(|plan| write!(out, "\n{plan}"))
    }
}
