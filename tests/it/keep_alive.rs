//! Peers that vanish silently, peers that are only slow, and the cost of telling them apart.

pub(crate) mod pings;
mod silence;
mod unanswered;

use std::io;
use std::time::Duration;

use anyhow::{Context, ensure};
use h2conn::testing::{Flow, Line, Network};
use h2conn::{Client, Conn, ErrorKind, Listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{Over, TestResult, accept, check_echo, checked, listen_with, long, ours, run};

const SECOND: Duration = Duration::from_secs(1);

/// No test here takes this many seconds of the paused clock.
const DAY: u64 = 24 * 60 * 60;

/// Both ends of a link in memory, with a network between them.
struct Ends {
    client: Client,
    listener: Listener,
    network: Network,
}

impl Ends {
    /// `pipe` is the capacity of the buffers on both sides of the network.
    async fn new(pipe: usize, network: Network) -> TestResult<Ends> {
        let ((client_io, near), (far, server_io)) = (duplex(pipe), duplex(pipe));
        network.join(near, far);
        let listener = Listener::builder().build_over(server_io)?;
        let client = Client::builder().build_over(client_io).await?;
        Ok(Ends { client, listener, network })
    }

    async fn open(&mut self) -> TestResult<(Conn, Conn)> {
        let (client, server) =
            tokio::join!(self.client.connect("http://memory/"), accept(&mut self.listener));
        Ok((client?.0, server?))
    }
}

/// Checks that the link was given up because of silence, and that its error says so clearly.
fn check_silence(error: &io::Error) -> TestResult {
    ensure!(error.kind() == io::ErrorKind::TimedOut, "{error:?}");
    let text = ours(error).to_string();
    ensure!(ours(error).kind() == ErrorKind::TimedOut, "{error:?}");
    for said in ["nothing has come", "PING", "connect again", "keep_alive_timeout"] {
        ensure!(text.contains(said), "{text}");
    }
    Ok(())
}

/// Waits for the end of a Conn whose user only reads.
async fn read_to_death(mut conn: &Conn) -> TestResult {
    let error = loop {
        match conn.read(&mut [0; 1024]).await {
            Ok(0) => anyhow::bail!("an end of file"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    check_silence(&error)
}

/// Waits for the end of a Conn whose user writes `size` bytes each `pause`.
async fn write_to_death(mut conn: &Conn, size: usize, pause: Duration) -> TestResult {
    let bytes = vec![7; size];
    loop {
        if let Err(error) = conn.write_all(&bytes).await {
            return check_silence(&error);
        }
        sleep(pause).await;
    }
}

#[tokio::test(start_paused = true)]
async fn with_the_defaults_a_vanished_peer_is_known_after_45_seconds_at_both_ends() -> TestResult {
    checked(DAY, async {
        for flow in [Flow::Stopped, Flow::Swallowed] {
            let mut ends = Ends::new(1 << 20, Network::new()).await?;
            let (quiet, trickling, full) =
                (ends.open().await?, ends.open().await?, ends.open().await?);
            // Make the last byte one that is no PING, at an odd time.
            sleep(100 * SECOND).await;
            (&quiet.0).write_all(b"x").await?;
            (&quiet.1).read_exact(&mut [0]).await?;
            (&quiet.1).write_all(b"y").await?;
            (&quiet.0).read_exact(&mut [0]).await?;
            let last = Instant::now();
            ends.network.set(flow);
            let each = |client, server| async move {
                tokio::try_join!(
                    async {
                        read_to_death(client).await?;
                        TestResult::Ok(last.elapsed())
                    },
                    async {
                        read_to_death(server).await?;
                        TestResult::Ok(last.elapsed())
                    },
                )
            };
            let writers = async {
                tokio::try_join!(
                    write_to_death(&trickling.0, 10, SECOND),
                    write_to_death(&trickling.1, 10, SECOND),
                    write_to_death(&full.0, 100_000, Duration::ZERO),
                    write_to_death(&full.1, 100_000, Duration::ZERO),
                )
            };
            let (times, _) = tokio::try_join!(each(&quiet.0, &quiet.1), writers)?;
            for time in [times.0, times.1] {
                let seconds = time.as_secs_f64();
                ensure!((44.0..45.1).contains(&seconds), "{flow:?}: after {seconds} s");
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_link_whose_buffers_were_full_before_it_died_is_known_to_be_dead() -> TestResult {
    checked(DAY, async {
        // The transport takes far less than a stream's window.
        let mut ends = Ends::new(4096, Network::new()).await?;
        let (client, server) = ends.open().await?;
        let last = Instant::now();
        ends.network.set(Flow::Stopped);
        let writers = async {
            tokio::try_join!(
                write_to_death(&client, 100_000, Duration::ZERO),
                write_to_death(&server, 100_000, Duration::ZERO),
            )
        };
        writers.await?;
        let seconds = last.elapsed().as_secs_f64();
        ensure!((44.0..45.1).contains(&seconds), "after {seconds} s");
        Ok(())
    })
    .await
}

/// A slow direction. It takes as many bytes as the windows allow, long before it delivers them.
fn slow(bytes_per_second: u32) -> Line {
    Line::new().bytes_per_second(bytes_per_second).depth(64 << 20)
}

#[tokio::test(start_paused = true)]
async fn a_slow_transfer_is_alive_whichever_way_it_goes() -> TestResult {
    checked(DAY, async {
        for rate in [1_000, 5_000, 20_000] {
            for uploads in [true, false] {
                let network = Network::new();
                match uploads {
                    true => network.set_up(slow(rate)),
                    false => network.set_down(slow(rate)),
                }
                let mut ends = Ends::new(64 << 10, network).await?;
                let (client, server) = ends.open().await?;
                let (from, to) = if uploads { (client, server) } else { (server, client) };
                let bytes = vec![7; 4 << 20];
                let write = async { (&from).write_all(&bytes).await };
                let read = async {
                    let mut got = 0;
                    loop {
                        got += (&to).read(&mut [0; 4096]).await?;
                        if got == bytes.len() {
                            return io::Result::Ok(());
                        }
                    }
                };
                let both = async { tokio::try_join!(write, read) };
                let began = Instant::now();
                // It must be alive all the time, and not pass only because it ended early.
                if let Ok(ended) = timeout(600 * SECOND, both).await {
                    ended.with_context(|| format!("{rate} bytes/s, {:?}", began.elapsed()))?;
                    ensure!(began.elapsed() > 100 * SECOND, "{rate}: {:?}", began.elapsed());
                }
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_burst_that_takes_minutes_to_arrive_does_not_end_its_link() -> TestResult {
    checked(DAY, async {
        let network = Network::new();
        network.set_up(slow(1_000));
        let mut ends = Ends::new(1 << 20, network).await?;
        let (client, server) = ends.open().await?;
        // The PING is queued behind 300 seconds of data, and so is the server's own answer.
        (&client).write_all(&[7; 300_000]).await?;
        (&server).read_exact(&mut vec![0; 300_000]).await?;
        (&server).write_all(b"x").await?;
        (&client).read_exact(&mut [0]).await?;
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_takes_bytes_slowly_is_alive_though_its_peer_says_nothing() -> TestResult {
    checked(DAY, async {
        // Without a depth, the transport itself makes the writer wait. Its other end appears
        // silent, because all of its answers are lost.
        let network = Network::new();
        network.set_up(Line::new().bytes_per_second(1_000).depth(1_000));
        let mut ends = Ends::new(4096, network).await?;
        let (client, _server) = ends.open().await?;
        let began = Instant::now();
        ends.network.set_down(Flow::Swallowed);
        write_to_death(&client, 100_000, Duration::ZERO).await?;
        // A window of bytes takes 1,048 seconds, and 45 more pass in silence.
        let seconds = began.elapsed().as_secs();
        ensure!((1040..1110).contains(&seconds), "after {seconds} s");
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_waits_and_keep_alive_do_not_disturb_each_other() -> TestResult {
    checked(DAY, async {
        let mut ends = Ends::new(1 << 20, Network::new()).await?;
        let (client, server) = ends.open().await?;
        let draining = tokio::spawn(ends.listener.drain(3600 * SECOND));
        client.draining().await;
        for _ in 0..20 {
            sleep(95 * SECOND).await;
            (&client).write_all(b"x").await?;
            (&server).read_exact(&mut [0]).await?;
            client.ping().await?;
            server.ping().await?;
        }
        tokio::try_join!(client.close(), server.close())?;
        ensure!(draining.await?, "all ended by themselves");
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_soon_where_only_a_link_without_conns_is_left_that_says_nothing() -> TestResult
{
    checked(DAY, async {
        // The round trip is not known, or so long that four of them are worth a wait.
        for (trip, most) in [(None, 2_000), (Some(500), 3_000), (Some(3_000), 11_000)] {
            let mut ends = Ends::new(1 << 20, Network::new()).await?;
            if let Some(trip) = trip {
                let delay = Duration::from_millis(trip / 2);
                ends.network.set(Line::new().delay(delay));
                let (client, server) = ends.open().await?;
                server.ping().await?;
                tokio::try_join!(client.close(), server.close())?;
            } else {
                let (client, server) = ends.open().await?;
                tokio::try_join!(client.close(), server.close())?;
            }
            sleep(SECOND).await;
            ends.network.set(Flow::Swallowed);
            let began = Instant::now();
            ends.listener.drain(60 * SECOND).await;
            let took = began.elapsed().as_millis();
            ensure!(took <= most, "{took} ms with a round trip of {trip:?} ms");
        }
        Ok(())
    })
    .await
}

/// Both ends over TCP. A relay between them lets the peers vanish, and then come back.
async fn black_hole(over: Over, interval: Duration, limit: Duration) -> TestResult<[Duration; 2]> {
    let builder = Listener::builder().keep_alive_interval(interval).keep_alive_timeout(limit);
    let (mut listener, mut site) = listen_with(over, builder).await?;
    let network = Network::new();
    site.addr = network.relay(site.addr).await?;
    let client = site.client_builder();
    let client = client.keep_alive_interval(interval).keep_alive_timeout(limit).build()?;
    let url = site.url("/");
    let mut pairs = Vec::new();
    for _ in 0..2 {
        let (conn, server) = tokio::join!(client.connect(&url), accept(&mut listener));
        pairs.push((conn?.0, server?));
    }
    let [quiet, full] = &pairs[..] else { unreachable!("two") };
    let pause = Duration::ZERO;
    let blocked = async {
        tokio::try_join!(
            write_to_death(&full.0, 100_000, pause),
            write_to_death(&full.1, 100_000, pause)
        )
    };
    let time = |began: Instant, conn| async move {
        read_to_death(conn).await?;
        let waited = began.elapsed();
        let error = (&mut &*conn).write(b"x").await.err().context("it is dead")?;
        check_silence(&error)?;
        let ping = conn.ping().await.err().context("it is dead")?;
        ensure!(ping.kind() == ErrorKind::Truncated, "{ping}");
        TestResult::Ok(waited)
    };
    let quiet = async {
        // Long enough for PINGs and answers, while the writers' windows are full.
        sleep(interval * 3).await;
        network.set(Flow::Stopped);
        let began = Instant::now();
        tokio::try_join!(time(began, &quiet.0), time(began, &quiet.1))
    };
    let (_, times) = tokio::try_join!(blocked, quiet)?;
    network.set(Flow::Open);
    let (conn, server) = tokio::join!(client.connect(&url), accept(&mut listener));
    let (conn, server) = (conn?.0, server?);
    let echo = tokio::spawn(crate::support::echo(server));
    check_echo(conn, b"again").await?;
    echo.await??;
    Ok(times.into())
}

#[test]
fn a_black_hole_is_known_at_both_ends_and_the_client_goes_on_when_it_is_over() -> TestResult {
    for over in Over::BOTH {
        run(async move {
            let (interval, limit) = (Duration::from_millis(500), Duration::from_millis(700));
            for time in black_hole(over, interval, limit).await? {
                // The last byte may have arrived up to one interval earlier.
                ensure!(time > limit, "{over:?}: {time:?}");
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// This takes a minute of real time, so it runs only in the long form.
#[test]
fn with_the_defaults_a_black_hole_is_known_within_45_seconds() -> TestResult {
    if !long() {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(checked(180, async {
        let (mut listener, mut site) = listen_with(Over::Tls, Listener::builder()).await?;
        let network = Network::new();
        site.addr = network.relay(site.addr).await?;
        let (client, server) = tokio::join!(site.connect(), accept(&mut listener));
        let (client, server) = (client?, server?);
        (&client).write_all(b"x").await?;
        (&server).read_exact(&mut [0]).await?;
        (&server).write_all(b"y").await?;
        (&client).read_exact(&mut [0]).await?;
        let began = Instant::now();
        network.set(Flow::Stopped);
        let time = |conn| async move {
            read_to_death(conn).await?;
            TestResult::Ok(began.elapsed().as_secs_f64())
        };
        let (client, server) = tokio::try_join!(time(&client), time(&server))?;
        eprintln!("a black hole was known after {client:.2} s and {server:.2} s");
        for seconds in [client, server] {
            ensure!((44.0..46.0).contains(&seconds), "after {seconds} s");
        }
        Ok(())
    }))
}
