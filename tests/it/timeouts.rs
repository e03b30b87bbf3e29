//! Conns that are reset because no bytes move on them.

use std::io;
use std::time::Duration;

use anyhow::{Context, ensure};
use h2conn::testing::{Line, Network};
use h2conn::{Client, ClientBuilder, Conn, Error, Listener, ListenerBuilder, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::{Instant, sleep};

use crate::support::{TestResult, accept, checked, ours};

const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(10);
const WINDOW: usize = 64 << 10;

/// The client, and `count` Conns of it with their other ends.
async fn conns(
    client: ClientBuilder,
    listener: ListenerBuilder,
    count: usize,
) -> TestResult<(Client, Vec<(Conn, Conn)>)> {
    let (client_io, server_io) = duplex(1 << 20);
    let mut listener = listener.initial_window_size(WINDOW as u32).build_over(server_io)?;
    let client = client.initial_window_size(WINDOW as u32).build_over(client_io).await?;
    let mut pairs = Vec::new();
    for _ in 0..count {
        let (conn, server) = tokio::join!(client.connect("http://memory/"), accept(&mut listener));
        pairs.push((conn?.0, server?));
    }
    // The links go on without the listener, and accept no more Conns.
    Ok((client, pairs))
}

/// Checks the end of a Conn: here it is the timeout with this name, and at the other end a reset.
async fn check_end(mut here: &Conn, mut there: &Conn, knob: &str) -> TestResult {
    let error = read_out(here).await?;
    ensure!(error.kind() == io::ErrorKind::TimedOut, "{error:?}");
    ensure!(ours(&error).to_string().contains(knob), "{error}");
    let error = here.write(b"x").await.err().context("written to a Conn that was reset")?;
    ensure!(error.kind() == io::ErrorKind::TimedOut, "{error:?}");
    let error = read_out(there).await?;
    ensure!(error.kind() == io::ErrorKind::ConnectionReset, "{error:?}");
    let error = there.write(b"x").await.err().context("written to a Conn that was reset")?;
    ensure!(Error::from_io(&error).and_then(Error::reason) == Some(Reason::CANCEL), "{error:?}");
    Ok(())
}

async fn read_out(mut conn: &Conn) -> TestResult<io::Error> {
    loop {
        match conn.read(&mut [0; 4096]).await {
            Ok(0) => anyhow::bail!("an end of file"),
            Ok(_) => {}
            Err(error) => return Ok(error),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_conn_on_which_no_byte_comes_or_goes_is_reset_and_its_sibling_stays() -> TestResult {
    checked(3600, async {
        for of_client in [true, false] {
            let (client, listener) = match of_client {
                true => (Client::builder().idle_timeout(LIMIT), Listener::builder()),
                false => (Client::builder(), Listener::builder().idle_timeout(LIMIT)),
            };
            let (_client, pairs) = conns(client, listener, 2).await?;
            let [idle, busy] = &pairs[..] else { unreachable!("two") };
            let (here, there) = if of_client { (&idle.0, &idle.1) } else { (&idle.1, &idle.0) };
            let rest = async {
                for (mut from, mut to) in [(here, there), (there, here), (here, there)] {
                    sleep(9 * SECOND).await;
                    from.write_all(b"x").await?;
                    to.read_exact(&mut [0]).await?;
                }
                let last = Instant::now();
                check_end(here, there, "idle_timeout").await?;
                TestResult::Ok(last.elapsed())
            };
            let go_on = async {
                for _ in 0..12 {
                    sleep(5 * SECOND).await;
                    (&busy.0).write_all(b"x").await?;
                    (&busy.1).read_exact(&mut [0]).await?;
                }
                TestResult::Ok(())
            };
            let (time, ()) = tokio::try_join!(rest, go_on)?;
            ensure!(time >= LIMIT && time < LIMIT + SECOND, "{time:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_client_keeps_the_complete_answer_of_a_conn_that_is_idle() -> TestResult {
    checked(3600, async {
        let (_client, pairs) =
            conns(Client::builder(), Listener::builder().idle_timeout(LIMIT), 1).await?;
        let [(mut client, mut server)] = <[_; 1]>::try_from(pairs).expect("one");
        server.write_all(b"the answer").await?;
        server.shutdown().await?;
        let error = read_out(&server).await?;
        ensure!(error.kind() == io::ErrorKind::TimedOut, "{error:?}");
        let mut said = Vec::new();
        client.read_to_end(&mut said).await?;
        ensure!(said == b"the answer");
        let error = client.write(b"x").await.err().context("written to a Conn that was reset")?;
        ensure!(error.kind() == io::ErrorKind::BrokenPipe, "{error:?}");
        ensure!(ours(&error).reason() == Some(Reason::NO_ERROR), "{error:?}");
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_conn_whose_peer_takes_nothing_is_reset_and_one_with_nothing_to_send_stays() -> TestResult
{
    checked(7200, async {
        for of_client in [true, false] {
            let (client, listener) = match of_client {
                true => (Client::builder().stall_timeout(LIMIT), Listener::builder()),
                false => (Client::builder(), Listener::builder().stall_timeout(LIMIT)),
            };
            let (_client, pairs) = conns(client, listener, 2).await?;
            let [stalled, quiet] = &pairs[..] else { unreachable!("two") };
            sleep(1800 * SECOND).await;
            let (here, there) =
                if of_client { (&stalled.0, &stalled.1) } else { (&stalled.1, &stalled.0) };
            let bytes = vec![7; 32 * WINDOW];
            let writing = async { (&mut &*here).write_all(&bytes).await };
            let reading = async {
                for _ in 0..4 {
                    sleep(9 * SECOND).await;
                    // Bytes in the other direction do not count.
                    (&mut &*there).write_all(b"x").await?;
                    (&mut &*there).read_exact(&mut vec![0; WINDOW]).await?;
                }
                let last = Instant::now();
                while here.stats().send_queued > 0 && last.elapsed() < 2 * LIMIT {
                    sleep(SECOND / 10).await;
                }
                io::Result::Ok(last.elapsed())
            };
            let (written, time) = tokio::join!(writing, reading);
            let (written, time) = (written.err().context("more than is read")?, time?);
            ensure!(written.kind() == io::ErrorKind::TimedOut, "{written:?}");
            ensure!(time >= LIMIT && time < LIMIT + SECOND, "{time:?}");
            check_end(here, there, "stall_timeout").await?;

            (&quiet.0).write_all(b"x").await?;
            (&quiet.1).read_exact(&mut [0]).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_conn_that_waits_for_a_slow_transport_stays_as_long_as_that_takes_something() -> TestResult
{
    checked(3600, async {
        // The last frame is a whole one.
        const BULK: usize = 5 * (64 << 10);
        let (client_io, near) = duplex(1 << 10);
        let (far, server_io) = duplex(1 << 10);
        // A frame of 64 KiB takes longer than the limit.
        let network = Network::new();
        network.set(Line::new().bytes_per_second(4 << 10).depth(1 << 10));
        network.join(near, far);
        let mut listener = Listener::builder().build_over(server_io)?;
        let client = Client::builder().stall_timeout(LIMIT).build_over(client_io).await?;
        let mut pairs = Vec::new();
        for _ in 0..2 {
            let connect = client.connect("http://memory/");
            let (conn, server) = tokio::join!(connect, accept(&mut listener));
            pairs.push((conn?.0, server?));
        }
        let [bulk, small] = &pairs[..] else { unreachable!("two") };
        let reading = async { (&bulk.1).read_exact(&mut vec![0; BULK]).await };
        let writing = async {
            (&bulk.0).write_all(&vec![7; BULK]).await?;
            (&bulk.0).shutdown().await
        };
        let writing_little = async {
            for _ in 0..3 {
                sleep(SECOND).await;
                (&small.0).write_all(b"behind it").await?;
                (&small.1).read_exact(&mut [0; 9]).await?;
            }
            io::Result::Ok(())
        };
        let began = Instant::now();
        tokio::try_join!(writing, reading, writing_little)?;
        ensure!(began.elapsed() > 6 * LIMIT, "{:?}", began.elapsed());
        Ok(())
    })
    .await
}

#[test]
fn times_that_cannot_be_kept_are_refused_by_their_names() {
    let day = Duration::from_secs(24 * 60 * 60);
    for wrong in [Duration::ZERO, day + Duration::from_nanos(1)] {
        let builder = Client::builder;
        for (knob, client) in [
            ("keep_alive_interval", builder().keep_alive_interval(wrong)),
            ("keep_alive_timeout", builder().keep_alive_timeout(wrong)),
            ("idle_timeout", builder().idle_timeout(wrong)),
            ("stall_timeout", builder().stall_timeout(wrong)),
        ] {
            let error = client.build().expect_err(knob);
            assert_eq!(error.kind(), h2conn::ErrorKind::InvalidInput, "{error}");
            assert!(error.to_string().contains(knob), "{error}");
        }
    }
}

#[test]
fn a_deadline_is_an_instant_of_std_or_of_tokio() -> TestResult {
    crate::support::run(async {
        let (mut client, mut server) = h2conn::testing::pair().await?;
        client.set_deadline(std::time::Instant::now());
        let error = client.read_u8().await.err().context("it has passed")?;
        ensure!(ours(&error).is_timeout(), "{error:?}");
        ensure!(client.write_all(b"x").await.is_err(), "both have passed");
        // It ends a read that waits already.
        client.set_deadline(None);
        let (mut reader, mut writer) = client.into_split();
        reader.set_read_deadline(std::time::Instant::now() + Duration::from_millis(20));
        writer.set_write_deadline(Instant::now() + 3600 * SECOND);
        let error = reader.read_u8().await.err().context("it passes")?;
        ensure!(ours(&error).is_timeout(), "{error:?}");
        writer.write_all(b"x").await?;
        ensure!(server.read_u8().await? == b'x');
        // As all callers did before.
        reader.set_read_deadline(Some(Instant::now() + 3600 * SECOND));
        writer.set_write_deadline(None);
        server.write_all(b"y").await?;
        ensure!(reader.read_u8().await? == b'y');
        Ok(())
    })
}
