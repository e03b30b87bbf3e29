//! `-v` and `--stats`: messages beside the data, and never in it.

use anyhow::{Context, ensure};

use crate::support::{Server, TestResult, h2conn};

#[test]
fn a_verbose_connection_tells_of_its_ends_its_certificate_settings_and_fields() -> TestResult {
    let server = Server::start(&["--echo", "-v"])?;
    let args = ["connect", "-vk", "-H", "authorization: hunter2", "-H", "x-a: b", &server.url];
    let assert = h2conn(args).write_stdin("data").assert().success().stdout("data");
    let said = String::from_utf8(assert.get_output().stderr.clone())?;
    for part in [
        "* connected from 127.0.0.1:",
        "* certificate of the server: for localhost, 127.0.0.1",
        "* certificate of the server: SHA-256 ",
        "* settings of the peer: ",
        "max_concurrent_streams=",
        "> POST https://",
        "> authorization: (hidden)",
        "> x-a: b",
        "< 200 OK",
        "* closed: the peer has ended it",
    ] {
        ensure!(said.contains(part), "{part:?} is not in: {said}");
    }
    ensure!(!said.contains("hunter2"), "{said}");
    let ended = server.wait()?;
    let fingerprint = ended.stderr.lines().find_map(|line| line.split_once("SHA-256 "));
    let (_, fingerprint) = fingerprint.context("a fingerprint")?;
    ensure!(said.contains(fingerprint), "it is another certificate's: {said}");
    for part in ["* connection from 127.0.0.1:", "< POST ", "< x-a: b", "* settings of the peer: "]
    {
        ensure!(ended.stderr.contains(part), "{part:?} is not in: {}", ended.stderr);
    }
    Ok(())
}

#[test]
fn twice_verbose_also_shows_the_log() -> TestResult {
    let server = Server::start(&["--echo"])?;
    let assert = h2conn(["connect", "-vvk", &server.url]).assert().success().stdout("");
    let said = String::from_utf8(assert.get_output().stderr.clone())?;
    ensure!(said.contains("link opened") && !said.contains("kind="), "{said}");
    Ok(())
}

#[test]
fn three_times_verbose_also_shows_each_frame_of_both_directions() -> TestResult {
    let server = Server::start(&["--echo"])?;
    let args = ["connect", "-vvvk", &server.url];
    let assert = h2conn(args).write_stdin("12345").assert().success().stdout("12345");
    let said = String::from_utf8(assert.get_output().stderr.clone())?;
    for way in ["sent", "received"] {
        for kind in ["SETTINGS", "HEADERS", "DATA"] {
            let frame = format!("way=\"{way}\" kind=\"{kind}\"");
            ensure!(said.contains(&frame), "{frame:?} is not in: {said}");
        }
        let data = format!("way=\"{way}\" kind=\"DATA\" flags=0 len=5 stream=1");
        ensure!(said.contains(&data), "{data:?} is not in: {said}");
    }
    Ok(())
}

#[test]
fn statistics_count_the_bytes_of_the_user() -> TestResult {
    let server = Server::start(&["--echo", "--keep-open"])?;
    let url = server.url.as_str();
    let assert = h2conn(["connect", "-k", "--stats", url]).write_stdin("12345").assert().success();
    let said = String::from_utf8(assert.get_output().stderr.clone())?;
    ensure!(said.contains("sent 5 bytes") && said.contains("received 5 bytes"), "{said}");
    let assert = h2conn(["connect", "-k", "--stats=json", url]).write_stdin("12345").assert();
    let stats: serde_json::Value = serde_json::from_slice(&assert.get_output().stderr)?;
    ensure!(stats["bytes_sent"] == 5 && stats["bytes_read"] == 5, "{stats}");
    ensure!(stats["seconds"].as_f64().context("a number")? > 0.0, "{stats}");
    Ok(())
}
