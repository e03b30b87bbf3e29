//! Look-ups of names. Each keeps a thread for as long as the system's resolver takes, also when
//! nobody waits for it any more.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, LazyLock};

use tokio::task::spawn_blocking;

use super::target::{Host, Target};
use crate::places::{Line, Place, Places};

/// How many names are looked up at once: a quarter of the threads that the runtime has for such work
/// (512). Half of them are for files (`transfer/step.rs`). One peer has at most as many as are free.
const MOST: usize = 128;

/// Resolves a name, which can take long.
type Resolve = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

static SYSTEM: LazyLock<Names> = LazyLock::new(|| {
    Names::new(|name, port| (name, port).to_socket_addrs().map(Iterator::collect))
});

/// The addresses of a target, for the peer that has this place. A target that is an address is not
/// looked up.
///
/// # Cancel safety
///
/// Dropping the future leaves the line; a look-up that has begun goes on, and counts until its end.
pub(super) async fn look_up(target: &Target, held: &Place<Line>) -> io::Result<Vec<SocketAddr>> {
    SYSTEM.look_up(target, held).await
}

struct Names {
    resolve: Arc<Resolve>,
    places: Places,
}

impl Names {
    fn new(
        resolve: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Names {
        let places = Places::new(MOST, "look-ups of names", "the server");
        Names { resolve: Arc::new(resolve), places }
    }

    async fn look_up(&self, target: &Target, held: &Place<Line>) -> io::Result<Vec<SocketAddr>> {
        let port = target.port;
        let name = match &target.host {
            Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, port)]),
            Host::Name(name) => name.clone(),
        };
        let place = self.places.turn(held).await;
        let resolve = Arc::clone(&self.resolve);
        let looking = spawn_blocking(move || {
            let _place = place;
            resolve(&name, port)
        });
        looking.await.unwrap_or_else(|error| Err(error.into()))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use std::sync::{Mutex, mpsc};

    use tokio::task::{JoinSet, yield_now};

    use super::*;
    use crate::places::Peer;

    fn target(name: &str) -> Target {
        Target { host: name.parse().unwrap(), port: 80 }
    }

    fn peer(addr: &str) -> Peer {
        Peer::at(&addr.parse::<SocketAddr>().unwrap().into())
    }

    #[tokio::test]
    async fn an_address_is_not_looked_up_and_a_name_is() {
        let tunnels = Places::new(1, "tunnels", "--max-tunnels");
        let held = tunnels.take(Peer::LOCAL).unwrap();
        let names = Names::new(|name, port| {
            assert_eq!((name, port), ("db.example", 80));
            Err(io::ErrorKind::NotFound.into())
        });
        let found = names.look_up(&target("10.0.0.1"), &held).await.unwrap();
        assert_eq!(found, ["10.0.0.1:80".parse().unwrap()]);
        names.look_up(&target("db.example"), &held).await.unwrap_err();
        let found = look_up(&target("localhost"), &held).await.unwrap();
        assert!(found.iter().all(|addr| addr.ip().is_loopback()), "{found:?}");
    }

    #[tokio::test]
    async fn names_that_hang_take_half_of_the_turns_and_another_peers_are_looked_up() {
        let (release, hangs) = mpsc::channel::<()>();
        let hangs = Mutex::new(hangs);
        let names = Names::new(move |name, port| {
            if name == "hangs.example" {
                // Until the other end is dropped.
                let _ = hangs.lock().unwrap().recv();
            }
            Ok(vec![([10, 0, 0, 1], port).into()])
        });
        let names = Arc::new(names);
        let tunnels = Places::new(100_000, "tunnels", "--max-tunnels");
        let mut hanging = JoinSet::new();
        for _ in 0..1000 {
            let held = tunnels.take(peer("10.0.0.1:1")).unwrap();
            let names = Arc::clone(&names);
            hanging.spawn(async move { names.look_up(&target("hangs.example"), &held).await });
        }
        let is_free = |count| names.places.free() == count;
        while !is_free(MOST / 2) {
            yield_now().await;
        }
        let held = tunnels.take(peer("10.0.0.2:1")).unwrap();
        for _ in 0..100 {
            names.look_up(&target("db.example"), &held).await.unwrap();
        }
        // Those who have stopped waiting do not make room for more that hang.
        hanging.shutdown().await;
        assert!(is_free(MOST / 2), "{}", names.places.free());
        drop(release);
        while !is_free(MOST) {
            yield_now().await;
        }
    }
}
