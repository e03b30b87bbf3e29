//! Relays between a TCP peer or a buffer and a connection in memory.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{DuplexStream, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::*;

/// A TCP peer, and the far end of the connection that it is relayed to.
async fn ends() -> (TcpStream, Conn, JoinHandle<io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (tcp, _) = listener.accept().await.unwrap();
    let (near, far) = h2conn::testing::pair().await.unwrap();
    (peer, far, tokio::spawn(async move { relay(&near, CutOnDrop::new(tcp), None).await }))
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), future).await.expect("it hangs")
}

#[tokio::test]
async fn an_end_goes_through_and_the_answer_comes_back_after_it() {
    let (mut peer, mut far, relay) = ends().await;
    peer.write_all(b"question").await.unwrap();
    peer.shutdown().await.unwrap();
    let mut got = String::new();
    soon(far.read_to_string(&mut got)).await.unwrap();
    assert_eq!(got, "question");
    far.write_all(b"answer").await.unwrap();
    far.shutdown().await.unwrap();
    got.clear();
    soon(peer.read_to_string(&mut got)).await.unwrap();
    assert_eq!(got, "answer");
    soon(relay).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_far_end_can_be_first_to_end() {
    let (mut peer, mut far, relay) = ends().await;
    far.write_all(b"greeting").await.unwrap();
    far.shutdown().await.unwrap();
    let mut got = String::new();
    soon(peer.read_to_string(&mut got)).await.unwrap();
    assert_eq!(got, "greeting");
    peer.write_all(b"thanks").await.unwrap();
    drop(peer);
    got.clear();
    soon(far.read_to_string(&mut got)).await.unwrap();
    assert_eq!(got, "thanks");
    soon(relay).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_reset_of_tcp_is_a_reset_of_the_stream() {
    let (peer, mut far, relay) = ends().await;
    peer.cut();
    drop(peer);
    let error = soon(far.read_to_end(&mut Vec::new())).await.unwrap_err();
    let error = h2conn::Error::from_io(&error).unwrap();
    assert_eq!(error.reason(), Some(Reason::CONNECT_ERROR));
    assert!(soon(relay).await.unwrap().is_err());
}

#[tokio::test]
async fn a_reset_of_the_stream_is_a_reset_of_tcp_after_what_came_before() {
    let (mut peer, mut far, relay) = ends().await;
    far.write_all(b"so far").await.unwrap();
    let mut got = [0; 6];
    soon(peer.read_exact(&mut got)).await.unwrap();
    far.reset(Reason::CANCEL);
    let error = soon(peer.read(&mut got)).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert!(soon(relay).await.unwrap().is_err());
}

#[tokio::test]
async fn what_a_peer_has_said_before_it_leaves_is_delivered_whole() {
    let (mut peer, mut far, relay) = ends().await;
    let bytes = vec![7; 900_000];
    soon(far.write_all(&bytes)).await.unwrap();
    soon(far.shutdown()).await.unwrap();
    far.reset(Reason::NO_ERROR);
    let mut got = Vec::new();
    soon(peer.read_to_end(&mut got)).await.unwrap();
    assert!(got == bytes, "{} bytes", got.len());
    drop(peer);
    soon(relay).await.unwrap().unwrap();
}

/// The system resets a socket that is dropped with unread bytes, and throws away those on their way.
#[tokio::test]
async fn a_slow_tcp_target_that_answers_gets_all_of_a_peer_that_has_left() {
    let (mut peer, mut far, relay) = ends().await;
    let bytes = vec![7; 900_000];
    soon(far.write_all(&bytes)).await.unwrap();
    soon(far.shutdown()).await.unwrap();
    far.reset(Reason::NO_ERROR);
    let mut got = Vec::new();
    let mut piece = [0; 10_000];
    loop {
        match soon(peer.read(&mut piece)).await.unwrap() {
            0 => break,
            n => got.extend_from_slice(&piece[..n]),
        }
        soon(peer.write_all(b"an answer to each piece")).await.unwrap();
        sleep(Duration::from_millis(5)).await;
    }
    assert!(got == bytes, "{} bytes", got.len());
    drop(peer);
    soon(relay).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_target_that_never_stops_is_dropped_though_it_gets_all_of_a_peer_that_has_left() {
    let begun = Instant::now();
    let (target, relay, _far) = left(&[7; 20_000]).await;
    let (mut reader, mut writer) = tokio::io::split(target);
    let mut got = Vec::new();
    soon(reader.read_to_end(&mut got)).await.unwrap();
    assert_eq!(got.len(), 20_000);
    while timeout(LEFT * 20, writer.write_all(b"tick")).await.expect("it hangs").is_ok() {
        sleep(LEFT / 2).await;
    }
    let held = begun.elapsed();
    assert!((LEFT * PAUSES..LEFT * (PAUSES + 1)).contains(&held), "{held:?}");
    soon(relay).await.unwrap().unwrap();
}

/// A duplicate of a socket shares its options.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_system_asks_silent_tcp_peers_whether_they_are_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let tcp = listener.accept().await.unwrap().0.into_std().unwrap();
    let same = tcp.try_clone().unwrap();
    let tcp = TcpStream::from_std(tcp).unwrap();
    let (near, mut far) = h2conn::testing::pair().await.unwrap();
    let relay = tokio::spawn(async move { relay(&near, CutOnDrop::new(tcp), None).await });
    peer.write_all(b"x").await.unwrap();
    soon(far.read_exact(&mut [0])).await.unwrap();
    let socket = SockRef::from(&same);
    assert!(socket.keepalive().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap(), SILENCE);
    assert_eq!(socket.tcp_keepalive_interval().unwrap(), PROBE_INTERVAL);
    assert_eq!(socket.tcp_keepalive_retries().unwrap(), PROBES);
    relay.abort();
}

impl Socket for DuplexStream {
    fn cut(&self) {}

    fn prepare(&self) {}
}

/// A target whose buffers are small, and a relay to it from a peer that has sent all these bytes
/// and is gone. The target has taken nothing yet, so nothing but its buffer is full.
async fn left(bytes: &[u8]) -> (DuplexStream, JoinHandle<io::Result<()>>, Conn) {
    let (target, socket) = tokio::io::duplex(1024);
    let (near, mut far) = h2conn::testing::pair().await.unwrap();
    let relay = tokio::spawn(async move { relay(&near, CutOnDrop::new(socket), None).await });
    far.write_all(bytes).await.unwrap();
    far.shutdown().await.unwrap();
    far.sent().await.unwrap();
    far.reset(Reason::NO_ERROR);
    (target, relay, far)
}

#[tokio::test(start_paused = true)]
async fn a_target_that_answers_while_it_reads_gets_all_of_a_peer_that_has_left() {
    let bytes: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    let (mut target, relay, _far) = left(&bytes).await;
    let mut got = Vec::new();
    let mut piece = [0; 1000];
    loop {
        match soon(target.read(&mut piece)).await.unwrap() {
            0 => break,
            n => {
                got.extend_from_slice(&piece[..n]);
                // More than the buffer holds: the relay must read it, until it has passed on all.
                let _ = soon(target.write_all(&[1; 4096])).await;
            }
        }
    }
    assert!(got == bytes, "{} bytes", got.len());
    // The error says that the answers were lost.
    let error = soon(relay).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_takes_nothing_of_a_peer_that_has_left_is_cut_after_a_while() {
    let begun = Instant::now();
    let (target, relay, _far) = left(&[7; 300_000]).await;
    let error = timeout(LEFT * 3, relay).await.expect("it hangs").unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    assert!((LEFT..LEFT * 2).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    drop(target);
}

#[tokio::test(start_paused = true)]
async fn a_slow_target_gets_all_of_a_peer_that_has_left() {
    let (mut target, relay, _far) = left(&[7; 20_000]).await;
    let mut got = 0;
    loop {
        sleep(LEFT * 2 / 3).await;
        match target.read(&mut [0; 1024]).await.unwrap() {
            0 => break,
            n => got += n,
        }
    }
    assert_eq!(got, 20_000);
    soon(relay).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_target_that_has_ended_and_takes_nothing_is_cut_after_the_idle_timeout() {
    let (mut target, socket) = tokio::io::duplex(1024);
    let (near, mut far) = h2conn::testing::pair().await.unwrap();
    let limit = LEFT / 10;
    let socket = CutOnDrop::new(socket);
    let relay = tokio::spawn(async move { relay(&near, socket, Some(limit)).await });
    far.write_all(&[7; 300_000]).await.unwrap();
    far.shutdown().await.unwrap();
    target.shutdown().await.unwrap();
    assert_eq!(soon(far.read(&mut [0])).await.unwrap(), 0);
    let error = timeout(LEFT / 2, relay).await.expect("it hangs").unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    assert!(error.to_string().starts_with("both sides have ended"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_reader_may_pause_though_both_sides_have_ended() {
    let (mut target, socket) = tokio::io::duplex(1024);
    let (near, mut far) = h2conn::testing::pair().await.unwrap();
    let relay = tokio::spawn(async move { relay(&near, CutOnDrop::new(socket), None).await });
    target.write_all(b"query").await.unwrap();
    target.shutdown().await.unwrap();
    let mut query = String::new();
    soon(far.read_to_string(&mut query)).await.unwrap();
    let bytes = vec![7; 300_000];
    far.write_all(&bytes).await.unwrap();
    far.shutdown().await.unwrap();
    far.sent().await.unwrap();
    sleep(LEFT * 2).await;
    let mut got = Vec::new();
    soon(target.read_to_end(&mut got)).await.unwrap();
    assert!(got == bytes, "{} bytes", got.len());
    soon(relay).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_relay_that_is_dropped_resets_both() {
    let (mut peer, mut far, relay) = ends().await;
    peer.write_all(b"x").await.unwrap();
    soon(far.read_exact(&mut [0])).await.unwrap();
    relay.abort();
    assert!(soon(far.read(&mut [0])).await.is_err());
    let error = soon(peer.read(&mut [0])).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[cfg(unix)]
#[tokio::test]
async fn a_socket_that_takes_no_more_is_heard_to_its_end() {
    let (mut peer, socket) = tokio::net::UnixStream::pair().unwrap();
    let (near, mut far) = h2conn::testing::pair().await.unwrap();
    let relay = tokio::spawn(async move { relay(&near, CutOnDrop::new(socket), None).await });
    let peer_socket = peer.into_std().unwrap();
    peer_socket.shutdown(std::net::Shutdown::Read).unwrap();
    peer = tokio::net::UnixStream::from_std(peer_socket).unwrap();
    // More than all windows hold: the relay must read it.
    soon(far.write_all(&vec![0; 4 << 20])).await.unwrap();
    soon(far.shutdown()).await.unwrap();
    peer.write_all(b"that was enough").await.unwrap();
    drop(peer);
    let mut got = String::new();
    soon(far.read_to_string(&mut got)).await.unwrap();
    assert_eq!(got, "that was enough");
    soon(relay).await.unwrap().unwrap();
}

/// A socket whose next write fails. Its reads see an end after that.
struct Failing {
    error: io::ErrorKind,
    has_failed: bool,
    reader: Option<std::task::Waker>,
}

impl Socket for Failing {
    fn cut(&self) {}

    fn prepare(&self) {}
}

impl AsyncRead for Failing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.has_failed {
            true => Poll::Ready(Ok(())),
            false => {
                self.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Failing {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.has_failed = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Err(self.error.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_socket_that_fails_in_a_write_makes_no_end_of_it() {
    for error in [io::ErrorKind::ConnectionReset, io::ErrorKind::TimedOut] {
        let (near, mut far) = h2conn::testing::pair().await.unwrap();
        let socket = Failing { error, has_failed: false, reader: None };
        let relay = tokio::spawn(async move { relay(&near, CutOnDrop::new(socket), None).await });
        far.write_all(b"x").await.unwrap();
        let end = soon(far.read(&mut [0])).await.unwrap_err();
        let end = h2conn::Error::from_io(&end).unwrap();
        assert_eq!(end.reason(), Some(Reason::CONNECT_ERROR), "{error}");
        assert_eq!(soon(relay).await.unwrap().unwrap_err().kind(), error);
    }
}

#[tokio::test]
async fn bulk_flows_both_ways_at_once() {
    let (peer, far, relay) = ends().await;
    let bytes: Vec<u8> = (0..4_000_000u32).map(|n| (n % 251) as u8).collect();
    let (mut peer_read, mut peer_write) = peer.into_split();
    let (mut far_read, mut far_write) = far.into_split();
    let (mut at_peer, mut at_far) = (Vec::new(), Vec::new());
    let all = async {
        tokio::try_join!(
            async {
                peer_write.write_all(&bytes).await?;
                peer_write.shutdown().await
            },
            async {
                far_write.write_all(&bytes).await?;
                far_write.shutdown().await
            },
            peer_read.read_to_end(&mut at_peer),
            far_read.read_to_end(&mut at_far),
        )
    };
    soon(all).await.unwrap();
    assert!(at_peer == bytes && at_far == bytes);
    soon(relay).await.unwrap().unwrap();
}
