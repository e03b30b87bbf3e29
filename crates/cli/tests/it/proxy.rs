//! `-x` and the environment: connections through proxies that a test plays.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, bail, ensure};
use predicates::str::contains;

use crate::support::{Server, TestResult, h2conn};

/// A proxy for one client, and the text of that client's request.
struct Proxy {
    addr: String,
    serving: thread::JoinHandle<TestResult<String>>,
}

impl Proxy {
    fn new(
        serve: impl FnOnce(TcpStream) -> TestResult<String> + Send + 'static,
    ) -> TestResult<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let addr = listener.local_addr()?.to_string();
        let serving = thread::spawn(move || serve(listener.accept()?.0));
        Ok(Proxy { addr, serving })
    }

    /// Answers CONNECT, and connects to `target` whatever the client asked for.
    fn http(target: String) -> TestResult<Proxy> {
        Proxy::new(move |client| {
            let mut reader = BufReader::new(client.try_clone()?);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                ensure!(reader.read_line(&mut head)? > 0, "the client has gone");
            }
            let mut server = TcpStream::connect(target)?;
            // A server may send first: its first bytes arrive in one piece with the answer.
            let mut answer = b"HTTP/1.1 200 OK\r\nvia: a test\r\n\r\n".to_vec();
            server.set_read_timeout(Some(std::time::Duration::from_millis(200)))?;
            let mut first = [0; 1024];
            if let Ok(n) = server.read(&mut first) {
                answer.extend_from_slice(&first[..n]);
            }
            server.set_read_timeout(None)?;
            (&client).write_all(&answer)?;
            splice(client, server)?;
            Ok(head)
        })
    }

    /// Speaks SOCKS5 with a name and password, and connects to `target` whatever the client asked
    /// for.
    fn socks(target: String) -> TestResult<Proxy> {
        Proxy::new(move |mut client| {
            let mut asked = String::new();
            let [_, count] = read(&mut client)?;
            let mut methods = vec![0; count.into()];
            client.read_exact(&mut methods)?;
            let with_password = methods.contains(&2);
            client.write_all(&[5, if with_password { 2 } else { 0 }])?;
            if with_password {
                let [_, length] = read(&mut client)?;
                asked += &text(&mut client, length)?;
                let [length] = read(&mut client)?;
                asked = format!("{asked}:{}@", text(&mut client, length)?);
                client.write_all(&[1, 0])?;
            }
            let [_, command, _, kind] = read(&mut client)?;
            ensure!(command == 1, "it is no CONNECT but {command}");
            match kind {
                1 => asked += &std::net::Ipv4Addr::from(read::<4>(&mut client)?).to_string(),
                3 => {
                    let [length] = read(&mut client)?;
                    asked += &text(&mut client, length)?;
                }
                other => bail!("addresses of kind {other}"),
            }
            let port = u16::from_be_bytes(read(&mut client)?);
            client.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 1])?;
            splice(client, TcpStream::connect(target)?)?;
            Ok(format!("{asked} {port}"))
        })
    }

    fn asked(self) -> TestResult<String> {
        self.serving.join().map_err(|_| anyhow::anyhow!("the proxy panicked"))?
    }
}

fn read<const N: usize>(from: &mut TcpStream) -> TestResult<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn text(from: &mut TcpStream, length: u8) -> TestResult<String> {
    let mut bytes = vec![0; length.into()];
    from.read_exact(&mut bytes)?;
    Ok(String::from_utf8(bytes)?)
}

/// Carries bytes both ways until both ends have ended.
fn splice(client: TcpStream, server: TcpStream) -> TestResult {
    let (mut from, mut to) = (server.try_clone()?, client.try_clone()?);
    let back = thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Write);
    });
    let (mut from, mut to) = (client, server);
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(std::net::Shutdown::Write);
    back.join().map_err(|_| anyhow::anyhow!("a copy panicked"))
}

/// An echo server, and its address.
fn echo(args: &[&str]) -> TestResult<(Server, String)> {
    let server = Server::start(&[&["--echo"], args].concat())?;
    let (_, addr) = server.url.trim_end_matches('/').split_once("://").context("a URL")?;
    let addr = addr.to_owned();
    Ok((server, addr))
}

#[test]
fn an_http_proxy_is_asked_for_the_host_of_the_url_with_the_password_it_wants() -> TestResult {
    for (args, scheme) in [(&["--cleartext"][..], "http"), (&[], "https")] {
        let (server, addr) = echo(args)?;
        let proxy = Proxy::http(addr)?;
        let url = format!("{scheme}://localhost:7/");
        let by = format!("http://user:pass%20word@{}", proxy.addr);
        let assert = h2conn(["connect", "-vk", "-x", &by, &url]).write_stdin("hi").assert();
        let assert =
            assert.success().stdout("hi").stderr(contains("* by the HTTP proxy 127.0.0.1"));
        let said = String::from_utf8(assert.get_output().stderr.clone())?;
        ensure!(!said.contains("word"), "the password is shown: {said}");
        let asked = proxy.asked()?;
        ensure!(
            asked.starts_with("CONNECT localhost:7 HTTP/1.1\r\nhost: localhost:7\r\n"),
            "{asked}"
        );
        // base64("user:pass word")
        ensure!(asked.contains("proxy-authorization: Basic dXNlcjpwYXNzIHdvcmQ=\r\n"), "{asked}");
        ensure!(server.wait()?.code == Some(0));
    }
    Ok(())
}

#[test]
fn a_socks_proxy_is_given_names_or_addresses_as_its_scheme_says() -> TestResult {
    for (scheme, expected) in
        [("socks5h://u:p@", "u:p@no-such.invalid 7"), ("socks5://", "127.0.0.7 7")]
    {
        let (server, addr) = echo(&[])?;
        let proxy = Proxy::socks(addr)?;
        let by = format!("{scheme}{}", proxy.addr);
        let resolve = "no-such.invalid:7:127.0.0.7";
        let url = "https://no-such.invalid:7/";
        h2conn(["connect", "-k", "-x", &by, "--resolve", resolve, url])
            .write_stdin("hi")
            .assert()
            .success()
            .stdout("hi");
        let asked = proxy.asked()?;
        ensure!(asked == expected, "{asked}");
        ensure!(server.wait()?.code == Some(0));
    }
    Ok(())
}

#[test]
fn the_environment_names_a_proxy_and_for_whom_there_is_none() -> TestResult {
    let (server, addr) = echo(&["--keep-open"])?;
    let run = |args: &[&str], variables: &[(&str, &str)]| {
        let mut command = h2conn([&["connect", "-k"], args].concat());
        command.envs(variables.iter().copied()).write_stdin("hi").assert()
    };
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "H2CONN_PROXY"] {
        let proxy = Proxy::http(addr.clone())?;
        let by = format!("http://{}", proxy.addr);
        run(&["https://no-such.invalid/"], &[(variable, &by)]).success().stdout("hi");
        ensure!(proxy.asked()?.starts_with("CONNECT no-such.invalid:443 "));
    }
    // No proxy listens at this address.
    let nobody = ("HTTPS_PROXY", "http://127.0.0.1:1");
    for covering in ["127.0.0.0/8", "*", "x.example, 127.0.0.1", &addr] {
        run(&[&server.url], &[nobody, ("NO_PROXY", covering)]).success().stdout("hi");
    }
    for beside in ["localhost", "127.0.0.1:1"] {
        let said = contains("HTTP proxy 127.0.0.1:1");
        run(&[&server.url], &[nobody, ("NO_PROXY", beside)]).code(2).stderr(said);
    }
    let unclear = contains("NO_PROXY cannot be used: its entry \"10.0.0.0/33\" is not known here");
    run(&[&server.url], &[nobody, ("NO_PROXY", "10.0.0.0/33")]).code(1).stderr(unclear);
    // Here no variable names a proxy.
    run(&[&server.url], &[("NO_PROXY", "10.0.0.0/33")]).success().stdout("hi");
    run(&["-x", "", &server.url], &[nobody]).success().stdout("hi");
    let given = ["-x", "http://127.0.0.1:1", &server.url];
    run(&given, &[("NO_PROXY", "127.0.0.0/8")]).success().stdout("hi");
    run(&[&server.url], &[nobody]).code(2).stderr(contains("HTTP proxy 127.0.0.1:1"));
    run(&[&server.url], &[("HTTPS_PROXY", "https://x")]).code(1).stderr(contains("is not known"));
    // As in curl, lower case comes before upper case, and the scheme's own variable before
    // ALL_PROXY.
    #[cfg(not(windows))]
    {
        let lower = ("https_proxy", "http://127.0.0.1:2");
        run(&[&server.url], &[nobody, lower]).code(2).stderr(contains("HTTP proxy 127.0.0.1:2"));
        let both = [nobody, ("no_proxy", "127.0.0.1"), ("NO_PROXY", "x")];
        run(&[&server.url], &both).success().stdout("hi");
        let both = [nobody, ("no_proxy", "x"), ("NO_PROXY", "127.0.0.1")];
        run(&[&server.url], &both).code(2).stderr(contains("HTTP proxy 127.0.0.1:1"));
        let both = [nobody, ("no_proxy", ""), ("NO_PROXY", "127.0.0.1")];
        run(&[&server.url], &both).success().stdout("hi");
    }
    let all = ("ALL_PROXY", "http://127.0.0.1:2");
    run(&[&server.url], &[nobody, all]).code(2).stderr(contains("HTTP proxy 127.0.0.1:1"));
    let unknown = ("HTTPS_PROXY", "socks://127.0.0.1:1");
    run(&[&server.url], &[unknown, all]).code(1).stderr(contains("known here"));
    run(&[&server.url], &[unknown]).code(1).stderr(contains("known here"));
    run(&[&server.url], &[unknown, ("NO_PROXY", "127.0.0.0/8")]).success().stdout("hi");
    Ok(())
}

#[test]
fn a_proxy_that_refuses_or_is_none_is_told_apart() -> TestResult {
    let table = [
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "wants a name and password"),
        ("HTTP/1.1 403 Not for you\r\n\r\n", "403 Not for you to CONNECT host:443"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "is it an HTTP proxy"),
        ("HTTP/1.1 200 OK\r\n", "closed the connection before"),
        ("", "closed the connection before"),
    ];
    for (answer, expected) in table {
        let proxy = Proxy::new(move |mut client| {
            let mut head = String::new();
            BufReader::new(client.try_clone()?).read_line(&mut head)?;
            client.write_all(answer.as_bytes())?;
            client.shutdown(std::net::Shutdown::Write)?;
            let _ = client.read_to_end(&mut Vec::new());
            Ok(head)
        })?;
        let by = format!("http://{}", proxy.addr);
        h2conn(["connect", "-x", &by, "https://host/"]).assert().code(2).stderr(contains(expected));
        proxy.asked()?;
    }
    // A proxy that never ends its answer is not read for ever.
    let proxy = Proxy::new(|mut client| {
        let line = format!("x-filler: {}\r\n", "x".repeat(1000));
        client.write_all(b"HTTP/1.1 200 OK\r\n")?;
        while client.write_all(line.as_bytes()).is_ok() {}
        Ok(String::new())
    })?;
    let by = format!("http://{}", proxy.addr);
    h2conn(["connect", "-x", &by, "https://host/"])
        .assert()
        .code(2)
        .stderr(contains("longer than"));
    proxy.asked()?;
    Ok(())
}
