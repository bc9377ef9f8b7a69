//! The journal knows who did what by hand, when and why.

use super::*;

#[tokio::test(start_paused = true)]
async fn freezes_and_their_ends_are_kept() {
    let bench = Bench::new().await;
    let control = &bench.control;
    let by = ("alice (as root)".to_owned(), "the sale".to_owned());
    control.freeze(Some("shop"), Some(Duration::seconds(60)), by).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    control.unfreeze(Some("shop"), ("bob", "it is over")).await.unwrap();
    control.unfreeze(Some("shop"), ("bob", "once more")).await.unwrap();
    control.freeze(None, None, ("carol".to_owned(), String::new())).await.unwrap();
    let acts = control.acts(Some("shop"), 9).await.unwrap();
    let told: Vec<_> = acts
        .iter()
        .map(|act| {
            let group = act.group.as_deref().unwrap_or("all");
            let line = format!("{} {group} {} by {}: {}", act.done, act.what, act.asked_by, act.reason);
            // Each look at the journal may take a millisecond.
            line.replace(".001Z", ".000Z")
        })
        .collect();
    assert_eq!(
        told,
        [
            "1970-01-01T00:16:41.000Z all frozen by carol: ",
            "1970-01-01T00:16:41.000Z shop unfrozen by bob: it is over",
            "1970-01-01T00:16:40.000Z shop frozen until 1970-01-01T00:17:40.000Z by alice (as root): the sale",
        ]
    );
}
