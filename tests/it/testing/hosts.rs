//! WebSockets and axum's handlers without a server.

use anyhow::{Context, ensure};
use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use futures_util::{SinkExt, StreamExt};
use h2conn::axum::Accept;
use h2conn::codec::Json;
use h2conn::http::{Method, Request, StatusCode};
use h2conn::testing::{Message, axum_accept, axum_request, axum_websocket, websocket};
use h2conn::{Acceptor, ErrorKind, Reason, Transport, WebSockets, bearer_token};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{TestResult, check_echo, echo, noise, ours, run};

const PROTOCOL: &str = "sec-websocket-protocol";

/// A handler of a program: it shouts, in JSON, at clients that show a token.
async fn shout(accept: Accept) -> Response {
    accept.on_conn(|conn| async move {
        let mut texts = conn.framed(Json::<String>::new());
        while let Some(Ok(text)) = texts.next().await {
            if texts.send(text.to_uppercase()).await.is_err() {
                return;
            }
        }
        // The test looks at what its client sees.
        let _ = texts.into_inner().close().await;
    })
}

async fn refuse(_: Accept) -> Response {
    (StatusCode::FORBIDDEN, "no token").into_response()
}

fn lines() -> h2conn::Result<Acceptor> {
    let websockets = WebSockets::new().json_lines().subprotocols(["json"]);
    Acceptor::builder().websockets(websockets).build()
}

#[test]
fn a_handler_of_axum_runs_without_a_server() -> TestResult {
    run(async {
        let request = Request::post("/live?room=1").header("x-one", "1").body(())?;
        let (accept, caller) = axum_accept(request).await?;
        let conn = caller.answer(shout(accept).await).await?;
        ensure!(conn.uri().query() == Some("room=1"));
        let mut texts = conn.framed(Json::<String>::new());
        for _ in 0..3 {
            texts.send("grüß dich".to_owned()).await?;
            ensure!(texts.next().await.context("an end")?? == "GRÜSS DICH");
        }
        texts.close().await?;
        ensure!(texts.next().await.is_none());

        // The server's end knows the request, and a reset has its reason.
        let (accept, caller) = axum_accept(Request::put("/x").body(())?).await?;
        let (server, response) = accept.accept();
        let mut conn = caller.answer(response).await?;
        ensure!(*server.method() == Method::PUT && server.uri().path() == "/x");
        server.reset(Reason::ENHANCE_YOUR_CALM);
        let error = conn.read_u8().await.err().context("it is reset")?;
        ensure!(ours(&error).reason() == Some(Reason::ENHANCE_YOUR_CALM), "{error:?}");
        Ok(())
    })
}

#[test]
fn a_refusal_is_what_a_client_would_see() -> TestResult {
    run(async {
        let (accept, caller) = axum_accept(Request::post("/").body(())?).await?;
        let error = caller.answer(refuse(accept).await).await.err().context("it is refused")?;
        ensure!(error.status() == Some(StatusCode::FORBIDDEN), "{error:?}");
        ensure!(error.body().is_some_and(|body| body == "no token"), "{error:?}");

        // By the acceptor, before the handler.
        let request = Request::post("/").header("origin", "https://elsewhere.example").body(())?;
        let error = axum_accept(request).await.err().context("it is refused")?;
        ensure!(error.status() == Some(StatusCode::FORBIDDEN), "{error:?}");
        // By one that the test brings.
        let acceptor = Acceptor::builder().methods([Method::PUT]).build()?;
        let request = Request::post("/").extension(acceptor).body(())?;
        let error = axum_accept(request).await.err().context("it is refused")?;
        ensure!(error.status() == Some(StatusCode::METHOD_NOT_ALLOWED), "{error:?}");

        let error = axum_accept(Request::head("/").body(())?).await.err().context("HEAD")?;
        ensure!(error.kind() == ErrorKind::InvalidInput, "{error:?}");
        Ok(())
    })
}

#[test]
fn a_caller_that_is_dropped_and_a_handler_that_does_not_answer_leave_nothing() -> TestResult {
    run(async {
        let (accept, caller) = axum_accept(Request::post("/").body(())?).await?;
        drop(caller);
        let (server, response) = accept.accept();
        drop(response);
        ensure!(server.closed().await.is_err());
        Ok(())
    })
}

#[test]
fn a_whole_router_runs_without_a_server() -> TestResult {
    run(async {
        let app = Router::new().route(
            "/echo",
            any(|accept: Accept| async { accept.on_conn(|conn| async { drop(echo(conn).await) }) }),
        );
        let app = TowerToHyperService::new(app);
        let (request, caller) = axum_request(Request::post("/echo").body(())?).await?;
        let conn = caller.answer(app.call(request).await?).await?;
        check_echo(conn, &noise(3 << 20, 1)).await?;

        let (request, caller) = axum_request(Request::post("/other").body(())?).await?;
        let error = caller.answer(app.call(request).await?).await.err().context("no route")?;
        ensure!(error.status() == Some(StatusCode::NOT_FOUND), "{error:?}");

        let (_, caller) = axum_request(Request::post("/").body(())?).await?;
        let error = caller.answer(Response::new(Body::empty())).await;
        ensure!(error.is_ok(), "200 without a connection is still 200");
        Ok(())
    })
}

#[test]
fn a_page_and_a_handler_of_axum_talk_in_json_without_a_server() -> TestResult {
    run(async {
        let request = Request::get("/live").header(PROTOCOL, "json, bearer.s3cret");
        let request = request.extension(lines()?).body(())?;
        ensure!(bearer_token(request.headers()) == Some("s3cret"));
        let (accept, caller) = axum_websocket(request).await?;
        let mut page = caller.answer(shout(accept).await).await?;
        ensure!(page.response().status() == StatusCode::SWITCHING_PROTOCOLS);
        ensure!(page.response().headers()[PROTOCOL] == "json", "{:?}", page.response());
        page.send_text("\"grüß dich\"").await?;
        ensure!(page.next().await? == Some(Message::Text("\"GRÜSS DICH\"".to_owned())));
        page.close(1000, "").await?;
        let end = page.next().await?;
        ensure!(matches!(end, Some(Message::Close(Some((1000, _))))), "{end:?}");
        ensure!(page.next().await?.is_none());

        let request = Request::get("/").header("origin", "https://elsewhere.example").body(())?;
        let error = axum_websocket(request).await.err().context("it is refused")?;
        ensure!(error.status() == Some(StatusCode::FORBIDDEN), "{error:?}");
        Ok(())
    })
}

#[test]
fn both_ends_of_a_websocket_are_made_without_a_server() -> TestResult {
    run(async {
        let (mut page, mut conn) =
            websocket(&Acceptor::default(), Request::get("/a?b").body(())?).await?;
        ensure!(*conn.transport() == Transport::WebSocketHttp1);
        ensure!(conn.uri().path() == "/a" && conn.uri().query() == Some("b"), "{}", conn.uri());
        page.send_binary(&b"up"[..]).await?;
        let mut heard = [0; 2];
        conn.read_exact(&mut heard).await?;
        ensure!(heard == *b"up");
        conn.write_all(b"down").await?;
        ensure!(page.next().await? == Some(Message::Binary("down".into())));
        conn.reset(Reason::CANCEL);
        let end = page.next().await?;
        ensure!(matches!(end, Some(Message::Close(Some((4008, _))))), "{end:?}");
        Ok(())
    })
}

#[test]
fn a_page_that_offers_a_token_gets_the_other_subprotocol_back() -> TestResult {
    run(async {
        let lines = lines()?;
        for offered in ["json, bearer.s3cret", "bearer.s3cret,json"] {
            let request = Request::get("/").header(PROTOCOL, offered).body(())?;
            let (page, conn) = websocket(&lines, request).await?;
            ensure!(page.response().headers()[PROTOCOL] == "json", "{offered}");
            ensure!(bearer_token(conn.headers()) == Some("s3cret"), "{offered}");
            let mut values = conn.framed(Json::<Value>::new());
            values.send(json!({})).await?;
        }
        Ok(())
    })
}

#[test]
fn a_websocket_that_is_refused_has_the_status_and_the_text() -> TestResult {
    run(async {
        let acceptor = Acceptor::builder().origins(["https://example.com"]).build()?;
        let request = Request::get("/").header("origin", "https://elsewhere.example").body(())?;
        let error = websocket(&acceptor, request).await.err().context("it is refused")?;
        ensure!(error.status() == Some(StatusCode::FORBIDDEN), "{error:?}");
        ensure!(error.to_string().contains("elsewhere"), "{error}");
        let error = websocket(&acceptor, Request::post("/").body(())?).await.err();
        ensure!(error.context("POST")?.kind() == ErrorKind::InvalidInput);
        Ok(())
    })
}
