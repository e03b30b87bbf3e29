//! Limits on how much unknown clients can have open, and the descriptors behind them.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io;

use h2conn::http::Response;
use h2conn::{Client, Conn, Listener};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

#[cfg(target_os = "linux")]
use crate::served::Tool;
use crate::served::{Server, address, soon};
#[cfg(target_os = "linux")]
use crate::support::h2conn;

/// A server that sends everything back.
async fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut read, mut write) = tcp.split();
                // Errors show at the other end.
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    address
}

/// A connection to an echo server.
struct Guest(TcpStream);

impl Guest {
    async fn new(address: &str) -> io::Result<Guest> {
        Ok(Guest(TcpStream::connect(address).await?))
    }

    /// Whether the connection is served. If it waits in a queue, this waits too.
    async fn is_served(&mut self) -> bool {
        let talk = async {
            self.0.write_all(b"x").await?;
            self.0.read_exact(&mut [0]).await?;
            io::Result::Ok(())
        };
        soon("a guest", talk).await.is_ok()
    }

    /// Tries again until a place is free: the server frees a place a little after its user has
    /// gone.
    async fn at_last(address: &str) -> Guest {
        let trying = async {
            loop {
                if let Ok(mut guest) = Guest::new(address).await
                    && guest.is_served().await
                {
                    return guest;
                }
            }
        };
        soon("a place", trying).await
    }
}

/// A connection from another address than 127.0.0.1. On Linux, all of 127.0.0.0/8 belongs to this
/// machine.
async fn from_elsewhere(address: &str) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind("127.0.0.2:0".parse().unwrap())?;
    socket.connect(address.parse().unwrap()).await
}

/// Whether a connection is reset instead of served. The reset can arrive before `connect` returns.
async fn is_turned_away(address: &str) -> bool {
    match Guest::new(address).await {
        Ok(mut guest) => !guest.is_served().await,
        Err(_) => true,
    }
}

#[tokio::test]
async fn a_tunnel_over_the_cap_is_answered_503_with_the_knob_and_has_a_place_later() {
    let mut server = Server::start_open(&["--allow", "127.0.0.1:*", "--max-tunnels", "3"]).await;
    let echo = echo().await;
    let mut forward = server.forward(&["-L", &format!("0:{echo}")]);
    let local = address(&forward.says(", for 127.0.0.1").await);
    let (mut one, mut two) = (Guest::new(&local).await.unwrap(), Guest::new(&local).await.unwrap());
    assert!(one.is_served().await && two.is_served().await);
    assert!(is_turned_away(&local).await);
    let why =
        "503 the server has no room: this peer has 2 of the 3 tunnels that --max-tunnels allows";
    server.tool.says(why).await;
    forward.says("--max-tunnels").await;
    if cfg!(target_os = "linux") {
        let (_client, conns) = tunnels_from_elsewhere(&server.url, &echo).await;
        assert!(conns[0].is_some() && conns[1].is_none(), "{conns:?}");
        server.tool.says("there are 3 tunnels, as many as --max-tunnels allows at once").await;
    }
    assert!(one.is_served().await && two.is_served().await);
    drop(one);
    Guest::at_last(&local).await;
}

/// Two tunnels from another peer to `target`, as far as the server accepts them.
async fn tunnels_from_elsewhere(url: &str, target: &str) -> (Client, Vec<Option<Conn>>) {
    let tcp = from_elsewhere(url.split('/').nth(2).unwrap()).await.unwrap();
    let client = Client::builder().header("authorization", "Bearer a-token-for-tests");
    let client = client.build_over(tcp).await.unwrap();
    let url = format!("{url}tcp/{}", target.replace(':', "/"));
    let mut conns = Vec::new();
    for _ in 0..2 {
        conns.push(client.connect(&url).await.ok().map(|(conn, _)| conn));
    }
    (client, conns)
}

#[tokio::test]
async fn a_visitor_is_a_tunnel_and_over_the_cap_it_is_reset() {
    // The listener takes one place and a visitor takes another, so the client holds more than are
    // free.
    let args = ["--allow-bind", "127.0.0.1:*", "--max-tunnels", "3"];
    let mut server = Server::start_open(&args).await;
    let mut forward = server.forward(&["-R", &format!("0:{}", echo().await)]);
    let remote = address(&forward.says("the server forwards").await);
    let mut one = Guest::new(&remote).await.unwrap();
    assert!(one.is_served().await);
    assert!(is_turned_away(&remote).await);
    server.tool.says("was reset: this peer has 2 of the 3 tunnels that --max-tunnels allows").await;
    assert!(one.is_served().await);
    drop(one);
    let mut one = Guest::at_last(&remote).await;
    // Nor is there a place for another listener.
    server.forward(&["-R", "0:127.0.0.1:1"]).ends().await.expect(4, "--max-tunnels");
    assert!(one.is_served().await);
}

#[tokio::test]
async fn a_visitor_has_its_place_to_its_end_and_more_wait_in_the_systems_queue() {
    let args = ["--allow-bind", "127.0.0.1:*", "--max-visitors", "1"];
    let mut server = Server::start(&args).await;
    let mut forward = server.forward(&["-R", &format!("0:{}", echo().await)]);
    let remote = address(&forward.says("the server forwards").await);
    let mut one = Guest::new(&remote).await.unwrap();
    assert!(one.is_served().await);
    server.tool.says("there are 1 visitors, as many as --max-visitors allows at once").await;
    let mut two = Guest::new(&remote).await.unwrap();
    two.0.write_all(b"x").await.unwrap();
    // The first connection goes on. The second gets an answer only once the first has gone.
    for _ in 0..100 {
        assert!(one.is_served().await);
        assert_eq!(two.0.try_read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
    drop(one);
    soon("the second", two.0.read_exact(&mut [0])).await.unwrap();
    assert!(two.is_served().await);
}

/// Other systems than Linux have only one loopback address.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_visitor_leaves_places_to_visitors_from_elsewhere() {
    for (cap, most) in [("--max-visitors", "2"), ("--max-tunnels", "4")] {
        let mut server = Server::start_open(&["--allow-bind", "*:*", cap, most]).await;
        let mut forward = server.forward(&["-R", &format!("0.0.0.0:0:{}", echo().await)]);
        let line = forward.says("the server forwards").await;
        let remote = address(&line.replacen("0.0.0.0", "127.0.0.1", 1));
        let mut one = Guest::new(&remote).await.unwrap();
        assert!(one.is_served().await);
        assert!(is_turned_away(&remote).await);
        server.tool.says(&format!("that {cap} allows at once, and one peer has at most")).await;
        let mut other = Guest(from_elsewhere(&remote).await.unwrap());
        assert!(other.is_served().await && one.is_served().await);
    }
}

/// Others than Linux have one address of this machine.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn visitors_of_one_address_that_wait_for_the_client_do_not_hold_up_those_of_another() {
    const WAITING: usize = 64;
    let server = Server::start_open(&["--allow-bind", "*:*"]).await;
    // A client that fetches nobody.
    let client = Client::builder().header("authorization", "Bearer a-token-for-tests");
    let client = client.build().unwrap();
    let (conn, response) = client.connect(&format!("{}bind/0.0.0.0/0", server.url)).await.unwrap();
    let bound = response.headers()["h2conn-bound"].to_str().unwrap().to_owned();
    let remote = bound.replace("0.0.0.0", "127.0.0.1");
    let mut lines = BufReader::new(&conn).lines();
    let mut guests = Vec::new();
    for _ in 0..WAITING * 2 {
        guests.push(Guest::new(&remote).await.unwrap());
    }
    let mut next = async || soon("a visitor", lines.next_line()).await.unwrap().unwrap();
    let mut told = Vec::new();
    for _ in 0..WAITING / 2 {
        told.push(next().await);
    }
    assert!(told.iter().all(|line| line.contains(" 127.0.0.1:")), "{told:?}");
    // The others wait for their turn, and a newcomer does not wait for them. On a machine that is
    // very slow the time of some is up before.
    guests.push(Guest(from_elsewhere(&remote).await.unwrap()));
    while !told.iter().any(|line| line.contains(" 127.0.0.2:")) {
        told.push(next().await);
    }
    assert!(told.len() < WAITING * 2, "the newcomer was the last");
    // One that is turned away makes room for the next.
    let id = told[0].split(' ').next().unwrap();
    (&conn).write_all(format!("{id}\n").as_bytes()).await.unwrap();
    assert!(next().await.contains(" 127.0.0.1:"));
}

#[tokio::test]
async fn connections_to_a_local_listener_over_the_cap_are_reset_with_a_warning() {
    let server = Server::start(&["--allow", "127.0.0.1:*"]).await;
    let way = format!("0:{}", echo().await);
    // Both listeners together.
    let mut forward = server.forward(&["-L", &way, "-L", &way, "--max-conns", "2"]);
    let first = address(&forward.says(", for 127.0.0.1").await);
    let second = address(&forward.says(", for 127.0.0.1").await);
    let mut one = Guest::new(&first).await.unwrap();
    let mut two = Guest::new(&second).await.unwrap();
    assert!(one.is_served().await && two.is_served().await);
    for local in [&first, &second] {
        assert!(is_turned_away(local).await);
    }
    let why = "was reset: there are 2 connections, as many as --max-conns allows at once";
    forward.says(why).await;
    for _ in 0..100 {
        assert!(is_turned_away(&first).await);
    }
    assert!(one.is_served().await && two.is_served().await);
    drop(one);
    drop((Guest::at_last(&second).await, two));
    #[cfg(unix)]
    {
        forward.interrupt();
        let said = forward.ends().await.said;
        let lines = said.lines().filter(|line| line.contains("was reset: there are 2")).count();
        assert!((1..60).contains(&lines), "{lines} for 102:\n{said}");
        assert!(
            said.contains("more like this") || said.contains("left out (--max-conns)"),
            "{said}"
        );
    }
    // One that says nothing, or speaks no SOCKS5, has a place as well.
    let mut socks = server.forward(&["-D", "0", "--max-conns", "1"]);
    let proxy = address(&socks.says("for SOCKS5").await);
    let silent = Guest::new(&proxy).await.unwrap();
    assert!(is_turned_away(&proxy).await);
    socks.says("as many as --max-conns allows at once").await;
    drop(silent);
}

/// Others than Linux have one address of this machine.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_local_listener_that_is_open_to_others_shares_its_places_by_address() {
    let server = Server::start(&["--allow", "127.0.0.1:*"]).await;
    let way = format!("0.0.0.0:0:{}", echo().await);
    let mut forward = server.forward(&["-L", &way, "--max-conns", "4"]);
    let line = forward.says("listening on 0.0.0.0").await;
    let local = address(&line.replacen("0.0.0.0", "127.0.0.1", 1));
    let mut guests = Vec::new();
    for _ in 0..2 {
        let mut guest = Guest::new(&local).await.unwrap();
        assert!(guest.is_served().await);
        guests.push(guest);
    }
    assert!(is_turned_away(&local).await);
    forward.says("this peer has 2 of the 4 connections that --max-conns allows at once").await;
    let mut other = Guest(from_elsewhere(&local).await.unwrap());
    assert!(other.is_served().await && guests[0].is_served().await);
}

#[tokio::test]
async fn a_client_serves_no_more_visitors_than_its_own_cap_whatever_the_server_says() {
    const CAP: usize = 3;
    const TOLD: usize = 200;
    let mut listener = Listener::builder().bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr());
    let hostile = tokio::spawn(async move {
        let mut held = Vec::new();
        let mut refused = None;
        loop {
            let incoming = listener.accept().await.unwrap();
            match incoming.uri().path().split('/').nth(1) {
                Some("check") => incoming.accept().unwrap().close().await.unwrap(),
                Some("bind") => {
                    let mut response = Response::new(());
                    response.headers_mut().insert("h2conn-bound", "127.0.0.1:1".parse().unwrap());
                    let mut conn = incoming.accept_with(response).unwrap();
                    for id in 0..TOLD {
                        conn.write_all(format!("{id:032x} 1.2.3.{id}:5\n").as_bytes())
                            .await
                            .unwrap();
                    }
                    refused = Some(tokio::spawn(async move {
                        let mut lines = BufReader::new(conn).lines();
                        let mut refused = 0;
                        while refused < TOLD - CAP {
                            lines.next_line().await.unwrap().unwrap();
                            refused += 1;
                        }
                        lines
                    }));
                }
                // Hold the visitors that the client serves; they never end.
                _ => held.push(incoming.accept().unwrap()),
            }
            if held.len() == CAP {
                let lines = refused.take().unwrap().await.unwrap();
                return (held, lines);
            }
        }
    });
    let target = format!("0:{}", echo().await);
    let args = ["forward", "-R", &target, "--max-visitors", "3", &url];
    let mut forward = crate::served::Tool::start(&args);
    let (mut held, lines) = soon("refusals", hostile).await.unwrap();
    forward.says("refused: there are 3 visitors, as many as --max-visitors allows at once").await;
    for conn in &mut held {
        conn.write_all(b"x").await.unwrap();
        soon("a visitor", conn.read_exact(&mut [0])).await.unwrap();
    }
    drop(lines);
}

/// The soft limit in the text of `/proc/PID/limits`.
#[cfg(target_os = "linux")]
fn soft_limit(limits: &str) -> u64 {
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_server_may_open_as_much_as_the_system_allows_and_its_commands_as_much_as_before() {
    const FEW: &str = "ulimit -S -n 123";
    let args = ["listen", "127.0.0.1:0", "--cleartext", "--keep-open", "--exec"];
    // The shell that --exec starts is another one than the shell that is asked here.
    let exec = "ulimit -S -n; grep 'Max open files' /proc/$PPID/limits";
    let mut listen = Tool::start_after(FEW, &[&args[..], &[exec]].concat());
    let line = listen.says("listening on ").await;
    let url = line.strip_prefix("listening on ").unwrap().to_owned();
    let output = tokio::task::spawn_blocking(move || h2conn(["connect", &url]).output());
    let said = String::from_utf8(output.await.unwrap().unwrap().stdout).unwrap();
    let (own, of_parent) = said.split_once('\n').unwrap();
    assert_eq!(own, "123");
    assert!(soft_limit(of_parent) > 123, "{said}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn three_eighths_of_the_descriptors_are_for_tunnels() {
    let server = Server::start_after("ulimit -n 40", &["--allow", "127.0.0.1:*"]).await;
    let mut forward = server.forward(&["-L", &format!("0:{}", echo().await)]);
    let local = address(&forward.says(", for 127.0.0.1").await);
    let mut guests = Vec::new();
    for _ in 0..15 {
        let mut guest = Guest::new(&local).await.unwrap();
        assert!(guest.is_served().await, "{}", guests.len());
        guests.push(guest);
    }
    assert!(is_turned_away(&local).await);
    forward.says("there are 15 tunnels, as many as --max-tunnels allows at once").await;
    // There is room for another link, and the tool checks that before it announces the listener.
    let mut other = server.forward(&["-L", "0:127.0.0.1:1"]);
    other.says("listening on ").await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_peer_that_leaves_a_target_that_reads_nothing_gives_back_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let _silent = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let to = format!("unix:{}", path.display());
    let args =
        ["--cleartext", "--keep-open", "--max-conns", "1", "--idle-timeout", "5", "--to", &to];
    let server = crate::support::Server::start(&args).unwrap();
    let client = Client::builder().build().unwrap();
    let (mut conn, _) = client.connect(&server.url).await.unwrap();
    // More than the sockets hold, and less than the windows.
    soon("the bytes", conn.write_all(&[7; 900_000])).await.unwrap();
    soon("the end", conn.shutdown()).await.unwrap();
    soon("the end", conn.sent()).await.unwrap();
    conn.reset(h2conn::Reason::NO_ERROR);
    let another = async {
        loop {
            match client.connect(&server.url).await {
                Err(error) if error.status().is_some() => {
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
                connected => break connected.map(drop),
            }
        }
    };
    soon("the place", another).await.unwrap();
}
