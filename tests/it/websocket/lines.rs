//! WebSockets whose text messages are the lines of the connection, with a JSON value in each.

use std::future::ready;
use std::io;

use anyhow::{Context, ensure};
use futures_util::{SinkExt, StreamExt};
use h2conn::codec::Json;
use h2conn::http::Version;
use h2conn::{Acceptor, Conn, ErrorKind, WebSockets};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::frame::{Frame, coding::Data, coding::OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

use super::pair_with;
use crate::support::framework::hyper_server;
use crate::support::websocket::{BOTH, Socket, next, request, send};
use crate::support::{Over, TestResult, ours, run};

/// Both ends of a WebSocket whose messages are lines.
async fn pair(by: Version) -> TestResult<(Socket, Conn)> {
    pair_with(by, WebSockets::new().json_lines()).await
}

/// The close frame, and nothing before it.
async fn closed(client: &mut Socket) -> TestResult<CloseFrame> {
    match next(client).await? {
        Message::Close(frame) => frame.context("a close frame without a status"),
        other => anyhow::bail!("not expected: {other:?}"),
    }
}

#[test]
fn values_of_the_codec_are_text_messages_one_each_both_ways() -> TestResult {
    run(async {
        for by in BOTH {
            let (mut client, conn) = pair(by).await?;
            let mut values = conn.framed(Json::<Value>::new());
            let sent = [json!({ "text": "grüß\n\"dich\"" }), json!([1, [2]]), json!(3), json!("")];
            for value in &sent {
                values.feed(value.clone()).await?;
            }
            values.flush().await?;
            for value in &sent {
                // The text that `JSON.parse(event.data)` must be able to read.
                let Message::Text(text) = next(&mut client).await? else {
                    anyhow::bail!("{by:?}: no text message")
                };
                ensure!(serde_json::from_str::<Value>(&text)? == *value, "{text:?}");
                ensure!(!text.ends_with('\n'), "{text:?}");
                client.send(Message::Text(text)).await?;
            }
            for value in sent {
                ensure!(values.next().await.context("an end")?? == value, "{by:?}");
            }
            client.close(None).await?;
            ensure!(values.next().await.is_none());
        }
        Ok(())
    })
}

#[test]
fn a_value_may_be_cut_over_writes_and_a_write_may_have_several() -> TestResult {
    run(async {
        let (mut client, mut conn) = pair(Version::HTTP_11).await?;
        conn.write_all(b"{\"a\":").await?;
        // The server has it, and there is no message yet.
        client.send(Message::Ping("there?".into())).await?;
        ensure!(next(&mut client).await? == Message::Pong("there?".into()));
        conn.write_all(b"1}\n[2]\n\n 3\n4").await?;
        for text in ["{\"a\":1}", "[2]", " 3"] {
            ensure!(next(&mut client).await? == Message::text(text));
        }
        // The last one has no line feed.
        conn.shutdown().await?;
        ensure!(next(&mut client).await? == Message::text("4"));
        ensure!(closed(&mut client).await?.code == CloseCode::Normal);
        Ok(())
    })
}

#[test]
fn sent_waits_for_the_end_of_the_line() -> TestResult {
    run(async {
        let (mut client, mut conn) = pair(Version::HTTP_11).await?;
        conn.write_all(b"1\n").await?;
        conn.sent().await?;
        conn.write_all(b"\n \n").await?;
        conn.sent().await.context("blank lines are no messages")?;
        conn.write_all(b"2").await?;
        let (reader, mut writer) = conn.into_split();
        let mut sent = Box::pin(writer.sent());
        // After the answer to a ping, the session has seen what was written before it.
        client.send(Message::Ping("there?".into())).await?;
        ensure!(next(&mut client).await? == Message::text("1"));
        ensure!(next(&mut client).await? == Message::Pong("there?".into()));
        let waits = futures_util::future::poll_immediate(&mut sent).await.is_none();
        drop(sent);
        ensure!(waits, "the line has no end yet");
        writer.write_all(b"\n").await?;
        writer.sent().await?;
        ensure!(next(&mut client).await? == Message::text("2"));
        drop(reader);
        Ok(())
    })
}

#[test]
fn each_text_message_is_one_line_whatever_line_feeds_it_has() -> TestResult {
    run(async {
        for by in BOTH {
            let (mut client, conn) = pair(by).await?;
            for text in ["1", "", " \n", "{\n  \"a\": 2\n}", "\"three\"\n"] {
                client.send(Message::text(text)).await?;
            }
            client.close(None).await?;
            let mut lines = BufReader::new(conn).lines();
            let mut heard = Vec::new();
            while let Some(line) = lines.next_line().await? {
                heard.push(line);
            }
            // A carriage return at the end is part of the line's end for `lines`.
            ensure!(heard == ["1", "{\r  \"a\": 2\r}", "\"three\""], "{heard:?}");
        }
        Ok(())
    })
}

#[test]
fn a_binary_message_is_refused_with_1003() -> TestResult {
    run(async {
        for by in BOTH {
            let (mut client, mut conn) = pair(by).await?;
            client.send(Message::text("1")).await?;
            client.send(Message::binary(&b"2\n"[..])).await?;
            let frame = closed(&mut client).await?;
            ensure!(frame.code == CloseCode::Unsupported, "{frame:?}");
            ensure!(frame.reason.contains("JSON"), "{frame:?}");
            let mut heard = Vec::new();
            let error = conn.read_to_end(&mut heard).await.err().context("it is refused")?;
            ensure!(heard == b"1\n" && ours(&error).kind() == ErrorKind::Protocol, "{error:?}");
        }
        Ok(())
    })
}

#[test]
fn a_message_that_is_no_utf8_is_refused_with_1007() -> TestResult {
    run(async {
        let (mut client, mut conn) = pair(Version::HTTP_11).await?;
        let frame = Frame::message(&b"\"\xff\""[..], OpCode::Data(Data::Text), true);
        client.send(Message::Frame(frame)).await?;
        ensure!(closed(&mut client).await?.code == CloseCode::Invalid);
        let error = conn.read_u8().await.err().context("it is refused")?;
        ensure!(error.kind() == io::ErrorKind::InvalidData, "{error:?}");
        Ok(())
    })
}

#[test]
fn a_line_may_be_as_long_as_a_message_and_no_longer() -> TestResult {
    run(async {
        // More than a run of the queue, and than the queue itself.
        const MOST: usize = 300_000;
        for by in BOTH {
            let limited = || WebSockets::new().json_lines().max_message_size(MOST);
            let (mut client, mut conn) = pair_with(by, limited()).await?;
            let longest = "7".repeat(MOST);
            conn.write_all(longest.as_bytes()).await?;
            conn.write_all(b"\n").await?;
            ensure!(next(&mut client).await? == Message::text(longest.clone()), "{by:?}");
            client.send(Message::text(longest.clone())).await?;
            conn.read_exact(&mut vec![0; MOST + 1]).await?;

            // Known before the end of the line.
            let told = conn.write_all(format!("{longest}88").as_bytes()).await;
            let frame = closed(&mut client).await?;
            ensure!(frame.code == CloseCode::Error, "{frame:?}");
            let error = conn.closed().await.err().context("it is too long")?;
            ensure!(error.kind() == ErrorKind::InvalidInput, "{error:?}");
            ensure!(error.to_string().contains("max_message_size"), "{error}");
            for error in [told.err(), conn.write_all(b"9\n").await.err()].into_iter().flatten() {
                ensure!(ours(&error).kind() == ErrorKind::InvalidInput, "{error:?}");
            }

            let (mut client, mut conn) = pair_with(by, limited()).await?;
            client.send(Message::text(format!("{longest}8"))).await?;
            ensure!(closed(&mut client).await?.code == CloseCode::Size, "{by:?}");
            ensure!(conn.read_u8().await.is_err());
        }
        Ok(())
    })
}

#[test]
fn a_long_line_is_one_message_of_short_frames() -> TestResult {
    run(async {
        for by in BOTH {
            let acceptor =
                Acceptor::builder().websockets(WebSockets::new().json_lines()).build()?;
            let (sender, mut conns) = mpsc::unbounded_channel();
            let site = hyper_server(Over::Cleartext, acceptor, move |conn| {
                let _ = sender.send(conn);
                ready(Ok(()))
            })
            .await?;
            let response = send(&site, by, request(&site, by, "/")?).await?;
            let mut conn: Conn = conns.recv().await.context("it was accepted")?;
            let io = TokioIo::new(hyper::upgrade::on(response).await?);
            // This client fails if a frame is longer.
            let config = WebSocketConfig::default().max_frame_size(Some(64 << 10));
            let mut client = Socket::from_raw_socket(io, Role::Client, Some(config)).await;
            for chars in [10, 100_000, 300_000] {
                let line = "€".repeat(chars);
                let write = async {
                    conn.write_all(line.as_bytes()).await?;
                    conn.write_all(b"\n").await
                };
                let (written, heard) = tokio::join!(write, next(&mut client));
                written?;
                ensure!(heard? == Message::text(line), "{by:?}, {chars} characters");
            }
            conn.shutdown().await?;
            ensure!(closed(&mut client).await?.code == CloseCode::Normal);
        }
        Ok(())
    })
}

#[test]
fn a_client_is_answered_between_the_frames_of_a_line() -> TestResult {
    run(async {
        for by in BOTH {
            let (mut client, mut conn) = pair(by).await?;
            let most = "7".repeat(100_000);
            conn.write_all(most.as_bytes()).await?;
            client.send(Message::Ping("there?".into())).await?;
            ensure!(next(&mut client).await? == Message::Pong("there?".into()), "{by:?}");
            conn.write_all(b"8\n").await?;
            ensure!(next(&mut client).await? == Message::text(format!("{most}8")), "{by:?}");
            // An end amid the next line ends its message.
            conn.write_all(most.as_bytes()).await?;
            conn.shutdown().await?;
            ensure!(next(&mut client).await? == Message::text(most), "{by:?}");
            ensure!(closed(&mut client).await?.code == CloseCode::Normal);
        }
        Ok(())
    })
}

#[test]
fn a_line_that_is_no_utf8_fails_the_conn_and_does_not_reach_the_client() -> TestResult {
    run(async {
        for by in BOTH {
            let (mut client, mut conn) = pair(by).await?;
            conn.write_all(b"1\n\"\xff\"\n3\n").await?;
            ensure!(next(&mut client).await? == Message::text("1"));
            let frame = closed(&mut client).await?;
            ensure!(frame.code == CloseCode::Error && frame.reason.contains("UTF-8"), "{frame:?}");
            let error = conn.read_u8().await.err().context("it has failed")?;
            ensure!(ours(&error).kind() == ErrorKind::InvalidInput, "{error:?}");
        }
        Ok(())
    })
}

#[test]
fn a_client_that_closes_amid_a_line_is_told_of_as_lost() -> TestResult {
    run(async {
        for by in BOTH {
            let (mut client, mut conn) = pair(by).await?;
            conn.write_all(b"1\n2").await?;
            ensure!(next(&mut client).await? == Message::text("1"));
            client.close(None).await?;
            ensure!(conn.read(&mut [0]).await? == 0);
            let error = conn.write_all(b"3\n").await.err().context("nobody listens")?;
            ensure!(error.kind() == io::ErrorKind::BrokenPipe, "{error:?}");
            ensure!(conn.close().await.is_err(), "{by:?}: the 2 has not been sent");

            let (mut client, mut conn) = pair(by).await?;
            conn.write_all(b"1\n").await?;
            ensure!(next(&mut client).await? == Message::text("1"));
            client.close(None).await?;
            ensure!(conn.read(&mut [0]).await? == 0);
            conn.close().await.context("all was sent")?;
        }
        Ok(())
    })
}

#[test]
fn much_goes_both_ways_in_lines_of_every_length() -> TestResult {
    run(async {
        for by in BOTH {
            let (client, conn) = pair(by).await?;
            let values: Vec<_> = (0..400_usize).map(|n| "x".repeat(n * n % 50_000)).collect();
            let (mut sink, mut stream) = client.split();
            let (read, write) = conn.into_split();
            let mut out = write.framed(Json::<String>::new());
            let mut heard = read.framed(Json::<String>::new());
            let up = async {
                for value in &values {
                    sink.send(Message::text(serde_json::to_string(value)?)).await?;
                }
                TestResult::Ok(())
            };
            let taken = async {
                for value in &values {
                    ensure!(heard.next().await.context("an end")?? == *value);
                }
                TestResult::Ok(())
            };
            let down = async {
                for value in &values {
                    out.feed(value.clone()).await?;
                }
                out.close().await?;
                TestResult::Ok(())
            };
            let seen = async {
                for value in &values {
                    let message = stream.next().await.context("an end")??;
                    ensure!(message == Message::text(serde_json::to_string(value)?));
                }
                TestResult::Ok(())
            };
            tokio::try_join!(up, taken, down, seen).with_context(|| format!("{by:?}"))?;
        }
        Ok(())
    })
}
