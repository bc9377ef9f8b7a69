//! A Python application behind uWSGI, which speaks uwsgi.

use super::installed::Installed;
use super::journey;

#[tokio::test(flavor = "multi_thread")]
async fn a_python_application_behind_uwsgi_is_deployed() {
    let mut recipe = Installed::new("uwsgi").unwrap();
    recipe.start(std::convert::identity).await.unwrap();
    journey::good_and_bad(&recipe, ("\"slot\": SLOT", "\"slot\": LOST")).await.unwrap();
}
