//! `forward` and `serve`: ends, resets, rules, tokens.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[cfg(unix)]
mod stop;
mod websocket;

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use h2conn::http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::served::{Server, Tool, address, run, soon};
use crate::support::{Peer, WATCHDOG, noise};

/// A server that answers only after the end of its input, with that input reversed.
async fn backwards() -> String {
    serve(|mut tcp| async move {
        let mut input = Vec::new();
        tcp.read_to_end(&mut input).await?;
        input.reverse();
        tcp.write_all(&input).await?;
        tcp.shutdown().await
    })
    .await
}

/// A server that sends all its bytes, ends its direction, and only then reads, to the end.
async fn greeter(heard: tokio::sync::mpsc::UnboundedSender<String>) -> String {
    serve(move |mut tcp| {
        let heard = heard.clone();
        async move {
            tcp.write_all(b"hello").await?;
            tcp.shutdown().await?;
            let mut input = String::new();
            tcp.read_to_string(&mut input).await?;
            heard.send(input).map_err(io::Error::other)
        }
    })
    .await
}

/// A server that resets each connection.
async fn resetter() -> String {
    serve(|mut tcp| async move {
        tcp.read_exact(&mut [0]).await?;
        tcp.set_zero_linger()
    })
    .await
}

/// Listens on a free port, and returns its address.
async fn serve<F, S>(each: S) -> String
where
    F: Future<Output = io::Result<()>> + Send + 'static,
    S: Fn(TcpStream) -> F + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            // Errors show at the other end.
            tokio::spawn(each(tcp));
        }
    });
    address
}

/// An address on which no server listens.
async fn closed() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

/// Sends this, ends the direction, and reads to the end.
async fn ask(mut tcp: TcpStream, question: &[u8]) -> io::Result<Vec<u8>> {
    let talk = async {
        let (mut read, mut write) = tcp.split();
        let asking = async {
            write.write_all(question).await?;
            write.shutdown().await
        };
        let mut answer = Vec::new();
        tokio::try_join!(asking, read.read_to_end(&mut answer))?;
        Ok(answer)
    };
    soon("a question", talk).await
}

/// Like [`ask`], for an address that refuses: the reset can arrive before `connect` returns.
async fn refused(address: &str) {
    let asking = async { ask(TcpStream::connect(address).await?, b"").await };
    asking.await.unwrap_err();
}

/// Connects through SOCKS5, and also returns the reply code.
async fn by_socks(proxy: &str, host: &str, port: u16) -> (TcpStream, u8) {
    let mut tcp = TcpStream::connect(proxy).await.unwrap();
    let mut request = vec![5, 1, 0, 5, 1, 0, 3, u8::try_from(host.len()).unwrap()];
    request.extend(host.as_bytes());
    request.extend(port.to_be_bytes());
    tcp.write_all(&request).await.unwrap();
    let mut reply = [0; 12];
    soon("the reply", tcp.read_exact(&mut reply)).await.unwrap();
    assert_eq!(reply[..3], [5, 0, 5]);
    (tcp, reply[3])
}

/// One tunnel of each kind to `target`: two addresses to connect to, and a proxy.
async fn ways(server: &Server, target: &str) -> (Tool, [String; 2], String) {
    let way = format!("0:{target}");
    let args = ["-v", "-L", &way, "-R", &way, "-D", "0"];
    let mut forward = server.forward(&args);
    let local = address(&forward.says(", for 127.0.0.1").await);
    let socks = address(&forward.says("for SOCKS5").await);
    let remote = address(&forward.says("the server forwards").await);
    (forward, [local, remote], socks)
}

fn port(address: &str) -> u16 {
    address.rsplit(':').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn who_answers_only_after_the_end_of_its_input_works_each_way() {
    let server = Server::start(&["--allow", "127.0.0.1:*", "--allow-bind", "127.0.0.1:*"]).await;
    let target = backwards().await;
    let (_forward, direct, socks) = ways(&server, &target).await;
    let question = noise(1 << 20);
    let backwards: Vec<u8> = question.iter().rev().copied().collect();
    for address in direct {
        let tcp = TcpStream::connect(&address).await.unwrap();
        assert!(ask(tcp, &question).await.unwrap() == backwards, "{address}");
    }
    // The rule is for an address, and the name resolves to it.
    for host in ["127.0.0.1", "localhost"] {
        let (tcp, reply) = by_socks(&socks, host, port(&target)).await;
        assert_eq!(reply, 0, "{host}");
        assert!(ask(tcp, &question).await.unwrap() == backwards, "{host}");
    }
}

#[tokio::test]
async fn who_ends_first_and_listens_on_works_each_way() {
    let server = Server::with_tls(&["--allow", "*:*", "--allow-bind", "*:*"]).await;
    let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
    let target = greeter(heard).await;
    let way = format!("0:{target}");
    let mut forward = server.forward(&["-k", "-L", &way, "-R", &way]);
    let local = address(&forward.says(", for 127.0.0.1").await);
    let remote = address(&forward.says("the server forwards").await);
    for address in [local, remote] {
        let mut tcp = TcpStream::connect(&address).await.unwrap();
        let mut greeting = String::new();
        soon("the greeting", tcp.read_to_string(&mut greeting)).await.unwrap();
        assert_eq!(greeting, "hello");
        tcp.write_all(b"and good bye").await.unwrap();
        drop(tcp);
        assert_eq!(soon("the answer", hears.recv()).await.unwrap(), "and good bye");
    }
}

#[tokio::test]
async fn a_reset_is_a_reset_at_the_other_end_each_way() {
    let server = Server::start(&["--allow", "127.0.0.1:*", "--allow-bind", "127.0.0.1:*"]).await;
    let target = resetter().await;
    let (_forward, direct, _) = ways(&server, &target).await;
    for address in direct {
        let mut tcp = TcpStream::connect(&address).await.unwrap();
        tcp.write_all(b"x").await.unwrap();
        let error = soon("the reset", tcp.read(&mut [0])).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{address}");
    }
}

#[tokio::test]
async fn a_refusal_is_a_reset_whose_rule_the_user_is_told() {
    let target = backwards().await;
    let deny = format!("127.0.0.1:{}", port(&target));
    let server = Server::start(&["--allow", "127.0.0.1:1-65535", "--deny", &deny]).await;
    let mut forward =
        server.forward(&["-L", &format!("0:{target}"), "-L", "0:db.example:5432", "-D", "0"]);
    let denied = address(&forward.says(", for 127.0.0.1").await);
    let unknown = address(&forward.says(", for db.example").await);
    let socks = address(&forward.says("for SOCKS5").await);
    refused(&denied).await;
    forward.says(&format!("403: {target} is denied by the server's rule {deny}")).await;
    let (_, reply) = by_socks(&socks, "localhost", port(&target)).await;
    assert_eq!(reply, 2, "not allowed by the rules");
    forward.says(&format!("denied by the server's rule {deny}")).await;
    let closed = port(&closed().await);
    let (_, reply) = by_socks(&socks, "127.0.0.1", closed).await;
    assert_eq!(reply, 5, "nobody listens there");
    forward.says("502: the server cannot reach 127.0.0.1:").await;
    // A name is not looked up if no rule can allow any of its addresses.
    drop(unknown);
    let named = Server::start(&["--allow", "*.example:80"]).await;
    let mut forward = named.forward(&["-L", "0:db.example:5432"]);
    let unknown = address(&forward.says(", for db.example").await);
    refused(&unknown).await;
    forward
        .says("403: db.example:5432 is not allowed by any of the server's rules: *.example:80")
        .await;
}

#[tokio::test]
async fn nobody_listens_at_the_server_without_a_rule_for_it() {
    let server = Server::start(&["--allow", "*:*", "--allow-bind", "127.0.0.1:1-2"]).await;
    let ended = server.forward(&["-R", "127.0.0.1:0:127.0.0.1:1"]).ends().await;
    ended.expect(
        4,
        "listening on 127.0.0.1:0 is not allowed by any of the server's rules: 127.0.0.1:1-2",
    );
    let ended = server.forward(&["-R", "0.0.0.0:1:127.0.0.1:1"]).ends().await;
    ended.expect(4, "listening on 0.0.0.0:1 is not allowed");
}

#[tokio::test]
async fn an_address_that_is_in_use_is_waited_for_and_one_that_is_not_there_is_not() {
    let server = Server::start(&["--allow-bind", "*:*"]).await;
    // An address for documentation (RFC 5737): no machine has it.
    let ended = server.forward(&["--reconnect", "-R", "192.0.2.1:0:127.0.0.1:1"]).ends().await;
    ended.expect(4, "500: the server cannot listen on 192.0.2.1:0");
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let way = format!("{}:127.0.0.1:1", taken.local_addr().unwrap());
    let mut forward = server.forward(&["--reconnect", "-R", &way]);
    forward.says("503: the server cannot listen on").await;
    drop(taken);
    forward.says("the server forwards").await;
}

#[tokio::test]
async fn a_visitor_whom_nobody_can_serve_is_sent_away() {
    let server = Server::start(&["--allow-bind", "127.0.0.1:*"]).await;
    let closed = closed().await;
    let mut forward = server.forward(&["-R", &format!("0:{closed}")]);
    let remote = address(&forward.says("the server forwards").await);
    let mut tcp = TcpStream::connect(&remote).await.unwrap();
    soon("the end", tcp.read(&mut [0])).await.unwrap_err();
    forward.says(&format!("to {closed}: cannot connect")).await;
}

#[tokio::test]
async fn an_idle_timeout_leaves_a_listener_at_the_server_that_nobody_visits() {
    let target = backwards().await;
    let way = format!("0:{target}");
    let impatient = ["-i", "2"];
    let visit = async |server_options: &[&str], options: &[&str]| {
        let server = [&["--allow-bind", "127.0.0.1:*"], server_options].concat();
        let server = Server::start(&server).await;
        let mut forward = server.forward(&[&["-R", &way], options].concat());
        let remote = address(&forward.says("the server forwards").await);
        tokio::time::sleep(Duration::from_secs(5)).await;
        ask(TcpStream::connect(remote).await.unwrap(), b"abc").await.unwrap()
    };
    let (one, other) = tokio::join!(visit(&impatient, &[]), visit(&[], &impatient));
    assert_eq!((&*one, &*other), (&b"cba"[..], &b"cba"[..]));
}

#[tokio::test]
async fn only_the_token_opens_the_door() {
    let server = Server::start(&["--allow", "127.0.0.1:*"]).await;
    let wrong = server.home.path().join("wrong");
    std::fs::write(&wrong, "another-token").unwrap();
    let wrong = wrong.to_str().unwrap();
    run(&["forward", "-D", "0", &server.url]).await.expect(4, "401: the token is missing or wrong");
    let ended = run(&["forward", "-D", "0", "--token-file", wrong, &server.url]).await;
    ended.expect(4, "401: the token is missing or wrong");
    let without = ["serve", "127.0.0.1:0", "--allow", "127.0.0.1:*"];
    run(&without).await.expect(1, "nothing says who may use this server");
    let mut open = Tool::start(&[&without[..], &["--no-token", "--cleartext"]].concat());
    let url = open.says("listening on ").await.replace("listening on ", "");
    Tool::start(&["forward", "-D", "0", &url]).says("for SOCKS5").await;
}

#[tokio::test]
async fn the_page_of_a_proxy_is_told_by_its_words_and_by_what_must_be_changed() {
    for (page, said) in [
        ("<html><title>502 Bad Gateway</title>\n<p>Nobody is at home</p>", "\"Nobody is at home\""),
        (
            "Bad Gateway",
            "502 Bad Gateway instead of 2xx; \"nginx\" (the field server) may not reach",
        ),
        ("no such target", "the server answered 502: no such target"),
    ] {
        let peer = Peer::cleartext(move |mut listener| async move {
            let incoming = listener.accept().await.unwrap();
            let response = Response::builder().status(502).header("server", "nginx");
            incoming.reject_with(response.body(page)?);
            // Wait until the client has gone.
            listener.drain(WATCHDOG).await;
            Ok(())
        });
        let peer = peer.unwrap();
        let ended = run(&["forward", "-D", "0", &peer.url]).await;
        ended.expect(4, said);
        assert!(!ended.said.contains('<'), "{}", ended.said);
        peer.join().unwrap();
    }
}

#[tokio::test]
async fn many_connections_at_once_share_one_link() {
    // A second link would be refused.
    let mut server = Server::start(&["--allow", "127.0.0.1:*", "--max-links", "1"]).await;
    let target = serve(|mut tcp| async move {
        let mut byte = [0];
        tcp.read_exact(&mut byte).await?;
        tcp.write_all(&byte).await
    })
    .await;
    let mut forward = server.forward(&["-L", &format!("0:{target}")]);
    let local = address(&forward.says("listening on").await);
    let mut asked = JoinSet::new();
    for n in 0..50 {
        let local = local.clone();
        asked.spawn(async move {
            ask(TcpStream::connect(local).await.unwrap(), &[n]).await.unwrap() == [n]
        });
    }
    while let Some(right) = asked.join_next().await {
        assert!(right.unwrap());
    }
    let mut links = HashSet::new();
    // The server prints at most ten such lines about one host at once. One is about `/check`.
    for _ in 0..5 {
        let line = server.tool.says("/tcp/127.0.0.1/").await;
        links.insert(line.split_whitespace().nth(1).unwrap().to_owned());
    }
    assert_eq!(links.len(), 1, "{links:?}");
}

#[tokio::test]
async fn a_verbose_forward_shows_each_request_and_not_its_token() {
    let server = Server::with_tls(&["--allow-bind", "127.0.0.1:*"]).await;
    let mut forward = server.forward(&["-vk", "-R", "0:127.0.0.1:1"]);
    for part in [
        "* connected from 127.0.0.1:",
        "* certificate of the server: SHA-256 ",
        "/check",
        "> authorization: (hidden)",
        "< 200 OK",
        "/bind/127.0.0.1/0",
        "< h2conn-bound: 127.0.0.1:",
    ] {
        forward.says(part).await;
    }
}

#[tokio::test]
async fn what_cannot_be_meant_is_told_with_what_is_expected() {
    let url = "http://127.0.0.1:1/";
    let table: [(&[&str], &str); 8] = [
        (&["forward", url], "required"),
        (&["forward", "-L", "80:web", url], "expected [BIND:]PORT:HOST:PORT"),
        (&["forward", "-D", "web:80", url], "expected [BIND:]PORT"),
        (&["forward", "-L", "0:web:0", url], "no port 0"),
        (&["serve", "127.0.0.1:0", "--no-token"], "required"),
        (&["serve", "127.0.0.1:0", "--no-token", "--allow", "web"], "expected HOST:PORTS"),
        (&["serve", "127.0.0.1:0", "--no-token", "--allow-bind", "web:80"], "expected an address"),
        (&["serve", "127.0.0.1:0", "--no-token", "--files", "/no/such/place"], "cannot open"),
    ];
    for (args, part) in table {
        run(args).await.expect(1, part);
    }
    run(&["forward", "-D", "0", url]).await.expect(2, "127.0.0.1:1");
}
