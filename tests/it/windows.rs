//! Windows that grow to the amount that the path carries in a round trip.

use std::time::Duration;

use anyhow::ensure;
use h2conn::Conn;
use h2conn::testing::{Line, Network, Pair, PairBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::support::{TestResult, checked};

const MIB: usize = 1 << 20;
const SECOND: Duration = Duration::from_secs(1);

/// 40 MiB/s and a round trip of 100 ms: 4 MiB are on their way at once.
const RATE: usize = 40 * MIB;
const ROUND_TRIP: Duration = Duration::from_millis(100);

/// Two ends with a long fat line between them.
async fn far_apart(builder: PairBuilder) -> TestResult<(Pair, Network)> {
    let network = Network::new();
    let line = Line::new().delay(ROUND_TRIP / 2).bytes_per_second(RATE as u32).depth(16 * MIB);
    network.set(line);
    let ((client, near), (far, server)) = (duplex(MIB), duplex(MIB));
    network.join(near, far);
    Ok((builder.over(client, server).await?, network))
}

/// Writes for as long as the other end reads.
async fn pour(conn: Conn) {
    while (&conn).write_all(&[7; 64 << 10]).await.is_ok() {}
}

/// The bytes that are read per second, during this time.
async fn speed_for(mut conn: &Conn, time: Duration) -> TestResult<f64> {
    let mut buffer = vec![0; 256 << 10];
    let (start, mut bytes) = (Instant::now(), 0);
    while start.elapsed() < time {
        bytes += conn.read(&mut buffer).await?;
    }
    Ok(bytes as f64 / start.elapsed().as_secs_f64())
}

/// The bytes that are read per second, after two seconds in which windows may grow.
async fn speed(conn: &Conn) -> TestResult<f64> {
    speed_for(conn, 2 * SECOND).await?;
    speed_for(conn, SECOND).await
}

#[tokio::test(start_paused = true)]
async fn a_long_fat_line_is_filled_both_ways() -> TestResult {
    checked(600, async {
        let (mut pair, _network) = far_apart(Pair::builder()).await?;
        for upwards in [true, false] {
            let (client, server) = pair.open().await?;
            let (from, to) = if upwards { (client, server) } else { (server, client) };
            let pouring = tokio::spawn(pour(from));
            let speed = speed(&to).await?;
            ensure!(speed >= 0.95 * RATE as f64, "{speed} of {RATE} bytes a second");
            pouring.abort();
        }
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn windows_that_may_not_grow_bound_the_speed() -> TestResult {
    checked(600, async {
        let builder = Pair::builder().max_window_size(1).initial_window_size(MIB as u32);
        let (mut pair, _network) = far_apart(builder).await?;
        let (client, server) = pair.open().await?;
        let pouring = tokio::spawn(pour(client));
        let speed = speed(&server).await?;
        let window_a_round_trip = MIB as f64 / ROUND_TRIP.as_secs_f64();
        ensure!(speed <= 1.1 * window_a_round_trip, "{speed} bytes a second");
        ensure!(speed >= 0.5 * window_a_round_trip, "{speed} bytes a second");
        pouring.abort();
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_first_transfer_fills_a_long_fat_line_after_a_few_round_trips() -> TestResult {
    checked(60, async {
        let (mut pair, _network) = far_apart(Pair::builder()).await?;
        let (client, server) = pair.open().await?;
        let pouring = tokio::spawn(pour(client));
        speed_for(&server, 7 * ROUND_TRIP).await?;
        let speed = speed_for(&server, 2 * ROUND_TRIP).await?;
        ensure!(speed >= 0.95 * RATE as f64, "{speed} of {RATE} bytes a second");
        pouring.abort();
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_sent_no_more_than_the_first_window() -> TestResult {
    checked(600, async {
        let (mut pair, _network) = far_apart(Pair::builder()).await?;
        let (client, server) = pair.open().await?;
        let pouring = tokio::spawn(pour(client));
        let mut most = 0;
        for _ in 0..300 {
            sleep(ROUND_TRIP).await;
            (&server).read_exact(&mut vec![0; MIB / 4]).await?;
            most = most.max(server.stats().receive_queued);
        }
        ensure!((MIB / 2..=MIB).contains(&(most as usize)), "{most} bytes lay unread");
        pouring.abort();
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn many_conns_fill_a_long_fat_line_together() -> TestResult {
    checked(600, async {
        // With little memory, the link's window is too small at first, and not the windows of its
        // streams.
        let builder = Pair::builder().max_link_memory(12 * MIB as u32);
        let (mut pair, _network) = far_apart(builder).await?;
        let (mut pouring, mut reading) = (Vec::new(), Vec::new());
        for _ in 0..16 {
            let (client, server) = pair.open().await?;
            pouring.push(tokio::spawn(pour(client)));
            reading.push(tokio::spawn(async move { speed(&server).await }));
        }
        let mut all = 0.0;
        for reading in reading {
            all += reading.await??;
        }
        ensure!(all >= 0.9 * RATE as f64, "{all} of {RATE} bytes a second");
        for pouring in pouring {
            pouring.abort();
        }
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_stopped_reader_is_sent_no_more_because_another_is_fast() -> TestResult {
    checked(600, async {
        let (mut pair, _network) = far_apart(Pair::builder()).await?;
        let (mut pouring, mut stopped) = (Vec::new(), Vec::new());
        let (client, before) = pair.open().await?;
        pouring.push(tokio::spawn(pour(client)));
        stopped.push(before);
        let (client, fast) = pair.open().await?;
        pouring.push(tokio::spawn(pour(client)));
        let speed = speed(&fast).await?;
        ensure!(speed >= 0.95 * RATE as f64, "{speed} of {RATE} bytes a second");
        let (client, after) = pair.open().await?;
        pouring.push(tokio::spawn(pour(client)));
        stopped.push(after);
        speed_for(&fast, 2 * SECOND).await?;
        for server in stopped {
            let unread = server.stats().receive_queued as usize;
            ensure!(unread == MIB, "{unread} bytes lie unread, not the first window");
        }
        for pouring in pouring {
            pouring.abort();
        }
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_later_connection_has_the_window_that_an_earlier_one_needed() -> TestResult {
    checked(600, async {
        let (mut pair, _network) = far_apart(Pair::builder()).await?;
        let mut first_seconds = Vec::new();
        for _ in 0..3 {
            let (client, server) = pair.open().await?;
            let pouring = tokio::spawn(pour(client));
            first_seconds.push(speed_for(&server, SECOND).await?);
            // Long enough for measurements to become rarer than one in a second.
            speed_for(&server, 4 * SECOND).await?;
            pouring.abort();
        }
        let [first, later @ ..] = &first_seconds[..] else { unreachable!("three were measured") };
        let gain = later.iter().all(|speed| *speed > 1.15 * first);
        ensure!(gain, "{first_seconds:?} bytes in the first seconds");
        Ok(())
    })
    .await
}

/// Writes while it may, for as long as the other end reads.
async fn pour_while(conn: Conn, mut may: watch::Receiver<bool>) {
    while may.wait_for(|may| *may).await.is_ok() {
        if (&conn).write_all(&[7; 64 << 10]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_stream_is_reset_because_earlier_ones_were_promised_much() -> TestResult {
    const STREAMS: usize = 6;
    checked(600, async {
        let (mut pair, _network) = far_apart(Pair::builder()).await?;
        let (mut switches, mut servers, mut pouring) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..STREAMS {
            let (client, server) = pair.open().await?;
            let (switch, may) = watch::channel(true);
            pouring.push(tokio::spawn(pour_while(client, may)));
            speed_for(&server, 2 * SECOND).await?;
            // Its window is large by now. Its peer stops, and all that is on its way is read.
            switch.send_replace(false);
            while timeout(SECOND, speed_for(&server, ROUND_TRIP)).await.is_ok() {}
            switches.push(switch);
            servers.push(server);
        }
        let most = servers.iter().map(|server| server.stats().bytes_received).min();
        ensure!(most > Some(8 * MIB as u64), "they were not fast: {most:?}");
        for switch in &switches {
            switch.send_replace(true);
        }
        sleep(10 * SECOND).await;
        let unread: Vec<_> = servers.iter().map(|server| server.stats().receive_queued).collect();
        ensure!(unread.iter().sum::<u64>() <= 48 << 20, "{unread:?} bytes lie unread");
        for server in &servers {
            speed_for(server, ROUND_TRIP).await?;
        }
        for pouring in pouring {
            pouring.abort();
        }
        Ok(())
    })
    .await
}
