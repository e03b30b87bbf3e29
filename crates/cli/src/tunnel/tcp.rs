//! TCP connections to a target, at either end of the tunnel.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::names;
use super::target::Target;
use crate::places::{Line, Place};

/// How long an address is tried alone before the next one is tried too (RFC 8305 §5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Less than the 15 seconds that a visitor of `forward -R` waits at the server.
const LIMIT: Duration = Duration::from_secs(10);

/// Looks up a target and connects to it, for the peer that has this place.
///
/// # Errors
///
/// The system's error, and `TimedOut` if there is no answer within [`LIMIT`].
///
/// # Cancel safety
///
/// Dropping the future ends all attempts. A look-up that has begun goes on, and counts until its end.
pub(crate) async fn dial(target: &Target, held: &Place<Line>) -> io::Result<TcpStream> {
    let dialling = async { connect(names::look_up(target, held).await?).await };
    timeout(LIMIT, dialling).await.unwrap_or_else(|_| {
        let text = format!("no answer within {} s", LIMIT.as_secs());
        Err(io::Error::new(io::ErrorKind::TimedOut, text))
    })
}

/// Connects to the first of these addresses that answers. An address that silently drops packets
/// does not delay the next one.
///
/// # Errors
///
/// If no address answers: the error of an address that refused, or else the last error.
///
/// # Cancel safety
///
/// Dropping the future ends all attempts.
async fn connect(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    connect_within(addresses, None).await
}

/// Like [`connect`], but each attempt beside the first takes another place such as `held`. A name can
/// have many addresses that do not answer, and each attempt costs a descriptor.
pub(super) async fn connect_within(
    addresses: Vec<SocketAddr>,
    held: Option<&Place<Line>>,
) -> io::Result<TcpStream> {
    let mut addresses = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "it has no address");
    loop {
        let place = match held {
            Some(held) if !attempts.is_empty() => held.another().map(Some),
            _ => Ok(None),
        };
        if let Ok(place) = place
            && let Some(address) = addresses.next()
        {
            attempts.spawn(async move {
                let _place = place;
                TcpStream::connect(address).await
            });
        }
        if attempts.is_empty() {
            return Err(last);
        }
        let waiting = addresses.len() > 0;
        tokio::select! {
            Some(attempt) = attempts.join_next() => match attempt {
                Ok(Ok(tcp)) => return Ok(tcp),
                // Keep a refusal: it says more than other errors, for example that this machine has
                // no IPv6.
                Ok(Err(_)) if last.kind() == io::ErrorKind::ConnectionRefused => {}
                Ok(Err(error)) => last = error,
                Err(error) => last = error.into(),
            },
            () = sleep(ATTEMPT_DELAY), if waiting => {}
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use tokio::net::TcpListener;

    use super::*;
    use crate::places::{Peer, Places};
    use crate::tunnel::target::Host;

    /// A listener that never answers, because its queue is full. Linux drops packets to it. Other
    /// systems refuse them.
    #[cfg(target_os = "linux")]
    pub(in crate::tunnel) struct Silent {
        pub(in crate::tunnel) addr: SocketAddr,
        _listener: TcpListener,
        _first: TcpStream,
    }

    #[cfg(target_os = "linux")]
    impl Silent {
        pub(in crate::tunnel) async fn new() -> Silent {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let listener = socket.listen(0).unwrap();
            let addr = listener.local_addr().unwrap();
            // The queue has room for one.
            let first = TcpStream::connect(addr).await.unwrap();
            Silent { addr, _listener: listener, _first: first }
        }
    }

    async fn closed() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }

    #[tokio::test]
    async fn the_first_address_that_answers_is_taken_and_the_last_error_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let tcp = connect(vec![closed().await, closed().await, open]).await.unwrap();
        assert_eq!(tcp.peer_addr().unwrap(), open);
        let refused = connect(vec![closed().await, closed().await]).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        connect(Vec::new()).await.unwrap_err();
    }

    /// On Linux, TCP has no route to a multicast address, whatever the routing table is.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_refusal_is_told_before_an_address_that_cannot_be_reached() {
        let (nowhere, closed) = ("224.0.0.1:1".parse().unwrap(), closed().await);
        for addresses in [vec![nowhere, closed], vec![closed, nowhere]] {
            let refused = connect(addresses).await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        }
        let unreachable = connect(vec![nowhere]).await.unwrap_err();
        assert_eq!(unreachable.kind(), io::ErrorKind::NetworkUnreachable);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test(start_paused = true)]
    async fn without_room_an_address_is_tried_once_the_one_before_has_failed() {
        let silent = Silent::new().await;
        let nobody = silent.addr;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let places = Places::new(2, "tunnels", "--max-tunnels");
        let (held, other) = (places.take(Peer::LOCAL).unwrap(), places.take(Peer::LOCAL).unwrap());
        let connecting = connect_within(vec![nobody, open], Some(&held));
        tokio::time::timeout(Duration::from_secs(60), connecting).await.unwrap_err();
        connect_within(vec![closed().await, open], Some(&held)).await.unwrap();
        drop(other);
        connect_within(vec![nobody, open], Some(&held)).await.unwrap();
        // The attempts have given back their place.
        held.another().unwrap();
    }

    #[cfg(target_os = "linux")]
    #[tokio::test(start_paused = true)]
    async fn a_target_that_does_not_answer_is_given_up() {
        let silent = Silent::new().await;
        let nobody = silent.addr;
        let target = Target { host: Host::Ip(nobody.ip()), port: nobody.port() };
        let held = Places::new(1, "connections", "--max-conns").take(Peer::LOCAL).unwrap();
        let dialled = timeout(LIMIT * 2, dial(&target, &held)).await.expect("it has no limit");
        assert_eq!(dialled.unwrap_err().to_string(), "no answer within 10 s");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn an_address_that_does_not_answer_keeps_none_waiting() {
        let silent = Silent::new().await;
        let nobody = silent.addr;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let connected = connect(vec![nobody, open]);
        let tcp = tokio::time::timeout(Duration::from_secs(30), connected).await.unwrap().unwrap();
        assert_eq!(tcp.peer_addr().unwrap(), open);
    }
}
