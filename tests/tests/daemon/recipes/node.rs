//! A Node application, which speaks HTTP.

use super::installed::Installed;
use super::journey;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_application_is_deployed() {
    let mut recipe = Installed::new("node").unwrap();
    recipe.start(std::convert::identity).await.unwrap();
    journey::good_and_bad(&recipe, ("slot: SLOT", "slot: LOST")).await.unwrap();
}
