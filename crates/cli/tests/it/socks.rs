//! `forward -D`: the SOCKS5 reply codes that a client receives (RFC 1928 §6).

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use bytes::Bytes;
use h2conn::http::Response;
use h2conn::{Incoming, Listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::served::{Server, Tool, address, soon};

const CONNECT: u8 = 1;
const BIND: u8 = 2;
const UDP_ASSOCIATE: u8 = 3;

/// A target as a client encodes it, with the kind of address and the port.
fn target(host: &str, port: u16) -> Vec<u8> {
    let mut bytes = match host.parse() {
        Ok(std::net::IpAddr::V4(ip)) => [&[1][..], &ip.octets()].concat(),
        Ok(std::net::IpAddr::V6(ip)) => [&[4][..], &ip.octets()].concat(),
        Err(_) => [&[3, u8::try_from(host.len()).unwrap()][..], host.as_bytes()].concat(),
    };
    bytes.extend(port.to_be_bytes());
    bytes
}

/// The reply code for this command and target.
async fn reply(proxy: &str, command: u8, target: &[u8]) -> u8 {
    let mut tcp = TcpStream::connect(proxy).await.unwrap();
    tcp.write_all(&[5, 1, 0]).await.unwrap();
    let mut method = [0; 2];
    soon("the method", tcp.read_exact(&mut method)).await.unwrap();
    assert_eq!(method, [5, 0]);
    tcp.write_all(&[&[5, command, 0], target].concat()).await.unwrap();
    let mut reply = [0; 10];
    soon("the reply", tcp.read_exact(&mut reply)).await.unwrap();
    assert_eq!((reply[0], reply[2], reply[3]), (5, 0, 1), "{reply:?}");
    reply[1]
}

/// A port on which no server listens.
async fn closed() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn each_failure_that_loopback_has_comes_as_its_reply() {
    let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let open = open.local_addr().unwrap().port();
    let closed = closed().await;
    let rules = ["--allow", "*:*", "--deny", &format!("127.0.0.1:{open}")];
    let server = Server::start(&rules).await;
    let mut forward = server.forward(&["-D", "0"]);
    let proxy = address(&forward.says("for SOCKS5").await);
    let mut table = vec![
        ("denied", CONNECT, target("127.0.0.1", open), 2),
        ("denied by name", CONNECT, target("localhost", open), 2),
        ("refused", CONNECT, target("127.0.0.1", closed), 5),
        ("refused, IPv6", CONNECT, target("::ffff:127.0.0.1", closed), 5),
        ("refused by name", CONNECT, target("localhost", closed), 5),
        ("BIND", BIND, target("127.0.0.1", closed), 7),
        ("UDP ASSOCIATE", UDP_ASSOCIATE, target("127.0.0.1", closed), 7),
        ("a command that is none", 9, target("127.0.0.1", closed), 7),
        ("an address of no kind", CONNECT, vec![2, 127, 0, 0, 1, 0, 1], 8),
        ("a name that is none", CONNECT, target("a/b", closed), 8),
    ];
    if cfg!(target_os = "linux") {
        // On Linux, TCP has no route to a multicast address, whatever the routing table is.
        table.push(("many hosts", CONNECT, target("224.0.0.1", 1), 3));
    }
    for (name, command, target, expected) in table {
        assert_eq!(reply(&proxy, command, &target).await, expected, "{name}");
    }
    // The failure of a tunnel says nothing about the target.
    server.tool.kill().await;
    assert_eq!(reply(&proxy, CONNECT, &target("127.0.0.1", closed)).await, 1, "no server");
}

/// The answers of a server, and the SOCKS5 replies that they must become. The port of a target
/// selects a row.
const ANSWERS: [(u16, &str, u8); 16] = [
    (200, "", 0),
    (200, "refused", 0),
    (400, "", 1),
    (401, "", 2),
    (403, "", 2),
    (403, "refused", 2),
    (404, "", 1),
    (500, "refused", 1),
    // An older server does not send the field.
    (502, "", 4),
    (502, "refused", 5),
    (502, "network", 3),
    (502, "host", 4),
    (502, "other", 1),
    (502, "of-a-later-version", 1),
    (503, "", 1),
    (504, "", 6),
];

fn answer(incoming: Incoming) {
    let path = incoming.uri().path().to_owned();
    let port = path.strip_prefix("/tcp/127.0.0.1/").map_or(0, |port| port.parse().unwrap());
    let (status, unreached, _) = ANSWERS[port];
    let mut response = Response::builder().status(status);
    if !unreached.is_empty() {
        response = response.header("h2conn-unreached", unreached);
    }
    if status == 200 {
        let conn = incoming.accept_with(response.body(()).unwrap()).unwrap();
        tokio::spawn(async move { conn.close().await });
    } else {
        incoming.reject_with(response.body(Bytes::from_static(b"why\n")).unwrap());
    }
}

#[tokio::test]
async fn each_answer_of_a_server_comes_as_its_reply() {
    let mut listener = Listener::builder().bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr());
    tokio::spawn(async move {
        while let Some(incoming) = listener.accept().await {
            answer(incoming);
        }
    });
    let mut forward = Tool::start(&["forward", "-D", "0", &url]);
    let proxy = address(&forward.says("for SOCKS5").await);
    for (row, (status, unreached, expected)) in (0..).zip(ANSWERS) {
        let reply = reply(&proxy, CONNECT, &target("127.0.0.1", row)).await;
        assert_eq!(reply, expected, "{status} {unreached}");
    }
}
