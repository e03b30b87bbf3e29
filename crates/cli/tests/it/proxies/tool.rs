//! The tool through a proxy.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::boxes::Proxy;
use super::kinds::{Form, Kind};
use super::ready;
use super::table::GOOD;
use crate::served::{Server, address};
use crate::support::noise;

/// The tool's server behind a proxy.
pub(super) struct Tools {
    server: Server,
    /// Stops the proxy.
    _proxy: Proxy,
    cacert: String,
    /// The value of `--reach`.
    reach: &'static str,
}

impl Tools {
    pub(super) async fn start(kind: Kind, form: Form, program: &std::path::Path) -> Result<Tools> {
        let args = ["--files", "{}", "--writable", "--allow", "127.0.0.1:*"];
        let mut server = Server::start(&args).await;
        let upstream = server.url.trim_start_matches("http://").trim_end_matches('/').parse()?;
        let mut proxy = Proxy::start(kind, form, program, upstream)?;
        ready::until_it_answers(&mut proxy).await?;
        server.url.clone_from(&proxy.url);
        let cacert = server.home.path().join("proxy.pem");
        fs::write(&cacert, &proxy.certificate)?;
        let cacert = cacert.to_str().context("a path of text")?.to_owned();
        Ok(Tools { server, _proxy: proxy, cacert, reach: form.option() })
    }

    /// The streams that the proxy allows on a link.
    pub(super) async fn see_streams(&self) -> Result<String> {
        let args = ["-v", "--cacert", &self.cacert, "-L", "0:127.0.0.1:9"];
        let told = self.server.forward(&args).says("settings of the peer").await;
        let streams = told.split("max_concurrent_streams=").nth(1).unwrap_or("no limit");
        Ok(streams.split(',').next().unwrap_or_default().to_owned())
    }

    /// A TCP server that answers after the end of its input.
    pub(super) async fn see_tunnel(&self) -> Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let target = listener.local_addr()?;
        tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await?;
            let mut all = Vec::new();
            tcp.read_to_end(&mut all).await?;
            all.reverse();
            tcp.write_all(&all).await
        });
        let way = format!("0:{target}");
        let args = ["-v", "--cacert", &self.cacert, "--reach", self.reach, "-L", &way];
        let mut forward = self.server.forward(&args);
        let local = address(&forward.says(", for 127.0.0.1").await);
        let mut tcp = TcpStream::connect(local).await?;
        let bytes = noise(100_000);
        tcp.write_all(&bytes).await?;
        tcp.shutdown().await?;
        let mut back = Vec::new();
        if tcp.read_to_end(&mut back).await.is_err() {
            forward.says("no response within 30 s").await;
            return Ok("reset after 30 s".to_owned());
        }
        back.reverse();
        ensure!(back == bytes, "{} bytes came back", back.len());
        Ok(GOOD.to_owned())
    }

    /// A file there and back.
    pub(super) async fn see_files(&self) -> Result<String> {
        let home = self.server.home.path();
        let (file, back) = (home.join(".sent"), home.join(".back"));
        fs::write(&file, noise(3_000_000))?;
        let url = format!("{}files/file", self.server.url);
        let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
        for args in [
            ["send", "--cacert", &self.cacert, "--reach", self.reach, &path(&file), &url],
            ["recv", "--cacert", &self.cacert, "--reach", self.reach, &url, &path(&back)],
        ] {
            let ended = self.server.run(&args).await;
            ensure!(ended.code == Some(0), "{}: {:?}: {}", args[0], ended.code, ended.said);
        }
        ensure!(fs::read(file)? == fs::read(back)?, "it is not the same");
        Ok(GOOD.to_owned())
    }
}
