//! What each recipe must show: a good version goes live without a failed request, and no user gets an answer of a bad one.

use anyhow::{Result, ensure};
use cutover_tests::load::Report;

use super::installed::Installed;

/// A change of the release: a text of one of its files, and what stands there in the bad version.
pub(super) type Change = (&'static str, &'static str);

/// What makes the smoke test fail, in every recipe.
const NO_TEA: Change = ("tea", "coffee");

/// [`good`], then [`bad`].
pub(super) async fn good_and_bad(recipe: &Installed, broken_page: Change) -> Result<()> {
    good(recipe).await?;
    bad(recipe, broken_page).await
}

/// Deploys version 2 in place of version 1.
pub(super) async fn good(recipe: &Installed) -> Result<()> {
    recipe.publish("2", &[])?;
    let load = recipe.load()?;
    load.answers(10).await?;
    recipe.deploy("2").await?.assert_ended("completed", 0)?;
    ensure!(recipe.version().await? == "2");
    no_failures(&load.stop().await, &["1", "2"])
}

/// Deploys version 3, whose smoke test fails, and version 4, whose page for users fails. Version 2 stays.
pub(super) async fn bad(recipe: &Installed, broken_page: Change) -> Result<()> {
    recipe.publish("3", &[NO_TEA])?;
    recipe.publish("4", &[broken_page])?;
    let load = recipe.load()?;

    let failed = recipe.deploy("3").await?;
    failed.assert_ended("failed", 3)?;
    ensure!(failed.events.iter().any(|event| event.message.contains("the catalogue has tea")), "{failed:#?}");
    ensure!(!recipe.runs("blue"), "version 3 still runs");

    let taken_back = recipe.deploy("4").await?;
    taken_back.assert_ended("rolled_back", 4)?;
    ensure!(taken_back.events.iter().any(|event| event.phase == "soaking"), "{taken_back:#?}");
    ensure!(!recipe.runs("blue"), "version 4 still runs");

    load.answers(10).await?;
    ensure!(recipe.version().await? == "2");
    // Version 4 had all the traffic. nginx asked version 2 for each of its failed answers.
    let group = recipe.nginx.admin().group("shop").await?;
    ensure!(group.slot("blue").is_some_and(|slot| slot.counters.responses.rescued > 0), "{group:#?}");
    no_failures(&load.stop().await, &["2"])
}

fn no_failures(report: &Report, versions: &[&str]) -> Result<()> {
    println!("{report}, by version {:?}", report.by_version);
    ensure!(report.failed() == 0, "{report}");
    ensure!(report.by_version.keys().eq(versions), "{:?}", report.by_version);
    Ok(())
}
