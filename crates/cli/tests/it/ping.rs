//! `ping`: round trips, and what is said of them.

use anyhow::{Context, ensure};
use h2conn::http::StatusCode;

use crate::support::{Peer, TestResult, h2conn};

#[test]
fn round_trips_are_printed_with_statistics_whatever_the_server_answers() -> TestResult {
    let peer = Peer::cleartext(|mut listener| async move {
        let incoming = listener.accept().await.context("a request")?;
        let method = incoming.method().to_string();
        incoming.reject(StatusCode::NOT_FOUND);
        // The link is still there to be pinged.
        ensure!(listener.accept().await.is_none());
        Ok(method)
    });
    let peer = peer?;
    let assert = h2conn(["ping", "-c", "3", "-i", "10ms", &peer.url]).assert().success().stderr("");
    let said = String::from_utf8(assert.get_output().stdout.clone())?;
    for part in ["PING http://", " seq=1 ", " seq=3 ", "3 pings sent, 3 answered, 0% lost", "mdev"]
    {
        ensure!(said.contains(part), "{part:?} is not in: {said}");
    }
    ensure!(said.matches(" time=").count() == 3, "{said}");
    Ok(())
}

#[test]
fn a_server_that_is_gone_between_two_pings_is_a_loss_and_no_failure() -> TestResult {
    let peer = Peer::cleartext(|mut listener| async move {
        let conn = listener.accept().await.context("a request")?.accept()?;
        // The first answer was given when this comes back.
        conn.ping().await?;
        Ok(())
    })?;
    let assert = h2conn(["ping", "-c", "3", "-i", "500ms", &peer.url]).assert().success();
    let said = String::from_utf8(assert.get_output().stdout.clone())?;
    ensure!(said.contains("no answer from") && said.contains("3 pings sent"), "{said}");
    peer.join()
}
