//! The statistics of a Conn.

use std::time::Duration;

use anyhow::ensure;
use h2conn::testing::{Line, Network, Pair, pair_over};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::sleep;

use crate::support::framework::Host;
use crate::support::{TestResult, checked, run};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn bytes_are_counted_where_they_are_and_waits_for_the_peers_window_by_the_clock() -> TestResult
{
    checked(600, async {
        const WINDOW: usize = 100_000;
        let mut link = Pair::builder().initial_window_size(WINDOW as u32);
        link = link.send_queue_size(50_000);
        let (client_io, server_io) = duplex(1 << 20);
        let mut link = link.over(client_io, server_io).await?;
        let (client, server) = link.open().await?;
        let fresh = client.stats();
        ensure!(
            (fresh.bytes_written, fresh.bytes_received, fresh.stalls) == (0, 0, 0),
            "{fresh:?}"
        );

        sleep(5 * SECOND).await;
        (&client).write_all(&vec![1; WINDOW + 20_000]).await?;
        sleep(7 * SECOND).await;
        let (sent, got) = (client.stats(), server.stats());
        ensure!(sent.bytes_written == 120_000 && sent.bytes_sent == 100_000, "{sent:?}");
        ensure!(sent.send_queued == 20_000 && sent.receive_queued == 0, "{sent:?}");
        ensure!((sent.stalls, sent.stalled.as_secs()) == (1, 7), "{sent:?}");
        ensure!(sent.age.as_secs() == 12, "{sent:?}");
        ensure!((got.bytes_received, got.bytes_read) == (100_000, 0), "{got:?}");
        ensure!(got.receive_queued == 100_000 && got.stalls == 0, "{got:?}");

        (&server).read_exact(&mut vec![0; 90_000]).await?;
        sleep(20 * SECOND).await;
        let (sent, got) = (client.stats(), server.stats());
        ensure!((sent.bytes_sent, sent.send_queued) == (120_000, 0), "{sent:?}");
        ensure!((sent.stalls, sent.stalled.as_secs()) == (1, 7), "{sent:?}");
        ensure!((got.bytes_read, got.receive_queued) == (90_000, 30_000), "{got:?}");

        client.reset(h2conn::Reason::CANCEL);
        let (reader, writer) = client.into_split();
        ensure!(reader.stats().bytes_written == 120_000 && writer.stats().send_queued == 0);
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn the_round_trip_is_the_handshakes_and_then_that_of_the_last_ping() -> TestResult {
    checked(3600, async {
        let line = |milliseconds| Line::new().delay(Duration::from_millis(milliseconds));
        let network = Network::new();
        network.set(line(40));
        let (client_io, server_io) = network.memory();
        let (client, server) = pair_over(client_io, server_io).await?;
        sleep(SECOND).await;
        let is = |stats: h2conn::Stats, milliseconds: u64| {
            let rtt = stats.rtt.map(|rtt| rtt.as_millis());
            ensure!(
                rtt.is_some_and(|rtt| rtt.abs_diff(milliseconds.into()) < 5),
                "{milliseconds}: {rtt:?}"
            );
            TestResult::Ok(())
        };
        is(client.stats(), 80)?;
        is(server.stats(), 80)?;
        network.set(line(100));
        is(client.stats(), 80)?;
        ensure!(client.ping().await?.as_millis().abs_diff(200) < 5);
        is(client.stats(), 200)?;
        is(server.stats(), 80)?;
        sleep(50 * SECOND).await;
        is(server.stats(), 200)
    })
    .await
}

#[test]
fn each_kind_of_conn_counts_and_those_of_a_link_of_ours_know_the_round_trip_without_a_ping()
-> TestResult {
    for (host, over) in Host::everywhere() {
        run(async move {
            let (client, server) = host.pair(over).await?;
            (&client).write_all(b"question").await?;
            (&server).read_exact(&mut [0; 8]).await?;
            (&server).write_all(b"answer").await?;
            (&client).read_exact(&mut [0; 6]).await?;
            server.sent().await?;
            let (ours, theirs) = (client.stats(), server.stats());
            ensure!((ours.bytes_sent, ours.bytes_read) == (8, 6), "{ours:?}");
            ensure!((theirs.bytes_sent, theirs.bytes_read) == (6, 8), "{theirs:?}");
            ensure!(ours.rtt.is_some_and(|rtt| !rtt.is_zero() && rtt < 5 * SECOND), "{ours:?}");
            ensure!(theirs.rtt.is_some() == host.is_ours(), "{theirs:?}");
            Ok(())
        })?;
    }
    Ok(())
}
