//! `listen --exec`: a process for each connection.

use std::process::Stdio;

use anyhow::{Context, ensure};
#[cfg(unix)]
use h2conn::Client;
#[cfg(unix)]
use h2conn::testing::{Flow, Line, Network};
use predicates::str::contains;
#[cfg(unix)]
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

#[cfg(unix)]
use crate::support::all_at_once;
use crate::support::{Server, TestResult, Watch, h2conn, noise, program, wait};

#[test]
fn a_command_that_answers_after_the_end_of_its_input_has_its_answer_heard() -> TestResult {
    let server = Server::start(&["--exec", "sort -r"])?;
    let sorted = h2conn(["connect", "-k", &server.url]).write_stdin("1\n3\n2\n").assert().success();
    sorted.stdout("3\n2\n1\n");
    let ended = server.wait()?;
    ensure!(ended.code == Some(0), "{ended:?}");
    Ok(())
}

#[test]
fn a_command_that_fails_resets_the_connection_after_what_it_has_said() -> TestResult {
    let server = Server::start(&["--exec", "echo so far; exit 3"])?;
    h2conn(["connect", "-k", &server.url])
        .assert()
        .code(5)
        .stdout("so far\n")
        .stderr(contains("INTERNAL_ERROR"));
    let ended = server.wait()?;
    ensure!(ended.code == Some(7) && ended.stderr.contains("exit status: 3"), "{ended:?}");
    Ok(())
}

#[cfg(unix)]
#[test]
fn an_answer_that_did_not_arrive_before_the_listeners_time_was_up_is_no_success() -> TestResult {
    let case = |args: &'static [&str], code: i32| {
        move || {
            let answer = ["--cleartext", "--exec", "head -c 100000 /dev/zero"];
            let server = Server::start(&[&answer[..], args].concat())?;
            let addr = server.url.trim_start_matches("http://").trim_end_matches('/').parse()?;
            let ended = tokio::runtime::Runtime::new()?.block_on(async {
                let network = Network::new();
                network.set_down(Line::new().after(50_000, Flow::Stopped));
                let mut conn =
                    Client::new()?.open(format!("http://{}/", network.relay(addr).await?)).await?;
                conn.shutdown().await?;
                conn.read_exact(&mut [0; 40_000]).await?;
                // The command has said everything, and the system has taken it.
                server.interrupt()
            })?;
            let said = ended.stderr.contains("time is up");
            ensure!(ended.code == Some(code) && said, "{ended:?}");
            Ok(())
        }
    };
    all_at_once([("one", case(&[], 5)), ("any number", case(&["--keep-open"], 0))])
}

#[test]
fn a_command_that_has_read_enough_closes_a_connection_with_input_left() -> TestResult {
    let server = Server::start(&["--exec", "head -n 1"])?;
    let mut endless = std::process::Command::new("yes").stdout(Stdio::piped()).spawn()?;
    let output = program()
        .args(["connect", "-k", &server.url])
        .stdin(endless.stdout.take().context("a pipe")?)
        .output()?;
    let _ = endless.kill();
    endless.wait()?;
    ensure!(output.status.success() && output.stdout == b"y\n", "{output:?}");
    ensure!(server.wait()?.code == Some(0));
    Ok(())
}

#[test]
fn a_command_knows_who_has_come_and_what_for() -> TestResult {
    let command = "echo $H2CONN_METHOD $H2CONN_PATH ${H2CONN_PEER%:*}";
    let server = Server::start(&["--exec", command])?;
    h2conn(["connect", "-k", "-X", "PUT", &format!("{}a?b=c", server.url)])
        .assert()
        .success()
        .stdout("PUT /a?b=c 127.0.0.1\n");
    Ok(())
}

#[test]
fn a_command_ends_with_all_it_has_started_when_its_peer_is_lost() -> TestResult {
    let folder = tempfile::tempdir()?;
    let (started, ended) = (folder.path().join("started"), folder.path().join("ended"));
    // The shell's child waits for ever, and reports when it is told to end.
    let command = format!(
        "sh -c 'trap \"touch {}; exit\" TERM; touch {}; while :; do sleep 0.1; done'; :",
        ended.display(),
        started.display()
    );
    let server = Server::start(&["--keep-open", "--exec", &command])?;
    let mut child = program().args(["connect", "-k", &server.url]).stdin(Stdio::piped()).spawn()?;
    let appears = |path: &std::path::Path| -> TestResult {
        let began = std::time::Instant::now();
        while !path.exists() {
            ensure!(began.elapsed() < crate::support::WATCHDOG, "{} does not come", path.display());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Ok(())
    };
    appears(&started)?;
    child.kill()?;
    wait(&mut child)?;
    appears(&ended)?;
    let ended = server.interrupt()?;
    ensure!(ended.code == Some(0), "{ended:?}");
    Ok(())
}

#[test]
fn a_lost_peer_is_noticed_though_it_had_ended_its_direction() -> TestResult {
    let watch = Watch::new()?;
    let command = format!("{}; sleep 4242; :", watch.hold);
    let server = Server::start(&["--keep-open", "--exec", &command])?;
    let mut child = program().args(["connect", "-k", &server.url]).stdin(Stdio::null()).spawn()?;
    watch.started()?;
    child.kill()?;
    wait(&mut child)?;
    watch.gone()
}

#[test]
fn a_lost_peer_is_noticed_though_the_command_does_not_read_what_it_has_sent() -> TestResult {
    let watch = Watch::new()?;
    let command = format!("{}; sleep 4242; :", watch.hold);
    let server = Server::start(&["--keep-open", "--cleartext", "--exec", &command])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let conn = runtime.block_on(async {
        let client = h2conn::Client::builder().build()?;
        let mut conn = client.open(&server.url).await?;
        // More than a pipe holds.
        conn.write_all(&noise(250_000)).await?;
        conn.sent().await?;
        anyhow::Ok(conn)
    })?;
    watch.started()?;
    // The link breaks silently.
    drop(runtime);
    drop(conn);
    watch.gone()
}

/// A server whose command does not end when it is asked to, while its shell does. Its peer is then
/// lost.
fn stubborn() -> TestResult<(Watch, Server)> {
    let watch = Watch::new()?;
    let command = format!("(trap '' TERM; {}; sleep 4242; :) & wait", watch.hold);
    let server = Server::start(&["--keep-open", "--exec", &command])?;
    let mut child = program().args(["connect", "-k", &server.url]).stdin(Stdio::null()).spawn()?;
    watch.started()?;
    child.kill()?;
    wait(&mut child)?;
    Ok((watch, server))
}

#[test]
fn what_does_not_end_when_it_is_asked_to_is_made_to_though_the_shell_has_ended() -> TestResult {
    let (watch, _server) = stubborn()?;
    watch.gone()
}

#[test]
fn a_listener_that_ends_leaves_nothing_that_does_not_end_when_it_is_asked_to() -> TestResult {
    let (watch, server) = stubborn()?;
    let ended = server.interrupt()?;
    ensure!(ended.code == Some(0), "{ended:?}");
    watch.gone()
}

/// A named pipe, at which a process can wait.
fn stop(folder: &tempfile::TempDir) -> TestResult<std::path::PathBuf> {
    let stop = folder.path().join("stop");
    ensure!(std::process::Command::new("mkfifo").arg(&stop).status()?.success());
    Ok(stop)
}

#[test]
fn what_a_command_leaves_running_on_purpose_is_left_alone() -> TestResult {
    let watch = Watch::new()?;
    // The process ends with this pipe, of which the server knows nothing.
    let folder = tempfile::tempdir()?;
    let stop = stop(&folder)?;
    let command = format!("{}; (exec >&- 2>&-; cat <{}) & echo done", watch.hold, stop.display());
    let server = Server::start(&["--keep-open", "--exec", &command])?;
    h2conn(["connect", "-k", &server.url]).assert().success().stdout("done\n");
    ensure!(server.interrupt()?.code == Some(0));
    watch.started()?;
    // The process still reads the pipe, or this would wait for ever.
    drop(std::fs::File::options().write(true).open(&stop)?);
    watch.gone()
}

#[test]
fn what_a_command_leaves_running_does_not_hold_its_connection() -> TestResult {
    let watch = Watch::new()?;
    let folder = tempfile::tempdir()?;
    let (stop, lost) = (stop(&folder)?, folder.path().join("lost"));
    // The process that is left has the output open, and writes to it when it is told to.
    let left =
        format!("trap '' PIPE; cat <{}; echo more || echo >{}", stop.display(), lost.display());
    let command = format!("({}; {left}) 2>/dev/null & echo done", watch.hold);
    let server = Server::start(&["--keep-open", "-m", "1", "--cleartext", "--exec", &command])?;
    let begun = std::time::Instant::now();
    h2conn(["connect", &server.url]).assert().success().stdout("done\n");
    ensure!(begun.elapsed() >= std::time::Duration::from_secs(1), "it has time for its end");
    watch.started()?;
    drop(std::fs::File::options().write(true).open(&stop)?);
    watch.gone()?;
    ensure!(lost.exists(), "it can still write");
    ensure!(server.interrupt()?.code == Some(0));
    Ok(())
}

#[test]
fn a_place_is_free_though_a_command_has_left_something_running() -> TestResult {
    let folder = tempfile::tempdir()?;
    let stop = stop(&folder)?;
    let command = format!("(exec 2>&-; cat <{}) & echo done", stop.display());
    let server = Server::start(&["--keep-open", "-m", "1", "--cleartext", "--exec", &command])?;
    for _ in 0..2 {
        // The listener can free the place a moment after the first client has ended.
        let output = loop {
            let output = h2conn(["connect", &server.url]).output()?;
            if output.status.code() != Some(4) {
                break output;
            }
        };
        ensure!(output.status.success() && output.stdout == b"done\n", "{output:?}");
    }
    ensure!(server.interrupt()?.code == Some(0));
    // This ends the processes that are left.
    drop(std::fs::File::options().write(true).open(&stop)?);
    Ok(())
}

#[test]
fn what_a_command_leaves_talking_does_not_hold_its_connection() -> TestResult {
    let watch = Watch::new()?;
    let command = format!("{}; yes & echo done", watch.hold);
    let server = Server::start(&["--keep-open", "--cleartext", "--exec", &command])?;
    h2conn(["connect", &server.url]).assert().success().stdout(contains("done\n"));
    watch.started()?;
    // Its output has no reader any more.
    watch.gone()?;
    ensure!(server.interrupt()?.code == Some(0));
    Ok(())
}
