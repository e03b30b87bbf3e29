//! The examples of the help texts, run as they stand there but for hosts and ports.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::thread;

use anyhow::{Context, ensure};

use crate::reach::{self, Site};
use crate::shell::{Shell, echo, port};
use crate::support::{Server, TestResult, h2conn};

/// The examples of a command, as many as the test runs.
fn examples<const N: usize>(command: &str) -> TestResult<[String; N]> {
    let assert = h2conn([command, "--help"]).assert().success();
    let help = String::from_utf8(assert.get_output().stdout.clone())?.replace("\\\n", " ");
    let lines = help.lines().filter_map(|line| line.strip_prefix("    $ ").map(str::to_owned));
    let lines: Vec<_> = lines.collect();
    lines.try_into().map_err(|lines| anyhow::anyhow!("other examples of {command}: {lines:?}"))
}

/// Sends two bytes to a port of this machine, and gives the answer.
fn ask(port: &str) -> TestResult<String> {
    let mut socket = TcpStream::connect(format!("127.0.0.1:{port}"))?;
    socket.write_all(b"hi")?;
    socket.shutdown(std::net::Shutdown::Write)?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn those_of_listen_connect_and_ping_do_what_they_say() -> TestResult {
    let shell = Shell::new()?;
    let [talk, echoes, exec, to] = examples("listen")?;
    let [plain, file, fields, unix, websocket] = examples("connect")?;
    let [three, fifty] = examples("ping")?;
    let [_, _, certificate, _] = examples::<4>("serve")?;
    let here =
        |line: &str, port: &str| line.replace("9445", port).replace("server.example", "localhost");

    let server = shell.listen(&here(&echoes, "0"))?;
    let at = port(&server)?;
    for _ in 0..2 {
        ensure!(shell.run(&here(&plain, &at), "hi")? == "hi");
    }
    ensure!(shell.run(&here(&three, &at), "")?.contains("3 pings sent, 3 answered"));

    let server = shell.listen(&here(&exec, "0"))?;
    let at = port(&server)?;
    shell.certificate(&certificate)?;
    shell.write("question.txt", "1\n2\n3\n")?;
    shell.run(&here(&file, &at), "")?;
    ensure!(shell.read("answer.txt")? == "3\n2\n1\n");
    let quiet = shell.run(&here(&fifty, &at).replace("100ms", "1ms"), "")?;
    ensure!(quiet.contains("50 pings sent") && !quiet.contains("seq="), "{quiet}");
    shell.write("fields.txt", "authorization: Bearer hunter2\n")?;
    let fields = here(&fields, &at).replace("localhost/", &format!("localhost:{at}/"));
    ensure!(shell.run(&fields, "1\n2\n")? == "2\n1\n");

    let mut talk = shell.command("sh", &format!("echo welcome | {}", here(&talk, "0")))?;
    let server = Server::run(talk.stdout(Stdio::piped()))?;
    ensure!(shell.run(&here(&plain, &port(&server)?), "hello")? == "welcome\n");
    let ended = server.wait()?;
    ensure!(ended.code == Some(0) && ended.stdout == b"hello", "{ended:?}");

    let server = shell.listen(&here(&to, "0").replace("5432", &echo()?))?;
    ensure!(shell.run(&here(&plain, &port(&server)?), "hi")? == "hi");

    let _server = shell.listen("h2conn listen unix:app.sock --cleartext --echo")?;
    ensure!(shell.run(&unix, "hi")? == "hi");

    let site = Site::new(reach::echo)?;
    let websocket =
        websocket.replace("wss://server.example", &format!("ws://localhost:{}", site.port));
    ensure!(shell.run(&websocket, "hi\n")? == "hi\n");
    site.join()?;
    Ok(())
}

#[test]
fn those_of_doctor_do_what_they_say() -> TestResult {
    let shell = Shell::new()?;
    let [server, doctor, long] = examples("doctor")?;
    let server = shell.listen(&server.replace("7001", "0"))?;
    let at = port(&server)?;
    let here =
        |line: &str| line.replace("https://localhost:7443/", &format!("http://localhost:{at}/"));
    let told = shell.run(&here(&doctor), "")?;
    ensure!(told.contains("All is well by HTTP/2") && !told.contains("FAULT"), "{told}");
    // Its silences take minutes.
    let told = shell.run(&here(&long).replace("--slow ", ""), "")?;
    let told: serde_json::Value = serde_json::from_str(&told)?;
    ensure!(told["findings"].as_array().is_some_and(|findings| findings.len() > 20), "{told}");
    Ok(())
}

#[test]
fn those_of_serve_forward_send_and_recv_do_what_they_say() -> TestResult {
    let shell = Shell::new()?;
    let [token, tunnels, certificate, files] = examples("serve")?;
    let [same, two, remote] = examples("forward")?;
    let (send, recv) = (examples::<2>("send")?, examples::<2>("recv")?);
    let here =
        |line: &str, port: &str| line.replace("server.example:8444", &format!("localhost:{port}"));
    match shell.run(&token, "") {
        Ok(_) => ensure!(shell.read("token")?.trim().len() == 64),
        Err(_) => shell.write("token", "a-token-for-tests\n")?,
    }

    let target = echo()?;
    // The ports of the examples may be taken.
    let tunnels = here(&tunnels, "0").replace("9999", &target).replace("9000-9099", "*");
    let server = shell.listen(&tunnels)?;
    let at = port(&server)?;
    shell.certificate(&certificate)?;
    let two = here(&two, &at).replace("web.internal:80", &format!("localhost:{target}"));
    let forward = shell.listen(&two.replace("8080:", "0:").replace("1080", "0"))?;
    let local = forward.url.split(',').next().and_then(|addr| addr.rsplit_once(':'));
    ensure!(ask(local.context("an address")?.1)? == "hi");
    // Both ends are on one machine here, so the port of one is not free for the other.
    let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
    let forward = shell.listen(&here(&same, &at).replace("9999", &free))?;
    ensure!(forward.url == format!("127.0.0.1:{free}, for localhost:{free}"), "{}", forward.url);
    let remote =
        here(&remote, &at).replace("9000:localhost:8080", &format!("0:localhost:{target}"));
    let mut forward = shell.command("sh", &format!("exec {remote} 2>forward.log"))?.spawn()?;
    let answer = loop {
        let said = shell.read("forward.log").unwrap_or_default();
        if let Some((_, rest)) = said.split_once("the server forwards 127.0.0.1:") {
            break ask(rest.split(' ').next().context("a port")?);
        }
        ensure!(forward.try_wait()?.is_none(), "{said}");
        thread::yield_now();
    };
    forward.kill()?;
    forward.wait()?;
    ensure!(answer? == "hi");

    std::fs::create_dir(shell.path().join("files"))?;
    let server = shell.listen(&here(&files, "0"))?;
    let at = port(&server)?;
    shell.write("report.pdf", "the report")?;
    for line in &send {
        shell.run(&here(line, &at), "")?;
    }
    ensure!(shell.read("files/march.pdf")? == "the report");
    std::fs::remove_file(shell.path().join("report.pdf"))?;
    shell.write("march.pdf", "an older one")?;
    for line in &recv {
        shell.run(&here(line, &at), "")?;
    }
    ensure!(shell.read("report.pdf")? == "the report");
    ensure!(shell.read("march.pdf")? == "the report");
    Ok(())
}

#[test]
fn those_of_completions_and_man_do_what_they_say() -> TestResult {
    let shell = Shell::new()?;
    let [bash] = examples("completions")?;
    let [page, pages] = examples("man")?;
    let completed = shell.command("bash", &format!("{bash} && complete -p h2conn"))?.output()?;
    let said = String::from_utf8(completed.stdout)?;
    ensure!(said.contains("_h2conn"), "{said}");
    // Not every machine has a `man`.
    let roff = shell.run(&page.replace("man -l -", "cat"), "")?;
    ensure!(roff.contains("Examples:") && roff.contains("h2conn connect"), "{roff}");
    shell.run(&pages, "")?;
    ensure!(shell.read("man1/h2conn-connect.1")?.contains(".TH"));
    Ok(())
}
