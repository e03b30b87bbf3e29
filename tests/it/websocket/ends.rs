//! The ends of a WebSocket, good and bad.

use std::io::ErrorKind::{
    BrokenPipe, ConnectionAborted, ConnectionReset, InvalidData, UnexpectedEof,
};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use h2conn::http::Version;
use h2conn::{Acceptor, OnDrop, Reason, WebSockets};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use super::{pair, pair_with, read_to_close};
use crate::support::framework::{hyper_listen, hyper_server};
use crate::support::websocket::{BOTH, open, request, send, upgraded};
use crate::support::{GRACE, Over, TestResult, io_kind, noise, ours, run};

#[test]
fn the_clients_close_frame_is_the_end_of_its_side() -> TestResult {
    run(async {
        for by in BOTH {
            for code in [None, Some(CloseCode::Normal), Some(CloseCode::Away)] {
                let (mut client, mut conn) = pair(by).await?;
                client.send(Message::binary(&b"last words"[..])).await?;
                let frame = code.map(|code| CloseFrame { code, reason: "done".into() });
                client.close(frame).await?;
                let mut heard = Vec::new();
                conn.read_to_end(&mut heard).await?;
                ensure!(heard == b"last words");
                ensure!(conn.read(&mut [0]).await? == 0, "the end stays");
                conn.closed().await?;
                let error = conn.write(b"too late").await.expect_err("nobody listens");
                ensure!(error.kind() == BrokenPipe, "{error}");
                // A handler that ends in order gets no error.
                conn.shutdown().await?;
                conn.close().await?;
                while client.next().await.transpose()?.is_some() {}
            }
        }
        Ok(())
    })
}

#[test]
fn a_client_that_closes_and_is_gone_has_ended_well() -> TestResult {
    run(async {
        let (site, mut conns) = hyper_listen(Over::Cleartext).await?;
        for by in BOTH {
            for _ in 0..50 {
                let mut client = open(&site, by, "/").await?;
                let mut conn = conns.recv().await.context("the server has ended")?;
                conn.write_all(b"read by nobody").await?;
                conn.sent().await?;
                client.send(Message::Close(None)).await?;
                drop(client);
                match conn.read(&mut [0]).await {
                    Ok(n) => ensure!(n == 0),
                    // Over HTTP/2 a drop resets, and the reset overtakes the data.
                    Err(error) => ensure!(by == Version::HTTP_2, "{error}"),
                }
                if conn.read(&mut [0]).await.is_ok() {
                    conn.closed().await?;
                    conn.shutdown().await?;
                }
            }
        }
        Ok(())
    })
}

#[test]
fn a_shutdown_is_a_close_frame_and_reading_goes_on_to_the_clients() -> TestResult {
    run(async {
        for by in BOTH {
            let (client, mut conn) = pair(by).await?;
            let (mut sink, stream) = client.split();
            conn.write_all(b"all that there is").await?;
            conn.shutdown().await?;
            // The client has not read yet, and may still be sending.
            sink.send(Message::binary(&b"on the way"[..])).await?;
            let mut client = sink.reunite(stream)?;
            let mut heard = Vec::new();
            let frame = read_to_close(&mut client, &mut heard).await?;
            ensure!(heard == b"all that there is" && frame.code == CloseCode::Normal, "{frame:?}");
            // The client answers the close frame at its next read.
            ensure!(client.next().await.transpose()?.is_none());
            let mut heard = Vec::new();
            conn.read_to_end(&mut heard).await?;
            ensure!(heard == b"on the way");
            conn.closed().await?;
        }
        Ok(())
    })
}

#[test]
fn nothing_that_was_written_before_a_drop_is_lost() -> TestResult {
    run(async {
        for by in BOTH {
            let (site, mut conns) = hyper_listen(Over::Cleartext).await?;
            for number in 0..50 {
                let mut client = open(&site, by, "/").await?;
                let mut conn = conns.recv().await.context("the server has ended")?;
                let said = noise(200_000, number);
                conn.write_all(&said).await?;
                drop(conn);
                let mut heard = Vec::new();
                let frame = read_to_close(&mut client, &mut heard).await?;
                ensure!(heard == said, "{by:?}: {} of {} bytes", heard.len(), said.len());
                ensure!(frame.code == CloseCode::Normal, "{frame:?}");
            }
        }
        Ok(())
    })
}

#[test]
fn a_reset_is_a_status_with_its_reason_both_ways() -> TestResult {
    run(async {
        for by in BOTH {
            let (mut client, mut conn) = pair(by).await?;
            conn.reset(Reason::ENHANCE_YOUR_CALM);
            let frame = read_to_close(&mut client, &mut Vec::new()).await?;
            ensure!(u16::from(frame.code) == 4011, "{frame:?}");
            let error = conn.read(&mut [0]).await.expect_err("it was reset here");
            ensure!(error.kind() == ConnectionAborted, "{error}");

            for (code, reason) in [
                (4008, Reason::CANCEL),
                (4011, Reason::ENHANCE_YOUR_CALM),
                (1011, Reason::INTERNAL_ERROR),
                (1002, Reason::PROTOCOL_ERROR),
                (3001, Reason::CANCEL),
            ] {
                let (mut client, mut conn) = pair(by).await?;
                client.send(Message::binary(&b"first"[..])).await?;
                let code = CloseCode::from(code);
                client.close(Some(CloseFrame { code, reason: "why".into() })).await?;
                let mut heard = Vec::new();
                let error = conn.read_to_end(&mut heard).await.expect_err("it is a reset");
                ensure!(heard == b"first", "what came before is read first");
                ensure!(error.kind() == ConnectionReset, "{error}");
                ensure!(ours(&error).reason() == Some(reason), "{error}");
                ensure!(error.to_string().contains("\"why\""), "{error}");
                let error = conn.write(b"x").await.expect_err("it is a reset");
                ensure!(error.kind() == ConnectionReset, "{error}");
                ensure!(conn.closed().await.is_err());
            }
        }
        Ok(())
    })
}

#[test]
fn the_transport_stays_until_the_client_has_answered_a_close_frame() -> TestResult {
    run(async {
        let (site, mut conns) = hyper_listen(Over::Cleartext).await?;
        let mut client = TcpStream::connect(site.addr).await?;
        let request = "GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                       sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        client.write_all(request.as_bytes()).await?;
        let conn = conns.recv().await.context("the server has ended")?;
        conn.reset(Reason::CANCEL);
        let mut heard = Vec::new();
        // A close frame with the status 4008.
        while !heard.windows(4).any(|bytes| matches!(bytes, [0x88, _, 0x0f, 0xa8])) {
            ensure!(client.read_buf(&mut heard).await? > 0, "no close frame has come");
        }
        let rest = timeout(Duration::from_millis(300), client.read_to_end(&mut heard)).await;
        ensure!(rest.is_err(), "it did not wait for the answer");
        // A close frame with a mask, and without a status.
        client.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await?;
        client.read_to_end(&mut heard).await?;
        Ok(())
    })
}

#[test]
fn a_drop_can_be_set_to_reset() -> TestResult {
    run(async {
        let acceptor = Acceptor::builder().on_drop(OnDrop::Reset).build()?;
        let site = hyper_server(Over::Cleartext, acceptor, |_| std::future::ready(Ok(()))).await?;
        for by in BOTH {
            let mut client = open(&site, by, "/").await?;
            let frame = read_to_close(&mut client, &mut Vec::new()).await?;
            ensure!(u16::from(frame.code) == 4008, "{frame:?}");
        }
        Ok(())
    })
}

#[test]
fn a_transport_that_ends_without_a_close_frame_is_no_end() -> TestResult {
    run(async {
        for by in BOTH {
            let (mut client, mut conn) = pair(by).await?;
            client.send(Message::binary(&b"half of it"[..])).await?;
            client.send(Message::Ping(Bytes::new())).await?;
            client.next().await.context("the answer, so all has arrived")??;
            drop(client);
            let mut heard = Vec::new();
            let error = conn.read_to_end(&mut heard).await.expect_err("it was cut");
            ensure!(heard == b"half of it", "{by:?}: {heard:?}, {error}");
            ensure!(error.kind() == UnexpectedEof, "{by:?}: {error}");
            let error = conn.write(b"x").await.expect_err("nobody is there");
            ensure!(error.kind() == BrokenPipe, "{by:?}: {error}");
            let error = conn.closed().await.expect_err("it was cut");
            ensure!(io_kind(&error) == UnexpectedEof, "{by:?}: {error}");
        }
        Ok(())
    })
}

#[test]
fn what_is_unsent_when_the_client_closes_is_lost_and_the_writer_is_told() -> TestResult {
    run(async {
        for by in BOTH {
            let (mut client, mut conn) = pair(by).await?;
            let much = vec![7; 16 << 20];
            let write = async { conn.write_all(&much).await };
            let close = async {
                // Long before all bytes can have been sent.
                client.next().await.context("its end")??;
                client.close(None).await?;
                TestResult::Ok(())
            };
            let (written, closed) = tokio::join!(write, close);
            closed?;
            let drain = async { while let Some(Ok(_)) = client.next().await {} };
            let ended = async {
                let error = match written {
                    Err(error) => error,
                    Ok(()) => conn.shutdown().await.expect_err("not all was sent"),
                };
                ensure!(error.kind() == BrokenPipe, "{by:?}: {error}");
                ensure!(conn.read(&mut [0]).await? == 0, "the client ended well");
                Ok(())
            };
            tokio::join!(drain, ended).1?;
        }
        Ok(())
    })
}

#[test]
fn a_client_that_does_what_it_must_not_is_told_why_it_was_cut() -> TestResult {
    let text = || Message::text("text");
    let long = || Message::Binary(vec![0; 2001].into());
    let data = |code, bytes: &'static [u8], last| {
        Message::Frame(Frame::message(Bytes::from_static(bytes), OpCode::Data(code), last))
    };
    let fragments =
        || vec![data(Data::Binary, &[1; 1500], false), data(Data::Continue, &[1; 1500], true)];
    let cases = [
        ("text", vec![text()], 1003, "text messages are not taken here"),
        ("a long message", vec![long()], 1009, "2001 bytes, at most 2000"),
        ("a long message in fragments", fragments(), 1009, "3000 bytes, at most 2000"),
        ("a continuation of nothing", vec![data(Data::Continue, b"x", true)], 1002, "ontinue"),
        ("an unknown kind of frame", vec![data(Data::Reserved(3), b"x", true)], 1002, "3"),
    ];
    run(async {
        for by in BOTH {
            for (what, messages, code, why) in &cases {
                let limits = WebSockets::new().max_message_size(2000);
                let (mut client, mut conn) = pair_with(by, limits).await?;
                client.send(Message::binary(&b"good"[..])).await?;
                for message in messages {
                    client.send(message.clone()).await?;
                }
                let frame = read_to_close(&mut client, &mut Vec::new()).await?;
                ensure!(u16::from(frame.code) == *code, "{what}: {frame:?}");
                ensure!(frame.reason.contains(why), "{what}: {frame:?}");
                let mut heard = Vec::new();
                let error = conn.read_to_end(&mut heard).await.expect_err(what);
                ensure!(heard == b"good" && error.kind() == InvalidData, "{what}: {error}");
                let said = error.to_string();
                ensure!(said.contains(why) && said.contains(&code.to_string()), "{what}: {said}");
            }
        }
        Ok(())
    })
}

#[test]
fn text_that_is_no_utf8_is_refused_where_text_is_allowed() -> TestResult {
    run(async {
        for by in BOTH {
            let allowed = WebSockets::new().text_messages(true);
            let (mut client, mut conn) = pair_with(by, allowed).await?;
            let bytes = Bytes::from_static(&[0xff, 0xfe]);
            let text = Frame::message(bytes, OpCode::Data(Data::Text), true);
            client.send(Message::Frame(text)).await?;
            let frame = read_to_close(&mut client, &mut Vec::new()).await?;
            ensure!(u16::from(frame.code) == 1007, "{frame:?}");
            let error = conn.read(&mut [0]).await.expect_err("it is no text");
            ensure!(error.kind() == InvalidData, "{error}");
        }
        Ok(())
    })
}

#[test]
fn frames_without_a_mask_are_refused() -> TestResult {
    run(async {
        let (site, mut conns) = hyper_listen(Over::Cleartext).await?;
        for by in BOTH {
            let response = send(&site, by, request(&site, by, "/")?).await?;
            let mut client = upgraded(response, Role::Server).await?;
            let mut conn = conns.recv().await.context("the server has ended")?;
            client.send(Message::binary(&b"no mask"[..])).await?;
            let error = conn.read(&mut [0]).await.expect_err("RFC 6455 §5.1");
            ensure!(error.kind() == InvalidData, "{error}");
            ensure!(error.to_string().contains("1002"), "{error}");
        }
        Ok(())
    })
}

#[test]
fn a_close_ends_both_sides_and_says_that_all_was_sent() -> TestResult {
    run(async {
        for by in BOTH {
            let (mut client, mut conn) = pair(by).await?;
            let said = noise(1 << 20, 4);
            let mut heard = Vec::new();
            let ended = async {
                conn.write_all(&said).await?;
                conn.sent().await?;
                conn.close().await?;
                TestResult::Ok(())
            };
            let read = async {
                let frame = read_to_close(&mut client, &mut heard).await?;
                while client.next().await.transpose()?.is_some() {}
                TestResult::Ok(frame)
            };
            let (ended, frame) = tokio::join!(ended, read);
            ended?;
            ensure!(frame?.code == CloseCode::Normal && heard == said);
        }
        Ok(())
    })
}

#[test]
fn a_client_that_never_answers_a_close_frame_has_the_linger_timeout_to_do_so() -> TestResult {
    run(async {
        for by in BOTH {
            let (client, conn) = pair(by).await?;
            let error = conn.close().await.err().context("it was not answered")?;
            ensure!(error.kind() == h2conn::ErrorKind::TimedOut, "{error:?}");
            ensure!(error.to_string().contains("linger_timeout"), "{error}");
            drop(client);
        }
        Ok(())
    })
}

/// As on a slow line, where the end arrives long after the system has taken it.
#[test]
fn the_linger_timeout_begins_when_the_last_bytes_have_arrived() -> TestResult {
    run(async {
        for by in BOTH {
            let (mut client, mut conn) = pair(by).await?;
            conn.write_all(b"all").await?;
            let closing = conn.close();
            tokio::pin!(closing);
            ensure!(timeout(GRACE * 10, &mut closing).await.is_err(), "nothing was read of it");
            let mut heard = Vec::new();
            read_to_close(&mut client, &mut heard).await?;
            let read = async {
                while client.next().await.transpose()?.is_some() {}
                TestResult::Ok(())
            };
            let (closed, read) = tokio::join!(closing, read);
            closed?;
            read?;
            ensure!(heard == b"all");
        }
        Ok(())
    })
}

#[test]
fn conns_end_with_the_runtime_that_moves_them() -> TestResult {
    for by in [Version::HTTP_11, Version::HTTP_2] {
        let runtime = tokio::runtime::Runtime::new()?;
        let (client, mut conn) = runtime.block_on(pair(by))?;
        drop(client);
        runtime.shutdown_background();
        run(async {
            let error = conn.read(&mut [0]).await.expect_err("nobody moves it");
            let kinds = [ConnectionAborted, UnexpectedEof];
            ensure!(kinds.contains(&error.kind()), "{error}");
            ensure!(conn.closed().await.is_err());
            drop(conn);
            Ok(())
        })?;
    }
    Ok(())
}
