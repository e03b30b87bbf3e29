//! Servers that stop, after a signal or a crash, while connections go through them.

use super::*;

#[tokio::test]
async fn a_remote_forward_comes_back_with_its_server() {
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("socket");
    let socket = socket.to_str().unwrap();
    let listen = format!("unix:{socket}");
    let serve = ["serve", &listen, "--cleartext", "--no-token", "--allow-bind", "127.0.0.1:*"];
    let target = backwards().await;
    let way = format!("0:{target}");
    let mut server = Tool::start(&serve);
    server.says("listening on").await;
    let args = ["forward", "--unix-socket", socket, "--reconnect", "-R", &way, "http://server/"];
    let mut forward = Tool::start(&args);
    forward.says("the server forwards").await;
    server.kill().await;
    forward.says("again in").await;
    let mut server = Tool::start(&serve);
    server.says("listening on").await;
    let remote = address(&forward.says("the server forwards").await);
    let answer = ask(TcpStream::connect(remote).await.unwrap(), b"abc").await.unwrap();
    assert_eq!(answer, b"cba");
    // Without the option, the command would have ended here.
    let mut once = Tool::start(&["forward", "--unix-socket", socket, "-R", &way, "http://server/"]);
    once.says("the server forwards").await;
    server.kill().await;
    let ended = once.ends().await;
    assert_eq!(ended.code, Some(5), "{}", ended.said);
}

/// A server that sends everything back.
async fn echo() -> String {
    serve(|mut tcp| async move {
        let (mut read, mut write) = tcp.split();
        tokio::io::copy(&mut read, &mut write).await.map(drop)
    })
    .await
}

/// A connection through the tunnel to an echo server.
async fn connected(address: &str) -> TcpStream {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(b"x").await.unwrap();
    soon("an echo", tcp.read_exact(&mut [0])).await.unwrap();
    tcp
}

#[tokio::test]
async fn what_is_open_can_finish_when_the_server_goes() {
    let server = Server::start(&["--allow", "127.0.0.1:*", "--allow-bind", "127.0.0.1:*"]).await;
    let (mut forward, direct, _) = ways(&server, &echo().await).await;
    let open = [connected(&direct[0]).await, connected(&direct[1]).await];
    server.tool.interrupt();
    forward.says("waiting for what is open").await;
    for tcp in open {
        assert_eq!(ask(tcp, b"abc").await.unwrap(), b"abc");
    }
    forward.ends().await.expect(5, "the server listens no more");
    server.tool.ends().await.expect(0, "");
}

#[tokio::test]
async fn after_ctrl_c_the_server_listens_no_more_while_connections_finish() {
    let mut server = Server::start(&["--allow-bind", "127.0.0.1:*"]).await;
    let mut forward = server.forward(&["-R", &format!("0:{}", echo().await)]);
    let remote = address(&forward.says("the server forwards").await);
    let open = connected(&remote).await;
    forward.interrupt();
    forward.says("waiting up to 10 s for 1 connection to end; a second Ctrl-C").await;
    server.tool.says("no more").await;
    TcpStream::connect(&remote).await.unwrap_err();
    assert_eq!(ask(open, b"abc").await.unwrap(), b"abc");
    forward.ends().await.expect(0, "");
}

#[tokio::test]
async fn ctrl_c_ends_both_sides_in_good_order() {
    let server = Server::start(&["--allow", "127.0.0.1:*", "--allow-bind", "127.0.0.1:*"]).await;
    let (forward, direct, _) = ways(&server, &echo().await).await;
    let open = [connected(&direct[0]).await, connected(&direct[1]).await];
    forward.interrupt();
    // Clients that are connected can finish.
    for tcp in open {
        assert_eq!(ask(tcp, b"abc").await.unwrap(), b"abc");
    }
    forward.ends().await.expect(0, "");
    server.tool.interrupt();
    server.tool.ends().await.expect(0, "");
}

#[tokio::test]
async fn a_server_that_cuts_what_does_not_end_makes_no_end_of_it() {
    let server = Server::start(&["--allow", "127.0.0.1:*"]).await;
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = h2conn::Client::builder()
        .header("authorization", "Bearer a-token-for-tests")
        .build()
        .unwrap();
    let url =
        format!("{}tcp/127.0.0.1/{}", server.url, port(&target.local_addr().unwrap().to_string()));
    let (mut conns, mut sockets) = (Vec::new(), Vec::new());
    for _ in 0..50 {
        let (mut conn, _) = client.connect(&url).await.unwrap();
        let (mut tcp, _) = target.accept().await.unwrap();
        conn.write_all(b"x").await.unwrap();
        soon("a byte", tcp.read_exact(&mut [0])).await.unwrap();
        conns.push(conn);
        sockets.push(tcp);
    }
    server.tool.interrupt();
    let mut ends = 0;
    for mut tcp in sockets {
        if soon("the end", tcp.read(&mut [0])).await.is_ok() {
            ends += 1;
        }
    }
    assert_eq!(ends, 0, "sockets that read an end of file");
    server.tool.ends().await.expect(0, "");
}
