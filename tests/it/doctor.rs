//! `h2conn::doctor`, the server's end of `h2conn doctor`, in each kind of server. The tool's own tests
//! (`crates/cli/tests/it/doctor.rs`) run the command against it.

use std::convert::Infallible;

use anyhow::{Context, ensure};
use axum::Router;
use h2conn::doctor::{Doctor, FIELD, RESET};
use h2conn::http::{Request, StatusCode};
use h2conn::{Client, Conn, Error, Listener, Reason};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::serve::served;
use crate::support::foreign::server;
use crate::support::framework::{Host, axum_over, stock};
use crate::support::{Over, Site, TestResult, check_echo, listen, noise, run};

/// More than a window.
const MUCH: usize = 3 << 20;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A server that has a doctor at `/doctor/`.
async fn site(host: Host) -> TestResult<Site> {
    let doctor = Doctor::default();
    let app: Router = Router::new().merge(doctor.router("/doctor"));
    match host {
        Host::Listener | Host::Translated => {
            let (mut listener, site) = listen(Over::Cleartext).await?;
            tokio::spawn(async move { serve_each(&mut listener, &doctor).await });
            Ok(site)
        }
        Host::Hyper => {
            server(Over::Cleartext, move |io| {
                let doctor = doctor.clone();
                async move {
                    let accepts = service_fn(|request: Request<Incoming>| {
                        let accepted = doctor.accept(request);
                        let response = accepted.unwrap_or_else(|error| error.into_response());
                        async { Ok::<_, Infallible>(response) }
                    });
                    let served = stock().serve_connection(TokioIo::new(io), accepts).await;
                    served.map_err(|error| anyhow::anyhow!("{error}"))
                }
            })
            .await
        }
        Host::Axum => server(Over::Cleartext, move |io| axum_over(io, app.clone())).await,
        Host::Served => served(Over::Cleartext, app).await,
    }
}

struct Visitor {
    client: Client,
    site: Site,
}

impl Visitor {
    async fn ask(&self, probe: &str) -> TestResult<Conn> {
        let (conn, response) = self.client.connect(self.site.url(probe)).await?;
        ensure!(response.headers().contains_key(FIELD), "{response:?}");
        Ok(conn)
    }

    async fn report(&self) -> TestResult<String> {
        let mut conn = self.ask(&format!("/doctor/report/{TOKEN}")).await?;
        conn.shutdown().await?;
        all_of(&mut conn).await
    }
}

async fn all_of(conn: &mut Conn) -> TestResult<String> {
    let mut all = String::new();
    conn.read_to_string(&mut all).await?;
    Ok(all)
}

#[test]
fn each_probe_is_answered_in_each_server() -> TestResult {
    run(async {
        for host in Host::ALL {
            probes(host).await.with_context(|| format!("in {host:?}"))?;
        }
        Ok(())
    })
}

async fn probes(host: Host) -> TestResult {
    let site = site(host).await?;
    let visitor = Visitor { client: site.client()?, site };

    check_echo(visitor.ask("/doctor/").await?, &noise(MUCH, 1)).await?;

    let mut counted = visitor.ask("/doctor/count").await?;
    counted.write_all(&noise(MUCH, 2)).await?;
    counted.shutdown().await?;
    ensure!(all_of(&mut counted).await? == format!("{MUCH} bytes"));

    let mut reset = visitor.ask("/doctor/resets").await?;
    reset.read_exact(&mut [0; 6]).await?;
    reset.write_all(b"a").await?;
    let error = reset.read(&mut [0]).await.err().context("a reset")?;
    let reason = Error::from_io(&error).and_then(Error::reason);
    ensure!(reason == Some(RESET), "{error}");

    let mut hears = visitor.ask(&format!("/doctor/hears/{TOKEN}")).await?;
    hears.write_all(b"some").await?;
    hears.read_exact(&mut [0]).await?;
    hears.reset(Reason::CANCEL);
    let report = visitor.report().await?;
    ensure!(report.starts_with("error: "), "{report}");

    let mut ends_first = visitor.ask(&format!("/doctor/ends-first/{TOKEN}")).await?;
    ensure!(all_of(&mut ends_first).await? == "all of it");
    ends_first.write_all(&noise(MUCH, 3)).await?;
    ends_first.shutdown().await?;
    // It comes before the older one with the same token, once there is one.
    while visitor.report().await? != format!("{MUCH} bytes") {}

    let unknown = visitor.client.connect(visitor.site.url("/doctor/favicon.ico")).await;
    let error = unknown.err().context("no such probe")?;
    ensure!(error.status() == Some(StatusCode::NOT_FOUND), "{error}");
    Ok(())
}

/// The documentation of a doctor promises it.
#[test]
fn a_clone_knows_of_what_another_has_served() -> TestResult {
    run(async {
        let doctor = Doctor::default();
        let (mut listener, site) = listen(Over::Cleartext).await?;
        let serving = serve_each(&mut listener, &doctor);
        let visitor = Visitor { client: site.client()?, site };
        let asking = async {
            let mut hears = visitor.ask(&format!("/hears/{TOKEN}")).await?;
            hears.shutdown().await?;
            ensure!(all_of(&mut hears).await? == "a");
            let mut conn = visitor.ask(&format!("/report/{TOKEN}")).await?;
            conn.shutdown().await?;
            ensure!(all_of(&mut conn).await? == "an end after 0 bytes");
            TestResult::Ok(())
        };
        tokio::select! {
            asked = asking => asked,
            () = serving => anyhow::bail!("the listener has ended"),
        }
    })
}

async fn serve_each(listener: &mut Listener, doctor: &Doctor) {
    while let Some(incoming) = listener.accept().await {
        let doctor = doctor.clone();
        tokio::spawn(async move { doctor.serve(incoming).await });
    }
}
