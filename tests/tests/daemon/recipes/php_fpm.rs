//! PHP-FPM: one master for each slot. nginx sends both the same path, and each runs its own code, also after a rescue.

use super::installed::Installed;
use super::journey;

#[tokio::test(flavor = "multi_thread")]
async fn each_slot_of_php_runs_its_own_code() {
    let mut recipe = Installed::new("php-fpm").unwrap();
    recipe.start(std::convert::identity).await.unwrap();
    journey::good_and_bad(
        &recipe,
        ("'slot' => getenv('SHOP_SLOT')", "'slot' => throw new Exception('broken')"),
    )
    .await
    .unwrap();
}
