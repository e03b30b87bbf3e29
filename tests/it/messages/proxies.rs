//! The messages for a user between whom and the server a proxy stands, or who uses a wrong scheme.

use std::io;

use anyhow::{Context, ensure};
use bytes::Bytes;
use h2conn::ErrorKind;
use h2conn::http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Failure;
use crate::support::{Over, Site, TestResult, listen, run, tcp_server};

/// The page of nginx for an error.
const PAGE: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad \
                    Gateway</h1></center>\r\n<hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n";

/// A refusal with this status, fields and body.
async fn refused(
    status: u16,
    fields: &[(&'static str, &'static str)],
    body: &'static str,
) -> TestResult<Failure> {
    let (mut listener, site) = listen(Over::Cleartext).await?;
    let response = Response::builder().status(status);
    let response = fields.iter().fold(response, |head, (name, value)| head.header(*name, *value));
    let response = response.body(Bytes::from_static(body.as_bytes()))?;
    let serving = tokio::spawn(async move {
        listener.accept().await.context("the listener has ended")?.reject_with(response);
        // The server stays until the client has gone.
        ensure!(listener.accept().await.is_none());
        Ok(())
    });
    let failure = Failure::of(&site).await;
    serving.abort();
    failure
}

#[test]
fn a_refusal_names_the_box_and_what_must_be_changed_there() -> TestResult {
    run(async {
        let nginx = ("server", "nginx/1.22.1");
        let html = ("content-type", "text/html");
        for (status, fields, body, parts) in [
            (
                502,
                &[nginx, html][..],
                PAGE,
                &["\"nginx/1.22.1\" (the field server)", "grpc_pass"][..],
            ),
            (413, &[nginx], "", &["length of a request", "(nginx: client_max_body_size 0)"]),
            (
                504,
                &[("via", "1.1 Caddy")],
                "",
                &["\"1.1 Caddy\" (the field via)", "raise that timeout"],
            ),
            (503, &[], "<p>Closed for the night", &["\"Closed for the night\"", "a proxy before"]),
            (505, &[], "Use HTTP/2.", &["\"Use HTTP/2.\"", "HTTP/2 on the whole way"]),
        ] {
            let failure = refused(status, fields, body).await?;
            let error = failure.is(ErrorKind::Rejected, io::ErrorKind::Other, parts)?;
            ensure!(!error.to_string().contains('<'), "{error}");
            ensure!(error.body().context("a body")? == body, "the program gets all of it");
        }
        Ok(())
    })
}

#[test]
fn a_server_with_tls_that_answers_by_http1_or_closes_leads_to_https() -> TestResult {
    run(async {
        let answer = b"HTTP/1.1 400 Bad Request\r\nServer: nginx/1.22.1\r\n\r\n<html>";
        for answer in [&answer[..], b""] {
            let addr = tcp_server(move |mut stream| async move {
                stream.read_exact(&mut [0; 24]).await?;
                stream.write_all(answer).await?;
                stream.shutdown().await?;
                // Unread bytes would make the kernel reset the socket.
                stream.read_to_end(&mut Vec::new()).await?;
                Ok(())
            })
            .await?;
            let failure = Failure::of(&Site::cleartext(addr)).await?;
            let kinds = match answer {
                b"" => (ErrorKind::Truncated, io::ErrorKind::UnexpectedEof),
                _ => (ErrorKind::Unsupported, io::ErrorKind::Unsupported),
            };
            failure.is(kinds.0, kinds.1, &["TLS", "use https://"])?;
        }
        Ok(())
    })
}
