//! The changes that help: a table by box and fault. `docs/proxies.md` has the configurations.

use std::fmt;

use h2conn::http::{HeaderMap, header};

use super::Way;

/// The box that answers for the server, as far as its fields `server` and `via` tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Middlebox {
    kind: Option<Kind>,
    /// The fields as they stand.
    shown: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Nginx,
    Envoy,
    Caddy,
    Apache,
    Nghttpx,
    Haproxy,
    Traefik,
    Cloud,
}

/// The names in the fields, and whose they are.
const NAMES: [(&str, Kind); 13] = [
    ("nginx", Kind::Nginx),
    ("openresty", Kind::Nginx),
    ("envoy", Kind::Envoy),
    ("caddy", Kind::Caddy),
    ("apache", Kind::Apache),
    ("nghttpx", Kind::Nghttpx),
    ("haproxy", Kind::Haproxy),
    ("traefik", Kind::Traefik),
    ("cloudflare", Kind::Cloud),
    ("cloudfront", Kind::Cloud),
    ("awselb", Kind::Cloud),
    ("google", Kind::Cloud),
    ("azure", Kind::Cloud),
];

impl Middlebox {
    pub(crate) fn of(headers: &HeaderMap) -> Middlebox {
        let values =
            [header::SERVER, header::VIA].into_iter().flat_map(|name| headers.get_all(name));
        let values: Vec<_> =
            values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        let shown = values.join(", ");
        let lower = shown.to_ascii_lowercase();
        let named = NAMES.into_iter().find(|(name, _)| lower.contains(name));
        Middlebox { kind: named.map(|(_, kind)| kind), shown }
    }

    /// Whether a box has named itself.
    pub(crate) fn is_named(&self) -> bool {
        self.kind.is_some()
    }

    /// Whether it answers 403 to an upgrade that it does not know.
    pub(crate) fn refuses_upgrades_by_403(&self) -> bool {
        self.kind == Some(Kind::Envoy)
    }

    /// The change that lets a fault of a way go.
    pub(crate) fn advice(&self, fault: Fault, way: Way) -> String {
        // The directives for what happens behind a first answer are those of HTTP/2.
        let has_directive =
            way == Way::Http2 || matches!(fault, Fault::Refused(_) | Fault::Silence);
        let kind = self.kind.filter(|_| has_directive);
        let known = kind.and_then(|kind| directive(kind, fault));
        known.map_or_else(|| fault.advice().to_owned(), |text| format!("{}: {text}", self.shown))
    }
}

impl fmt::Display for Middlebox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// A promise of a connection that the way does not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The server cannot be reached at all.
    Unreachable,
    /// TLS fails, for instance because a certificate is not trusted.
    Tls,
    /// The way passes, and the server refuses.
    Denied,
    /// There is no connection at all.
    Refused(Way),
    /// The answer comes only with the server's first byte.
    HeldAnswer,
    /// The request is held back until it has ended.
    HeldRequest,
    /// A request may not be as long as it was.
    Body,
    /// The end of one side ends both, or is not told.
    HalfClose,
    /// A reset is not told, or looks like an end.
    Reset,
    /// A silent connection is ended.
    Silence,
    /// Several connections at once are not served.
    Many,
}

impl Fault {
    /// Where the box is not known.
    fn advice(self) -> &'static str {
        match self {
            Fault::Unreachable => "check the name and the port, and that something listens there",
            Fault::Tls => {
                "--cacert FILE trusts the certificates in it, --fingerprint SHA256 one certificate, -k any"
            }
            Fault::Denied => {
                "the way passes: check the path, that a doctor answers there (`h2conn listen --doctor`, or your server by \
                 `h2conn::doctor`), and what the server asks of a request (-H shows it)"
            }
            Fault::Refused(Way::Http2) => {
                "the server must run, and each box on the way must speak HTTP/2 on both sides"
            }
            Fault::Refused(Way::WebSocket) => {
                "each box on the way must pass the fields connection and upgrade on, by HTTP/1.1, and the server must \
                 take WebSockets"
            }
            Fault::HeldAnswer => {
                "let the server say something first, or do not wait for its answer before you send (Client::open)"
            }
            Fault::HeldRequest => "switch off the buffering of requests and responses in the box",
            Fault::Body => "lift the box's limit of a request's length and time",
            Fault::HalfClose => "let the server end its side last",
            Fault::Reset => "mark the end of your data yourself",
            Fault::Many => "raise the limits of connections, streams and workers in the box",
            Fault::Silence => {
                "lift the box's timeouts, or send a byte from each end more often than that"
            }
        }
    }
}

/// The change of a box for a fault, if it is known.
fn directive(kind: Kind, fault: Fault) -> Option<&'static str> {
    Some(match (kind, fault) {
        (Kind::Nginx, Fault::Refused(Way::Http2) | Fault::HeldRequest) => {
            "it does not reach the server, speaks HTTP/1.1 to it, or collects the request. Up to 1.29.3: grpc_pass grpc://HOST:PORT in place \
             of proxy_pass; from 1.29.4 on: proxy_http_version 2, proxy_request_buffering off, proxy_buffering off"
        }
        (Kind::Nginx, Fault::Refused(Way::WebSocket)) => {
            "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; \
             proxy_set_header Host $http_host"
        }
        (Kind::Nginx, Fault::Body) => "client_max_body_size 0",
        (Kind::Nginx, Fault::Many) => "worker_connections, of which each connection takes two",
        (Kind::Apache, Fault::Many) => "H2MaxWorkers and MaxRequestWorkers",
        (Kind::Nginx, Fault::Silence) => {
            "client_body_timeout, grpc_read_timeout and grpc_send_timeout (or proxy_read_timeout and proxy_send_timeout), \
             60 s each by default: set 1d"
        }
        (Kind::Envoy, Fault::Refused(Way::Http2)) => {
            "the cluster must speak HTTP/2: explicit_http_config: {http2_protocol_options: {}}"
        }
        (Kind::Envoy, Fault::Refused(Way::WebSocket)) => {
            "upgrade_configs: [{upgrade_type: websocket}], and http/1.1 among its alpn_protocols"
        }
        (Kind::Envoy, Fault::HeldRequest | Fault::Body) => "no buffer filter may be on the route",
        (Kind::Envoy, Fault::Silence) => {
            "stream_idle_timeout: 0s (5 minutes by default), and timeout: 0s on the route (15 s)"
        }
        (Kind::Caddy, Fault::Refused(Way::Http2)) => {
            "reverse_proxy h2c://HOST:PORT, or https:// if the server speaks TLS"
        }
        (Kind::Caddy, Fault::Silence) => "servers { timeouts { read_body_idle 24h } }",
        (Kind::Apache, Fault::Refused(Way::Http2)) => {
            "ProxyPass / h2c://HOST:PORT/ with mod_proxy_http2, in place of http://"
        }
        (Kind::Apache, Fault::Refused(Way::WebSocket)) => {
            "ProxyPass / http://HOST:PORT/ upgrade=websocket"
        }
        (Kind::Apache, Fault::Body) => "LimitRequestBody 0",
        (Kind::Apache, Fault::Silence) => "ProxyTimeout 86400",
        (Kind::Nghttpx, Fault::Refused(Way::Http2)) => "backend=HOST,PORT;/;proto=h2",
        (Kind::Haproxy, Fault::Refused(Way::Http2)) => {
            "server NAME HOST:PORT proto h2 (with TLS: ssl alpn h2)"
        }
        (Kind::Haproxy, Fault::Silence) => {
            "timeout client, timeout server, and for WebSockets timeout tunnel: 1d each"
        }
        (Kind::Traefik, Fault::Refused(Way::Http2)) => "url: h2c://HOST:PORT for the service",
        (Kind::Traefik, Fault::Silence) => {
            "respondingTimeouts: {readTimeout: 0} on the entry point"
        }
        (Kind::Cloud, Fault::Refused(Way::Http2) | Fault::HeldRequest) => {
            "most of these pass both ways at once only to gRPC, if at all; WebSockets often pass"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use h2conn::http::HeaderValue;

    use super::*;

    fn by(name: &'static str) -> Middlebox {
        let mut headers = HeaderMap::new();
        headers.insert(header::SERVER, HeaderValue::from_static(name));
        Middlebox::of(&headers)
    }

    #[test]
    fn a_box_is_known_by_its_name_and_gets_its_directive() {
        let advice = by("nginx/1.22.1").advice(Fault::HeldRequest, Way::Http2);
        assert!(advice.starts_with("nginx/1.22.1: ") && advice.contains("grpc_pass"), "{advice}");
        assert!(by("Caddy").advice(Fault::Silence, Way::Http2).contains("read_body_idle"));
        assert!(by("Apache/2.4.68 (Debian)").is_named());
        assert!(!by("my own").is_named() && !Middlebox::default().is_named());
        assert!(by("my own").advice(Fault::Silence, Way::Http2).contains("a byte from each end"));
        // Nothing can be changed there.
        assert!(by("nginx").advice(Fault::HalfClose, Way::Http2).contains("end its side last"));
        assert!(!by("nginx").advice(Fault::HeldRequest, Way::WebSocket).contains("grpc_pass"));
    }
}
