//! The scenarios that every [`Script`] must pass with us: as a client of our listener and as a
//! server for our client, in cleartext and over TLS.

use std::io;

use anyhow::{Context, ensure};
use futures_util::{SinkExt, StreamExt};
use h2conn::codec::Json;
use h2conn::{Client, Conn, ErrorKind, Listener, Reason};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::codec::Framed;

use super::script::{Process, Script};
use super::{Over, TestResult, accept, check_echo, listen, noise, ours};

/// More than any window on the path.
const MUCH: usize = 8 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Serves,
    Connects,
}

const EVERYWHERE: [(Role, Over); 4] = [
    (Role::Serves, Over::Cleartext),
    (Role::Serves, Over::Tls),
    (Role::Connects, Over::Cleartext),
    (Role::Connects, Over::Tls),
];

/// A connection of ours, with a script at its other end.
struct Meeting {
    conn: Conn,
    process: Process,
    end: End,
    scenario: String,
}

/// The owner of our end of the link.
enum End {
    Client(Client),
    Server(Listener),
}

async fn meet(script: &Script, (role, over): (Role, Over), scenario: &str) -> TestResult<Meeting> {
    let (conn, process, end) = match role {
        Role::Serves => {
            let (process, site) = script.serve(over).await?;
            let client = site.client()?;
            let (conn, _) = client.connect(site.url(&format!("/{scenario}"))).await?;
            (conn, process, End::Client(client))
        }
        Role::Connects => {
            let (mut listener, site) = listen(over).await?;
            let process = script.connect(scenario, &site)?;
            (accept(&mut listener).await?, process, End::Server(listener))
        }
    };
    Ok(Meeting { conn, process, end, scenario: scenario.into() })
}

impl Meeting {
    /// Ends a connection after the last message, and checks that both ends saw an orderly end.
    /// `close` would fail if the end took as long as the linger timeout.
    async fn part(self) -> TestResult {
        ensure!((&self.conn).read(&mut [0; 1]).await? == 0, "a byte after the last");
        self.conn.close().await?;
        let Meeting { process, end, scenario, .. } = self;
        let result = part_from(process, end, &scenario).await?;
        ensure!(result == "ok", "{scenario}: {result}");
        Ok(())
    }

    /// Reads the word after which the failure follows, and reports that it has arrived.
    async fn hear_a_word(&mut self) -> TestResult {
        let mut word = [0; 6];
        self.conn.read_exact(&mut word).await?;
        ensure!(&word == b"a word", "{word:?}");
        Ok(self.conn.write_all(b"!").await?)
    }
}

/// Waits until the script has finished, and returns its report on the scenario.
async fn part_from(mut process: Process, end: End, scenario: &str) -> TestResult<String> {
    let result = process.result(scenario).await?;
    match end {
        End::Client(client) => {
            client.close().await?;
            process.kill().await?;
        }
        End::Server(_listener) => process.exit().await?,
    }
    Ok(result)
}

/// Every amount of bytes comes back. If the script is the server, one link carries them all, also
/// in parallel.
pub(crate) async fn echo(script: &Script) -> TestResult {
    for over in Over::BOTH {
        let (mut process, site) = script.serve(over).await?;
        let client = site.client()?;
        let sizes = [0, 1, 5, 16 << 10, 3 << 20].into_iter().chain([10_000; 20]);
        let mut conns = JoinSet::new();
        for (seed, size) in sizes.enumerate() {
            let (client, url) = (client.clone(), site.url("/echo"));
            conns.spawn(async move {
                let (conn, _) = client.connect(url).await?;
                check_echo(conn, &noise(size, seed as u64)).await
            });
        }
        let count = conns.len();
        while let Some(conn) = conns.join_next().await {
            conn?.with_context(|| format!("{over:?}"))?;
        }
        for _ in 0..count {
            ensure!(process.result("echo").await? == "ok");
        }
        client.close().await?;
        process.kill().await?;

        for size in [0, 5, 3 << 20] {
            let (mut listener, site) = listen(over).await?;
            let process = script.connect("echo", &site)?;
            check_echo(accept(&mut listener).await?, &noise(size, 1)).await?;
            let result = part_from(process, End::Server(listener), "echo").await?;
            ensure!(result == "ok", "{size} bytes over {over:?}: {result}");
        }
    }
    Ok(())
}

/// The script counts the values that [`Json`] sends: in turns, and then many at once.
pub(crate) async fn json(script: &Script) -> TestResult {
    let values = [
        json!("wörld \" \\ \n {[ 🦀"),
        json!({ "list": [1, 2.5, -3, null, true, false], "empty": [{}, [], ""] }),
        json!(["x".repeat(100_000), { "deep": { "deeper": [[[]]] } }]),
        json!(42),
        json!(null),
    ];
    for place in EVERYWHERE {
        let Meeting { conn, process, end, scenario } = meet(script, place, "json").await?;
        let (mut send, mut receive) = Framed::new(conn, Json::<Value>::new()).split();
        for (value, number) in values.iter().zip(1..) {
            send.send(value.clone()).await?;
            let answer = receive.next().await.context("the end came early")??;
            ensure!(answer == json!({ "number": number, "value": value }), "{answer}");
        }
        let many = 6..1000;
        let write = async {
            for number in many.clone() {
                send.feed(json!([number])).await?;
            }
            send.close().await
        };
        let read = async {
            for number in many.clone() {
                let answer = receive.next().await.context("the end came early")??;
                ensure!(answer == json!({ "number": number, "value": [number] }), "{answer}");
            }
            ensure!(receive.next().await.is_none(), "a value after the last");
            Ok(())
        };
        let (written, read) = tokio::join!(write, read);
        written?;
        read.with_context(|| format!("{place:?}"))?;
        let conn = send.reunite(receive)?.into_inner();
        Meeting { conn, process, end, scenario }.part().await?;
    }
    Ok(())
}

/// A question is answered after its end, whichever side asks.
pub(crate) async fn half_close(script: &Script) -> TestResult {
    for place in EVERYWHERE {
        let mut meeting = meet(script, place, "answer").await?;
        meeting.conn.write_all(b"question").await?;
        meeting.conn.shutdown().await?;
        let mut heard = String::new();
        meeting.conn.read_to_string(&mut heard).await?;
        ensure!(heard == "answer", "{place:?}: {heard:?}");
        meeting.part().await.with_context(|| format!("{place:?}"))?;

        let mut meeting = meet(script, place, "ask").await?;
        let mut heard = String::new();
        meeting.conn.read_to_string(&mut heard).await?;
        ensure!(heard == "question", "{place:?}: {heard:?}");
        meeting.conn.write_all(b"answer").await?;
        meeting.conn.shutdown().await?;
        meeting.part().await.with_context(|| format!("{place:?}"))?;
    }
    Ok(())
}

/// Both ends write bytes of their own at once, and then a digest, which the other end checks.
pub(crate) async fn transfer(script: &Script) -> TestResult {
    let mut said = noise(MUCH, 5);
    said.extend(Sha256::digest(&said));
    for place in EVERYWHERE {
        let meeting = meet(script, place, "transfer").await?;
        let since = Instant::now();
        let (mut reader, mut writer) = (&meeting.conn, &meeting.conn);
        let write = async {
            writer.write_all(&said).await?;
            writer.shutdown().await
        };
        let mut heard = Vec::new();
        let (written, read) = tokio::join!(write, reader.read_to_end(&mut heard));
        written?;
        read?;
        ensure!(heard.len() == said.len(), "{place:?}: {} bytes came", heard.len());
        let (bytes, digest) = heard.split_at(MUCH);
        ensure!(Sha256::digest(bytes)[..] == *digest, "{place:?}: other bytes came");
        println!("{place:?}: {MUCH} bytes each way in {:?}", since.elapsed());
        meeting.part().await.with_context(|| format!("{place:?}"))?;
    }
    Ok(())
}

/// A reset by the script is an error here, with its reason.
pub(crate) async fn their_reset(script: &Script) -> TestResult {
    for place in EVERYWHERE {
        for (scenario, reason) in [("fail", Reason::INTERNAL_ERROR), ("cancel", Reason::CANCEL)] {
            let mut meeting = meet(script, place, scenario).await?;
            meeting.hear_a_word().await?;
            let error = meeting.conn.read(&mut [0; 1]).await.err();
            let error = error.with_context(|| format!("{place:?}: no error"))?;
            ensure!(error.kind() == io::ErrorKind::ConnectionReset, "{place:?}: {error:?}");
            ensure!(ours(&error).reason() == Some(reason), "{place:?}: {error:?}");
            ensure!(ours(&error).is_by_peer(), "{place:?}: {error:?}");
            let error = meeting.conn.write(b"more").await.expect_err("it was reset");
            ensure!(error.kind() == io::ErrorKind::ConnectionReset, "{place:?}: {error:?}");
            let Meeting { process, end, .. } = meeting;
            let result = part_from(process, end, scenario).await?;
            ensure!(result == "reset", "{place:?}: {result}");
        }
    }
    Ok(())
}

/// A reset by us is an error for the script, which knows its reason.
pub(crate) async fn our_reset(script: &Script) -> TestResult {
    for place in EVERYWHERE {
        for reason in [Reason::CANCEL, Reason::NO_ERROR, Reason::ENHANCE_YOUR_CALM] {
            let Meeting { mut conn, process, end, scenario } =
                meet(script, place, "expect-reset").await?;
            conn.write_all(b"a word").await?;
            conn.read_exact(&mut [0; 1]).await?;
            conn.reset(reason);
            let result = part_from(process, end, &scenario).await?;
            ensure!(result == format!("reset with {}", reason.code()), "{place:?}: {result}");
        }
    }
    Ok(())
}

/// If the script is killed, that is an error here, and not an end.
pub(crate) async fn killed(script: &Script) -> TestResult {
    for place in EVERYWHERE {
        let mut meeting = meet(script, place, "hold").await?;
        meeting.hear_a_word().await?;
        let Meeting { mut conn, process, end: _end, .. } = meeting;
        process.kill().await?;
        let error = conn.read(&mut [0; 1]).await.err();
        let error = error.with_context(|| format!("{place:?}: no error"))?;
        ensure!(error.kind() == io::ErrorKind::UnexpectedEof, "{place:?}: {error:?}");
        ensure!(ours(&error).kind() == ErrorKind::Truncated, "{place:?}: {error:?}");
    }
    Ok(())
}
