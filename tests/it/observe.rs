//! The events and metrics that the library gives to `tracing` and `metrics`. Each test has one
//! thread, whose subscriber and recorder are independent of other tests.

mod accepted;
mod described;
mod log;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use h2conn::http::StatusCode;
use h2conn::testing::none_alive;
use h2conn::{Acceptor, Client, Conn, ErrorKind, Listener, Reason};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional, duplex};
use tokio::net::{TcpListener, TcpStream};
use tracing::Level;

use crate::support::raw::{GOAWAY, PING, Raw, frame, read_frame};
use crate::support::{Over, Site, TestResult, accept, checked, listen, noise};
use log::Log;

/// Serves a Conn in the way that its path names.
async fn serve_one(incoming: h2conn::Incoming) -> TestResult {
    match incoming.uri().path() {
        "/reject" => incoming.reject(StatusCode::FORBIDDEN),
        "/refuse" => drop(incoming),
        "/reset" => incoming.accept()?.reset(Reason::INTERNAL_ERROR),
        _ => echo(incoming.accept()?).await?,
    }
    Ok(())
}

async fn echo(conn: Conn) -> TestResult {
    while let Some(chunk) = conn.read_chunk().await? {
        conn.write_chunk(chunk).await?;
    }
    conn.close().await?;
    Ok(())
}

/// A listener that is drained when the client has finished.
async fn with_server(over: Over, client: impl AsyncFnOnce(&Site) -> TestResult) -> TestResult {
    let (mut listener, site) = listen(over).await?;
    let serving = async {
        while let Some(incoming) = listener.accept().await {
            tokio::spawn(serve_one(incoming));
        }
    };
    tokio::select! {
        () = serving => anyhow::bail!("the listener has ended"),
        result = client(&site) => result?,
    }
    ensure!(listener.drain(Duration::from_secs(5)).await);
    Ok(())
}

async fn round_trip(mut conn: &Conn, said: &[u8]) -> TestResult {
    conn.write_all(said).await?;
    let mut heard = vec![0; said.len()];
    conn.read_exact(&mut heard).await?;
    ensure!(heard == said);
    Ok(())
}

#[tokio::test]
async fn normal_traffic_is_told_at_debug_in_the_span_of_its_link() -> TestResult {
    const SETTINGS: &str = "settings of the peer";
    let log = Log::listen();
    checked(30, async {
        with_server(Over::Tls, async |site| {
            let client = site.client()?;
            let (conn, _) = client.connect(site.url("/path?secret")).await?;
            round_trip(&conn, b"hello").await?;
            conn.close().await?;
            client.close().await?;
            Ok(())
        })
        .await
    })
    .await?;

    let said = log.said();
    let loud: Vec<_> = said.iter().filter(|said| said.level <= Level::INFO).collect();
    let messages: Vec<_> = loud.iter().map(|said| said.message.as_str()).collect();
    assert_eq!(messages, ["draining", "drained"], "{loud:#?}");
    assert!(!format!("{said:?}").contains("secret"), "a query can be a secret: {said:#?}");
    for side in ["client", "server"] {
        let of_side: Vec<_> = said.iter().filter(|said| said.of_link("side") == side).collect();
        let told = of_side.iter().filter(|said| said.level <= Level::DEBUG);
        // The SETTINGS may come at any time.
        let (settings, messages): (Vec<_>, Vec<_>) =
            told.map(|said| said.message.as_str()).partition(|what| *what == SETTINGS);
        assert_eq!(settings, [SETTINGS], "{side}");
        assert_eq!(messages, ["link opened", "conn opened", "conn ended", "link closed"], "{side}");
        for said in of_side {
            assert_eq!((said.of_link("transport"), said.of_link("tls")), ("tcp", "true"));
            for address in ["local", "peer"] {
                assert!(said.of_link(address).starts_with("127.0.0.1:"), "{said:?}");
            }
        }
    }
    assert_eq!(log.fields("conn opened", "path"), ["/path", "/path"]);
    assert_eq!(log.fields("conn ended", "result"), ["ok", "ok"]);
    assert_eq!(log.fields("link closed", "reason"), ["goaway", "shut_down"]);
    assert_eq!(log.fields("link closed", "detail")[0], "", "it went as planned");
    Ok(())
}

/// A transport in memory, and the task that carries its bytes. Aborting the task cuts both ends at
/// once.
fn carried() -> (tokio::io::DuplexStream, tokio::io::DuplexStream, tokio::task::JoinHandle<()>) {
    let ((near, mut a), (mut b, far)) = (duplex(1 << 16), duplex(1 << 16));
    let carrying = tokio::spawn(async move {
        let _ = copy_bidirectional(&mut a, &mut b).await;
    });
    (near, far, carrying)
}

#[tokio::test]
async fn a_lost_link_says_how_many_conns_it_cut() -> TestResult {
    // This includes a Conn of which only the server's direction is left.
    for (half_closed, results) in
        [(false, ["truncated", "truncated"]), (true, ["closed", "truncated"])]
    {
        let log = Log::listen();
        checked(30, async {
            let (near, far, carrying) = carried();
            let mut listener = Listener::builder().build_over(far)?;
            let client = Client::builder().build_over(near).await?;
            let (conn, incoming) = tokio::join!(client.open("http://x/"), listener.accept());
            let (mut conn, server) = (conn?, incoming.context("a client")?.accept()?);
            conn.response().await?;
            if half_closed {
                conn.shutdown().await?;
                ensure!((&server).read(&mut [0]).await? == 0);
            }
            carrying.abort();
            let (near, far) = tokio::join!(conn.closed(), server.closed());
            ensure!(near.is_err() && far.is_err());
            Ok(())
        })
        .await?;
        assert_eq!(log.fields("link closed", "reason"), ["lost", "lost"]);
        assert_eq!(log.fields("link closed", "cut"), ["1", "1"]);
        assert_eq!(log.fields("conn ended", "result"), results);
    }
    Ok(())
}

#[tokio::test]
async fn a_link_that_ends_in_order_was_not_lost_though_a_conn_of_it_was_cut() -> TestResult {
    let log = Log::listen();
    checked(30, async {
        let (mut listener, site) = listen(Over::Cleartext).await?;
        let builder = site.client_builder().idle_timeout(Duration::from_millis(50));
        let client = builder.build()?;
        let (conn, server) = tokio::join!(client.connect(site.url("/")), accept(&mut listener));
        let (near, far) = (conn?.0, server?);
        ensure!(near.closed().await.is_err() && far.closed().await.is_err());
        client.close().await?;
        ensure!(listener.drain(Duration::from_secs(5)).await);
        Ok(())
    })
    .await?;
    assert_eq!(log.fields("link closed", "reason"), ["goaway", "shut_down"]);
    assert_eq!(log.fields("link closed", "cut"), ["0", "0"]);
    Ok(())
}

#[tokio::test]
async fn what_fails_is_told_without_the_query_too() -> TestResult {
    let log = Log::listen();
    checked(30, async {
        with_server(Over::Cleartext, async |site| {
            let client = site.client()?;
            for path in ["/reject?secret", "/refuse?secret"] {
                let error = client.connect(site.url(path)).await.err().context("it fails")?;
                ensure!(!error.to_string().contains("secret"), "{error}");
            }
            let nobody = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
            ensure!(client.connect(format!("http://{nobody}/?secret")).await.is_err());
            client.close().await?;
            Ok(())
        })
        .await
    })
    .await?;
    let said = log.said();
    for message in ["conn ended", "retrying", "handshake failed"] {
        assert!(said.iter().any(|said| said.message == message), "{message}: {said:#?}");
    }
    assert!(!format!("{said:?}").contains("secret"), "{said:#?}");
    Ok(())
}

#[tokio::test]
async fn a_client_that_complains_of_pings_is_no_concern_of_the_listeners() -> TestResult {
    let log = Log::listen();
    checked(30, async {
        let (_listener, site) = listen(Over::Cleartext).await?;
        let mut peer = Raw::client(TcpStream::connect(site.addr).await?).await?;
        peer.send(GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\x0btoo_many_pings").await?;
        peer.io.shutdown().await?;
        while read_frame(&mut peer.io).await?.is_some() {}
        Ok(())
    })
    .await?;
    assert_eq!(log.fields("link closed", "reason"), ["goaway_error"]);
    assert!(log.said().iter().all(|said| said.level > Level::WARN), "{:#?}", log.said());
    Ok(())
}

/// Of all floods in a process only one is warned of in 10 seconds, and other tests flood too. So this
/// one runs in a process of its own.
#[test]
fn a_peer_that_floods_is_warned_of() -> TestResult {
    const ALONE: &str = "H2CONN_ALONE";
    if std::env::var_os(ALONE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(flood_and_be_warned_of());
    }
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.args(["--exact", "observe::a_peer_that_floods_is_warned_of"]).env(ALONE, "1");
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success() && said.contains("1 passed"), "{said}");
    Ok(())
}

async fn flood_and_be_warned_of() -> TestResult {
    let log = Log::listen();
    checked(30, async {
        let (_listener, site) = listen(Over::Cleartext).await?;
        let mut peer = Raw::client(TcpStream::connect(site.addr).await?).await?;
        let mut pings = Vec::new();
        for _ in 0..50_000 {
            pings.extend(frame(PING, 0, 0, &[0; 8]));
        }
        let _ = peer.io.write_all(&pings).await;
        while let Ok(Some(_)) = peer.next().await {}
        Ok(())
    })
    .await?;
    let said = log.said();
    let warned: Vec<_> = said.iter().filter(|said| said.level == Level::WARN).collect();
    assert_eq!(warned.len(), 1, "{said:#?}");
    assert_eq!((warned[0].message.as_str(), warned[0].field("reason")), ("link closed", "abuse"));
    assert!(warned[0].field("detail").contains("PING"), "{warned:?}");
    assert!(warned[0].of_link("peer").starts_with("127.0.0.1:"), "{warned:?}");
    Ok(())
}

#[tokio::test]
async fn links_and_conns_whose_time_is_up_say_which_time() -> TestResult {
    const SHORT: Duration = Duration::from_millis(50);
    for (knob, ends) in [("idle", ["goaway", "idle"]), ("old", ["goaway", "old"])] {
        let log = Log::listen();
        checked(30, async {
            let builder = match knob {
                "idle" => Listener::builder().link_idle_timeout(SHORT),
                _ => Listener::builder().max_link_age(SHORT),
            };
            let mut listener = builder.bind("127.0.0.1:0").await?;
            let site = Site::cleartext(listener.local_addr().socket_addr().context("an address")?);
            let client = site.client()?;
            let (conn, server) = tokio::join!(client.connect(site.url("/")), accept(&mut listener));
            let (conn, server) = (conn?.0, server?);
            if knob == "old" {
                conn.draining().await;
            }
            let (near, far) = tokio::join!(conn.close(), server.close());
            ensure!(near.is_ok() && far.is_ok());
            drop((conn, server));
            none_alive().await;
            Ok(())
        })
        .await?;
        assert_eq!(log.fields("link closed", "reason"), ends);
    }

    let log = Log::listen();
    checked(30, async {
        let (near, far) = duplex(1 << 16);
        let mut listener = Listener::builder().build_over(far)?;
        let client = Client::builder().idle_timeout(SHORT).build_over(near).await?;
        let (conn, server) = tokio::join!(client.connect("http://x/"), accept(&mut listener));
        let (near, far) = (conn?.0, server?);
        ensure!(near.closed().await.is_err() && far.closed().await.is_err());
        Ok(())
    })
    .await?;
    assert_eq!(log.fields("conn timed out", "limit"), ["idle_timeout"]);
    Ok(())
}

#[tokio::test]
async fn an_acceptor_tells_of_its_drain() -> TestResult {
    let log = Log::listen();
    ensure!(Acceptor::default().drain(Duration::ZERO).await);
    assert_eq!(log.fields("draining", "side"), ["accept"]);
    assert_eq!(log.fields("drained", "in_time"), ["true"]);
    Ok(())
}

#[tokio::test]
async fn a_handshake_that_fails_is_told_of_on_both_sides() -> TestResult {
    let log = Log::listen();
    checked(30, async {
        let (_listener, site) = listen(Over::Cleartext).await?;
        let mut stream = TcpStream::connect(site.addr).await?;
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await?;
        stream.read_to_end(&mut Vec::new()).await?;
        let nobody = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
        let error = Client::new()?.connect(format!("http://{nobody}/")).await.err();
        ensure!(error.is_some_and(|error| error.kind() == ErrorKind::Connect));
        Ok(())
    })
    .await?;
    assert_eq!(log.fields("handshake failed", "why"), ["connect", "unsupported"]);
    assert_eq!(log.fields("handshake failed", "side"), ["client", "server"]);
    Ok(())
}

/// All counters and gauges by name and labels, and for histograms the number of samples.
fn counts(snapshot: metrics_util::debugging::Snapshot) -> BTreeMap<String, i64> {
    let count = |value| match value {
        DebugValue::Counter(count) => count as i64,
        DebugValue::Gauge(gauge) => gauge.into_inner() as i64,
        DebugValue::Histogram(values) => values.len() as i64,
    };
    let all = snapshot.into_vec().into_iter().map(|(key, _, _, value)| {
        let key = key.key();
        let labels: Vec<_> = key.labels().map(|l| format!("{}={}", l.key(), l.value())).collect();
        (format!("{} {}", key.name(), labels.join(" ")), count(value))
    });
    all.collect()
}

#[tokio::test]
async fn metrics_count_what_happened_and_gauges_end_at_zero() -> TestResult {
    let recorder = DebuggingRecorder::new();
    let _recording = metrics::set_default_local_recorder(&recorder);
    checked(30, async {
        with_server(Over::Cleartext, async |site| {
            let client = site.client()?;
            let (conn, _) = client.connect(site.url("/")).await?;
            round_trip(&conn, &noise(100_000, 1)).await?;
            conn.ping().await?;
            conn.close().await?;
            ensure!(client.connect(site.url("/reject")).await.is_err());
            ensure!(client.open(site.url("/reset")).await?.closed().await.is_err());
            // The request is refused four times, each time on a new link.
            ensure!(client.connect(site.url("/refuse")).await.is_err());
            client.close().await?;
            Ok(())
        })
        .await
    })
    .await?;

    let mut counts = counts(recorder.snapshotter().snapshot());
    let mut take = |name: &str| counts.remove(name).unwrap_or(0);
    for side in ["client", "server"] {
        assert_eq!(take(&format!("h2conn_links_open side={side}")), 0);
        assert_eq!(take(&format!("h2conn_conns_open side={side} form=request")), 0);
        assert_eq!(take(&format!("h2conn_links_opened_total side={side}")), 4);
        for (result, count) in [("ok", 1), ("rejected", 1), ("refused", 4)] {
            let name = format!("h2conn_conns_total side={side} form=request result={result}");
            assert_eq!(take(&name), count, "{name}");
        }
    }
    assert_eq!(take("h2conn_conns_total side=client form=request result=reset"), 1);
    assert_eq!(take("h2conn_conns_total side=server form=request result=aborted"), 1);
    assert_eq!(take("h2conn_links_closed_total side=client reason=shut_down"), 4);
    assert_eq!(take("h2conn_links_closed_total side=server reason=goaway"), 4);
    assert_eq!(take("h2conn_retries_total "), 3);
    assert_eq!(take("h2conn_drains_total side=server"), 1);
    assert_eq!(take("h2conn_dials_total "), 4);
    assert!(take("h2conn_rtt_seconds side=client") >= 1);
    for (from, to) in [("client", "server"), ("server", "client")] {
        let sent = take(&format!("h2conn_bytes_sent_total side={from}"));
        let received = take(&format!("h2conn_bytes_received_total side={to}"));
        // A GOAWAY on each link can arrive after this end has ended.
        let missing = sent - received;
        assert!((0..=4 * 17).contains(&missing), "the {from} sent {sent}, {received} came");
        assert!(sent > 100_000, "{from}: {sent}");
    }
    assert_eq!(counts, BTreeMap::new(), "nothing else was counted");
    Ok(())
}
