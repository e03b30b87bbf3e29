//! The commands of `docs/cli.md`, run as its readers type them but for ports, in the order of the document.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, ensure};
use rustix::process::Signal;

use crate::reach::{self, Site};
use crate::shell::{Shell, port};
use crate::support::{Ended, Server, TestResult, noise};
use crate::tools::skipped;

const DOCUMENT: &str = include_str!("../../../../docs/cli.md");

/// Commands that no test runs, and why.
const NOT_RUN: [(&str, &str); 3] = [
    ("cargo install --path crates/cli", "it builds the tool again, for release, and installs it"),
    ("sudo systemctl enable --now h2conn", "it needs root, and systemd as the first process"),
    ("journalctl -u h2conn", "it needs the journal of systemd"),
];

/// The headings under which there are commands that a test below runs.
const SECTIONS: [&str; 5] = ["Quick start", "Options", "WebSockets", "Tunnels", "Files"];

/// The page of the web server.
const PAGE: &str = "<p>It works</p>\n";

/// A command, and the lines below it in the document.
#[derive(Clone, Debug)]
struct Typed {
    section: String,
    line: String,
    shown: Vec<String>,
}

/// All commands in blocks of the kind `console`.
fn all() -> Vec<Typed> {
    let (mut section, mut is_console, mut is_open) = (String::new(), false, false);
    let mut all: Vec<Typed> = Vec::new();
    for line in DOCUMENT.lines() {
        if line.starts_with("```") {
            is_console = line == "```console";
        } else if !is_console {
            if let Some(heading) = line.trim_start_matches('#').strip_prefix(' ')
                && line.starts_with('#')
            {
                section = heading.to_owned();
            }
        } else if let Some(typed) = line.strip_prefix("$ ") {
            is_open = typed.ends_with('\\');
            let (section, line) = (section.clone(), typed.to_owned());
            all.push(Typed { section, line, shown: Vec::new() });
        } else if let Some(last) = all.last_mut() {
            match is_open {
                true => {
                    is_open = line.ends_with('\\');
                    last.line.push('\n');
                    last.line.push_str(line);
                }
                false => last.shown.push(line.to_owned()),
            }
        }
    }
    all
}

/// The commands under a heading, as many as the test runs.
fn typed<const N: usize>(section: &str) -> TestResult<[Typed; N]> {
    let of_it = all().into_iter().filter(|typed| typed.section == section && !is_not_run(typed));
    let of_it: Vec<_> = of_it.collect();
    of_it.try_into().map_err(|other| anyhow::anyhow!("other commands of {section}: {other:#?}"))
}

fn is_not_run(typed: &Typed) -> bool {
    NOT_RUN.iter().any(|(line, _)| *line == typed.line)
}

impl Typed {
    /// The command with other numbers: ports may be taken on this machine.
    fn with(&self, numbers: &[(&str, &str)]) -> Typed {
        let other = |text: &String| with_numbers(text, numbers);
        let shown = self.shown.iter().map(other).collect();
        Typed { section: self.section.clone(), line: other(&self.line), shown }
    }

    /// Fails unless the output begins with the lines that the document shows.
    fn check(&self, said: &str) -> TestResult {
        // Nothing would be compared.
        ensure!(!self.shown.is_empty(), "{}: the document shows no output", self.line);
        // `localhost` is either of two addresses.
        let said = said.replace("[::1]", "127.0.0.1");
        // A busy machine can take long, and the tool says what it waits for.
        let mut lines = said.lines().filter(|line| !line.contains(" after 3 s; still "));
        for shown in &self.shown {
            let line = lines.next().unwrap_or_default();
            let pattern = pattern(shown);
            ensure!(matches(&pattern, line), "{}: expected {pattern:?} in:\n{said}", self.line);
        }
        Ok(())
    }

    /// Ends a server, which must have printed the lines that the document shows.
    fn check_to_its_end(&self, server: Server) -> TestResult<Ended> {
        let ended = server.interrupt()?;
        self.check(&ended.stderr)?;
        ensure!(ended.code == Some(0), "{}: {ended:?}", self.line);
        Ok(ended)
    }
}

/// The text with some of its numbers replaced, all at once.
fn with_numbers(text: &str, numbers: &[(&str, &str)]) -> String {
    let (mut all, mut rest) = (String::new(), text);
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(start);
        let end = from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len());
        let (number, behind) = from.split_at(end);
        let other = numbers.iter().find(|(old, _)| *old == number);
        all.push_str(before);
        all.push_str(other.map_or(number, |(_, new)| new));
        rest = behind;
    }
    all + rest
}

/// The text with another fingerprint instead of those that the document cuts short, as `5E:0A:…`.
fn with_fingerprint(text: &str, other: &str) -> String {
    let is_fingerprint = |word: &str| {
        let is_pair = |pair: &str| pair.len() == 2 && u8::from_str_radix(pair, 16).is_ok();
        word.strip_suffix(":…").is_some_and(|pairs| pairs.split(':').all(is_pair))
    };
    let words = text.split(' ').map(|word| if is_fingerprint(word) { other } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// The line with `…` for all that differs from run to run: fingerprints, and times in seconds.
fn pattern(shown: &str) -> String {
    let shown = with_fingerprint(shown, "…");
    let mut words: Vec<&str> = shown.split(' ').collect();
    for at in 1..words.len() {
        if words[at].trim_end_matches(',') == "s" && words[at - 1].parse::<f64>().is_ok() {
            words[at - 1] = "…";
        }
    }
    words.join(" ")
}

/// Whether a line is as the pattern shows it, with any text for each `…`.
fn matches(pattern: &str, line: &str) -> bool {
    let Some((head, pattern)) = pattern.split_once('…') else { return pattern == line };
    let Some(rest) = line.strip_prefix(head) else { return false };
    let starts = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
    starts.into_iter().any(|at| matches(pattern, &rest[at..]))
}

/// A web server with one page. It ends with the test.
fn web_server() -> TestResult<String> {
    let listener = TcpListener::bind("localhost:0")?;
    let port = listener.local_addr()?.port().to_string();
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || give_page(&socket));
        }
    });
    Ok(port)
}

fn give_page(mut socket: &TcpStream) -> std::io::Result<()> {
    let request = BufReader::new(socket).lines().map_while(Result::ok);
    request.take_while(|line| !line.is_empty()).for_each(drop);
    let len = PAGE.len();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n");
    socket.write_all((head + PAGE).as_bytes())
}

/// The port in the line of a server.
fn port_in(line: &str) -> TestResult<String> {
    let port = line.split("127.0.0.1:").nth(1).context("an address")?;
    let digits: String = port.chars().take_while(char::is_ascii_digit).collect();
    Ok(digits)
}

#[test]
fn each_command_is_run_by_a_test_or_there_is_a_reason() {
    let all = all();
    for (line, why) in NOT_RUN {
        assert!(all.iter().any(|typed| typed.line == line), "not in the document: {line} ({why})");
    }
    let run = all.iter().filter(|typed| !is_not_run(typed));
    let mut sections: Vec<&str> = run.map(|typed| typed.section.as_str()).collect();
    sections.dedup();
    assert_eq!(sections, SECTIONS, "a section with commands needs a test of its own here");
}

#[test]
fn a_command_without_output_in_the_document_passes_no_comparison() {
    let mut typed = all().remove(0);
    typed.shown.clear();
    assert!(typed.check("any output\n").is_err());
}

#[test]
fn what_a_line_shows_is_compared_but_for_what_differs_from_run_to_run() {
    let shown = "sent big: 95.37 MiB in 0.4 s, …";
    assert!(matches(&pattern(shown), "sent big: 95.37 MiB in 12.0 s, 8 MiB/s, SHA-256 0011"));
    assert!(!matches(&pattern(shown), "sent big: 95.36 MiB in 12.0 s, 8 MiB/s, SHA-256 0011"));
    assert!(!matches(&pattern(shown), "sent big: 95.37 MiB in 12.0 s"));
    let shown = "certificate made on the spot, SHA-256 A6:23:…";
    assert!(matches(&pattern(shown), "certificate made on the spot, SHA-256 00:11:22"));
    assert!(!matches(&pattern(shown), "certificate kept in a file, SHA-256 00:11:22"));
    assert!(!matches(&pattern("listening on 127.0.0.1:1"), "listening on 127.0.0.1:12"));
    assert_eq!(with_numbers("80:8080-80 x", &[("80", "8080"), ("8080", "1")]), "8080:1-8080 x");
}

#[test]
fn those_of_the_quick_start_and_of_the_options_do_what_the_document_shows() -> TestResult {
    let shell = Shell::new()?;
    let [listen, hello, ping, kept] = typed("Quick start")?;
    let [pinned] = typed("Options")?;

    let server = shell.listen(&listen.with(&[("9445", "0")]).line)?;
    let at = port(&server)?;
    let here = [("9445", at.as_str())];
    let (answer, said) = shell.output(&hello.with(&here).line, "")?;
    ensure!(answer.lines().eq(&hello.shown) && !said.contains("warning"), "{answer:?}, {said:?}");
    let answer = shell.run(&ping.with(&here).line, "")?;
    ensure!(answer.contains("3 pings sent, 3 answered"), "{answer}");
    listen.with(&here).check_to_its_end(server)?;

    let mut fingerprints = Vec::new();
    for shown in [&kept.shown, &kept.shown.iter().map(|l| l.replace(" made and", "")).collect()] {
        let server = shell.listen(&kept.with(&[("9445", "0")]).line)?;
        let at = port(&server)?;
        let shown = Typed { shown: shown.clone(), ..kept.clone() }.with(&[("9445", at.as_str())]);
        // The document's fingerprint is cut short. The client learns the whole of it from the second line.
        let certificate = h2conn::tls::Identity::from_pem_files(
            shell.path().join("identity.pem"),
            shell.path().join("identity.pem"),
        )?;
        let fingerprint = certificate.fingerprint();
        let line = with_fingerprint(&pinned.with(&[("9445", at.as_str())]).line, &fingerprint);
        ensure!(line.contains(&fingerprint), "{line}");
        ensure!(shell.run(&line, "hi")? == "hi");
        let ended = shown.check_to_its_end(server)?;
        ensure!(ended.stderr.contains(&fingerprint), "{}", ended.stderr);
        fingerprints.push(fingerprint);
    }
    ensure!(fingerprints[0] == fingerprints[1], "a restart has another certificate");
    Ok(())
}

#[test]
fn that_of_websockets_talks_to_a_server_line_by_line() -> TestResult {
    let [chat] = typed("WebSockets")?;
    let site = Site::new(reach::echo)?;
    let here = chat.line.replace("wss://server.example", &format!("ws://localhost:{}", site.port));
    ensure!(Shell::new()?.run(&here, "hello\nagain\n")? == "hello\nagain\n");
    site.join()?;
    Ok(())
}

#[test]
fn those_of_tunnels_and_files_do_what_the_document_shows() -> TestResult {
    let shell = Shell::new()?;
    for program in ["openssl", "curl"] {
        if !shell.has(program) {
            skipped(format_args!("the commands of docs/cli.md: there is no program `{program}`"));
            return Ok(());
        }
    }
    let [certificate, token, folder, serve, forward, local, socks, remote] = typed("Tunnels")?;
    let [big, send, recv] = typed("Files")?;
    for typed in [&certificate, &token, &folder] {
        shell.run(&typed.line, "")?;
    }
    ensure!(shell.read("token")?.trim().len() == 64);

    let web = web_server()?;
    // Any free port, instead of one that may be taken.
    let any = [("8444", "0"), ("8080", web.as_str()), ("9000", "0"), ("9099", "65535")];
    let server = shell.listen(&serve.with(&any).line)?;
    let at = port(&server)?;
    let here = |more: &[(&'static str, &'static str)]| {
        let mut numbers = vec![("8444", at.as_str()), ("8080", web.as_str())];
        numbers.extend(more);
        numbers
    };
    let free = forward.with(&here(&[("9999", "0"), ("1080", "0"), ("9000", "0")]));
    let mut forwarding = shell.listen(&free.line)?;
    let shown = forward.with(&here(&[("9999", "…"), ("1080", "…"), ("9000", "…")]));
    let mut ports = vec![port_in(&forwarding.url)?];
    for line in &shown.shown[1..] {
        ports.push(port_in(&forwarding.says(line, |said| matches(line, said))?)?);
    }
    let there = [("9999", &*ports[0]), ("1080", &*ports[1]), ("9000", &*ports[2])];
    for curl in [&local, &socks, &remote] {
        let curl = curl.with(&there).with(&[("8080", web.as_str())]);
        ensure!(shell.run(&curl.line, "")? == PAGE, "{}", curl.line);
    }
    shown.check_to_its_end(forwarding)?;

    shell.run(&big.line, "")?;
    for (transfer, file) in [(&send, "files/big"), (&recv, "copy")] {
        let transfer = transfer.with(&here(&[]));
        let (data, said) = shell.output(&transfer.line, "")?;
        ensure!(data.is_empty());
        transfer.check(&said)?;
        shell.run(&format!("cmp big {file}"), "")?;
    }
    let ended = serve.with(&here(&[])).check_to_its_end(server)?;
    ensure!(!ended.stderr.contains("warning"), "{}", ended.stderr);
    Ok(())
}

#[test]
fn the_command_of_the_unit_serves_files_and_ends_in_order() -> TestResult {
    let shell = Shell::new()?;
    let unit = DOCUMENT.split("ExecStart=/usr/local/bin/").nth(1).context("a unit")?;
    // A line ends the command unless a backslash is before its end.
    let mut lines = unit.split_inclusive('\n');
    let mut command = String::new();
    for line in &mut lines {
        command += line;
        if !line.ends_with("\\\n") {
            break;
        }
    }
    let pem = h2conn::tls::Identity::self_signed_pem(["localhost"])?;
    let (certificate, key) = pem.split_at(pem.find("-----BEGIN PRIVATE").context("a key")?);
    for folder in ["credentials", "state"] {
        std::fs::create_dir(shell.path().join(folder))?;
    }
    for (name, text) in [("cert.pem", certificate), ("key.pem", key), ("token", "a-token\n")] {
        shell.write(&format!("credentials/{name}"), text)?;
        shell.run(&format!("chmod 400 credentials/{name}"), "")?;
    }
    let unit = with_numbers(command.trim(), &[("8444", "0")]);
    let line = format!("CREDENTIALS_DIRECTORY=credentials; STATE_DIRECTORY=state; exec {unit}");
    let server = Server::run(&mut shell.command("sh", &line)?)?;
    let at = port(&server)?;
    let file = noise(1000);
    std::fs::write(shell.path().join("file"), &file)?;
    let client = "--cacert credentials/cert.pem --token-file credentials/token";
    shell.run(&format!("h2conn send {client} file localhost:{at}/files/"), "")?;
    ensure!(std::fs::read(shell.path().join("state/file"))? == file);
    // As `systemctl stop` does.
    server.signal(Signal::TERM)?;
    let ended = server.wait()?;
    ensure!(ended.code == Some(0), "{ended:?}");
    ensure!(!ended.stderr.contains("warning"), "{}", ended.stderr);
    Ok(())
}
