//! The proxies, in processes of their own, with the configurations of `interop/proxies`.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

use anyhow::{Context, Result, bail, ensure};
use h2conn::tls::Identity;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

use super::kinds::{Form, Kind};

/// The beginning of a private key in PEM.
const KEY: &str = "-----BEGIN PRIVATE KEY";

/// A running proxy. It is killed when this is dropped.
pub(super) struct Proxy {
    pub(super) kind: Kind,
    pub(super) form: Form,
    /// Texts of the configuration that are replaced, and their replacements.
    faults: &'static [(&'static str, &'static str)],
    /// The address of the proxy, for clients that speak TLS.
    pub(super) url: String,
    /// The certificate in PEM.
    pub(super) certificate: String,
    children: Vec<Child>,
    program: PathBuf,
    port: u16,
    folder: TempDir,
}

impl Proxy {
    /// Starts a proxy in front of a server without TLS. It may not listen yet.
    pub(super) fn start(
        kind: Kind,
        form: Form,
        program: &Path,
        upstream: SocketAddr,
    ) -> Result<Proxy> {
        Proxy::start_with(kind, form, program, upstream, &[])
    }

    /// The same, with faults in the configuration.
    pub(super) fn start_with(
        kind: Kind,
        form: Form,
        program: &Path,
        upstream: SocketAddr,
        faults: &'static [(&'static str, &'static str)],
    ) -> Result<Proxy> {
        let folder = tempfile::Builder::new()
            // The workers of nginx and Apache are other users.
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir()?;
        let both = Identity::self_signed_pem(["localhost", "127.0.0.1"])?;
        let (certificate, key) = both.split_at(both.find(KEY).context("a key")?);
        let path = folder.path();
        fs::write(path.join("cert.pem"), certificate)?;
        fs::write(path.join("key.pem"), key)?;
        fs::write(path.join("cert-and-key.pem"), &both)?;
        let certificate = certificate.to_owned();
        let port = free_port()?;
        let mut proxy = Proxy {
            kind,
            form,
            faults,
            url: format!("https://localhost:{port}/"),
            certificate,
            children: Vec::new(),
            program: program.to_owned(),
            port,
            folder,
        };
        proxy.configure(upstream)?;
        proxy.run(0)?;
        Ok(proxy)
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Writes the configuration, with the values of this test.
    fn configure(&self, upstream: SocketAddr) -> Result<()> {
        let folder = self.path("");
        let folder = folder.trim_end_matches('/');
        let mut all = String::new();
        for (name, mut text) in self.kind.files(self.form)? {
            all.push_str(&text);
            for (from, to) in self.faults {
                text = text.replace(from, to);
            }
            for (from, to) in self.kind.values(self.port, upstream) {
                text = text.replace(from, &to);
            }
            text = text.replace("/etc/ssl/h2conn", folder);
            text = text.replace("/etc/traefik/routes.yml", &self.path("traefik-routes.yml"));
            fs::write(self.path(name), text)?;
        }
        for (from, _) in self.faults {
            ensure!(all.contains(from), "the configuration of {:?} lacks {from:?}", self.kind);
        }
        for (from, _) in self.kind.values(self.port, upstream) {
            ensure!(all.contains(from), "the configuration of {:?} lacks {from:?}", self.kind);
        }
        match self.kind {
            Kind::OldNginx | Kind::Nginx => {
                let around = match self.form {
                    Form::Tcp => "stream {".to_owned(),
                    Form::Http2 | Form::WebSocket => format!(
                        "http {{ access_log off; client_body_temp_path {folder}/t1;\n\
                         proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;\n\
                         uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;"
                    ),
                };
                fs::write(
                    self.path("main.conf"),
                    format!(
                        "daemon off; pid {folder}/pid; error_log stderr;\n\
                         events {{ worker_connections 1024; }}\n\
                         {around}\ninclude {};\n}}\n",
                        self.path(self.kind.names()[0])
                    ),
                )?;
            }
            Kind::Apache => {
                let modules = [
                    ("mpm_event_module", "mpm_event"),
                    ("authz_core_module", "authz_core"),
                    ("ssl_module", "ssl"),
                    ("socache_shmcb_module", "socache_shmcb"),
                    ("headers_module", "headers"),
                    ("http2_module", "http2"),
                    ("proxy_module", "proxy"),
                    ("proxy_http_module", "proxy_http"),
                    ("proxy_http2_module", "proxy_http2"),
                ];
                let loads = modules.map(|(module, file)| {
                    format!("LoadModule {module} /usr/lib/apache2/modules/mod_{file}.so\n")
                });
                fs::write(
                    self.path("main.conf"),
                    format!(
                        "ServerRoot {folder}\nServerName localhost\nPidFile {folder}/pid\n\
                         ErrorLog /dev/stderr\nUser www-data\nGroup www-data\n{}\
                         Include {folder}/apache.conf\n",
                        loads.concat()
                    ),
                )?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Starts the program, for Envoy the one that takes over from the one before.
    fn run(&mut self, epoch: usize) -> Result<()> {
        let mut command = Command::new(&self.program);
        match self.kind {
            Kind::OldNginx | Kind::Nginx => {
                command.args(["-p", &self.path(""), "-c", &self.path("main.conf")])
            }
            Kind::OldHaproxy | Kind::Haproxy => {
                command.args(["-W", "-db", "-f", &self.path("haproxy.cfg")])
            }
            Kind::Envoy => command
                .args(["-c", &self.path("envoy.yaml"), "--concurrency", "2"])
                .args(["--log-level", "warning", "--base-id", &self.port.to_string()])
                .args(["--restart-epoch", &epoch.to_string()])
                .args(["--drain-time-s", "1", "--parent-shutdown-time-s", "2"]),
            Kind::Caddy => command
                .args(["run", "--adapter", "caddyfile", "--watch"])
                .args(["--config", &self.path("Caddyfile")])
                .env("CADDY_ADMIN", format!("unix/{}", self.path("admin")))
                .env("HOME", self.path("")),
            Kind::Traefik => command.arg(format!("--configFile={}", self.path("traefik.yml"))),
            Kind::Apache => command.args(["-DFOREGROUND", "-f", &self.path("main.conf")]),
            Kind::Nghttpx => command.arg(format!("--conf={}", self.path("nghttpx.conf"))),
        };
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let child = command.spawn().with_context(|| self.program.display().to_string())?;
        self.children.push(child);
        Ok(())
    }

    /// Fails with the end of the log if the proxy has ended.
    pub(super) fn is_alive(&mut self) -> Result<()> {
        let Some(child) = self.children.last_mut() else { bail!("it was killed") };
        if let Some(status) = child.try_wait()? {
            bail!("{} ended with {status}: {}", self.kind.name(), self.log());
        }
        Ok(())
    }

    pub(super) fn log(&self) -> String {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Changes the configuration, and has the proxy read it, as its operator does. Responses have the
    /// field [`MARK`] when it is in use.
    pub(super) fn reload(&mut self) -> Result<()> {
        let (mut is_changed, change) = (false, self.kind.change());
        for name in self.kind.names() {
            let before = fs::read_to_string(self.path(name))?;
            let after =
                change.iter().fold(before.clone(), |text, (from, to)| text.replace(from, to));
            if after != before {
                fs::write(self.path(name), after)?;
                is_changed = true;
            }
        }
        ensure!(is_changed, "nothing of {change:?} is in the configuration");
        let signal = match self.kind {
            Kind::OldNginx | Kind::Nginx | Kind::Nghttpx => Signal::HUP,
            Kind::OldHaproxy | Kind::Haproxy => Signal::USR2,
            Kind::Apache => Signal::USR1,
            Kind::Envoy => return self.run(self.children.len()),
            // They watch the file.
            Kind::Caddy | Kind::Traefik => return Ok(()),
        };
        let child = self.children.last().context("it was killed")?;
        Ok(kill_process(pid(child)?, signal)?)
    }

    /// Whether a process that was replaced has ended.
    pub(super) fn old_has_ended(&mut self) -> Result<bool> {
        match &mut self.children[..] {
            [old, _] => Ok(old.try_wait()?.is_some()),
            _ => Ok(true),
        }
    }

    /// Kills the proxy, with all that it has started.
    pub(super) fn kill(&mut self) {
        for mut child in self.children.drain(..) {
            if let Ok(pid) = pid(&child) {
                let _ = kill_process_group(pid, Signal::KILL);
            }
            let _ = child.wait();
        }
        if self.kind == Kind::Envoy {
            for name in fs::read_dir("/dev/shm").into_iter().flatten().filter_map(Result::ok) {
                // Envoy leaves its shared memory.
                let mine = format!("envoy_shared_memory_{}", self.port);
                if name.file_name().to_string_lossy().starts_with(&mine) {
                    let _ = fs::remove_file(name.path());
                }
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.kill();
    }
}

fn pid(child: &Child) -> Result<Pid> {
    Pid::from_raw(i32::try_from(child.id())?).context("a process has a number")
}

/// A port that is free, outside of those that the system hands out.
fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 5_000)?;
    for _ in 0..10_000 {
        let port = 15_000 + (first + NEXT.fetch_add(1, Relaxed)) % 15_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port is free")
}
