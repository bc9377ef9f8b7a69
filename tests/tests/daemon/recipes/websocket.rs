//! A WebSocket application: a connection lives on over the switch, and the old version waits for its end.

use anyhow::{Result, ensure};
use cutover_tests::{Client, wait};

use super::installed::Installed;
use super::journey;

/// The opening handshake through nginx.
async fn open(recipe: &Installed) -> Result<Client> {
    let mut socket = Client::connect(recipe.address()?).await?;
    let headers = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let answer = socket.request("GET", "/socket", &headers).await?;
    ensure!(answer.status == 101, "{answer:?}");
    Ok(socket)
}

/// Sends a text and returns the text that comes back, which begins with the version.
async fn says(socket: &mut Client, text: &str) -> Result<String> {
    // A final text frame with a mask of zeros, and the frame that comes back has none.
    let mut frame = vec![0x81, 0x80 | u8::try_from(text.len())?, 0, 0, 0, 0];
    frame.extend(text.as_bytes());
    let head = socket.exchange(&frame, 2).await?;
    ensure!(head[0] == 0x81, "no text: {head:?}");
    Ok(String::from_utf8(socket.exchange(&[], usize::from(head[1])).await?)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_lives_on_and_the_old_version_waits_for_it() {
    let mut recipe = Installed::new("websocket").unwrap();
    recipe.start(|settings| settings.replace("warm = \"1h\"", "warm = \"500ms\"")).await.unwrap();
    let mut socket = open(&recipe).await.unwrap();
    assert_eq!(says(&mut socket, "tea").await.unwrap(), "1 tea");

    journey::good(&recipe).await.unwrap();
    let phase = |name: &str| recipe.daemon().unwrap().status("shop").unwrap()["deployment"]["phase"] == name;
    let message = || recipe.daemon().unwrap().status("shop").unwrap()["deployment"]["message"].to_string();
    wait::until("the warm window to be over", || message().contains("the warm window is over, but slot"))
        .await
        .unwrap();
    assert_eq!(says(&mut socket, "more tea").await.unwrap(), "1 more tea");
    let mut new = open(&recipe).await.unwrap();
    assert_eq!(says(&mut new, "tea").await.unwrap(), "2 tea");
    assert!(recipe.runs("blue") && phase("warm"), "{}", recipe.daemon().unwrap().log());

    drop(socket);
    wait::until("the old version to be stopped", || !recipe.runs("blue") && phase("completed"))
        .await
        .unwrap();
    journey::bad(&recipe, ("\"slot\": SLOT", "\"slot\": LOST")).await.unwrap();
    assert_eq!(says(&mut new, "still").await.unwrap(), "2 still");
}
