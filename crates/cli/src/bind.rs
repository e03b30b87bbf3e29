//! Builds a listener from the options of the command line.

use std::net::IpAddr;

use h2conn::http::header;
use h2conn::tls::{Identity, ServerTls};
use h2conn::{Incoming, Listener, ListenerBuilder};

use crate::args::{Destination, ListenOptions};
use crate::dial::read;
use crate::exit::Result;
use crate::identity;
use crate::private;
use crate::report::say;

/// Gives the listener the certificate that the options name, or none. Makes the file of `--identity` if it is missing,
/// and prints the fingerprint of a certificate that was made here.
pub(crate) fn with_tls(
    builder: ListenerBuilder,
    options: &ListenOptions,
) -> Result<ListenerBuilder> {
    Ok(match options.cleartext {
        true => builder,
        false => builder.tls(tls(options)?),
    })
}

/// Listens where the options say, and prints the line `listening on …` with the actual port.
pub(crate) async fn listen(builder: ListenerBuilder, options: &ListenOptions) -> Result<Listener> {
    let builder = match options.origin.is_empty() {
        true => builder,
        false => builder.origins(&options.origin),
    };
    let listener = match &options.addr {
        Destination::Tcp { host, port } => builder.bind((host.as_str(), *port)).await?,
        #[cfg(unix)]
        Destination::Unix(path) => builder.bind_unix(path).await?,
        #[cfg(not(unix))]
        Destination::Unix(_) => unreachable!("the command line refuses it"),
    };
    let scheme = if options.cleartext { "http" } else { "https" };
    match listener.local_addr().socket_addr() {
        Some(addr) => say(format_args!("listening on {scheme}://{addr}/")),
        None => say(format_args!("listening on {} ({scheme})", listener.local_addr())),
    }
    Ok(listener)
}

/// Whether only programs of this machine can reach a listener on this address. A name other than
/// `localhost` could be any address.
pub(crate) fn is_local(addr: &Destination) -> bool {
    match addr {
        Destination::Unix(_) => true,
        Destination::Tcp { host, .. } => match host.parse::<IpAddr>() {
            Ok(ip) => ip.to_canonical().is_loopback(),
            Err(_) => host.eq_ignore_ascii_case("localhost"),
        },
    }
}

/// Why a page's request is not taken: it was sent to a name, and `--origin` lists none. The owner of a name can have it
/// point here, so that a page of theirs looks like one of this server (DNS rebinding). Programs send no origin.
pub(crate) fn forbidden_page(incoming: &Incoming, origins: &[String]) -> Option<String> {
    let host = incoming.uri().host().unwrap_or_default();
    let is_page = incoming.headers().contains_key(header::ORIGIN);
    (is_page && origins.is_empty() && !is_own_name(host)).then(|| {
        format!(
            "pages may connect here by localhost or an address, and not by the name {host:?}, unless the server lists their \
             origin (--origin URL)"
        )
    })
}

/// Whether no other machine can be meant by this host.
fn is_own_name(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let host = host.to_ascii_lowercase();
    address.parse::<IpAddr>().is_ok() || host == "localhost" || host.ends_with(".localhost")
}

fn tls(options: &ListenOptions) -> Result<ServerTls> {
    let given = options.cert.as_ref().zip(options.key.as_ref());
    let identity = match (given, &options.identity) {
        (Some((cert, key)), _) => {
            let identity = Identity::from_pem_files(cert, key)?;
            private::warn_if_open(key, "the private key");
            identity
        }
        (None, Some(file)) => identity::kept(file, &names(&options.addr), host(&options.addr))?,
        (None, None) => {
            let identity = Identity::self_signed(names(&options.addr))?;
            say(format_args!("certificate made on the spot, SHA-256 {}", identity.fingerprint()));
            identity
        }
    };
    let tls = ServerTls::new(identity);
    Ok(match &options.client_ca {
        Some(file) => tls.client_roots(read(file, "--client-ca")?),
        None => tls,
    })
}

/// The names that a certificate made here is for.
fn names(addr: &Destination) -> Vec<String> {
    let local = ["localhost", "127.0.0.1", "::1"];
    let other = host(addr).filter(|host| !local.contains(host));
    other.into_iter().chain(local).map(str::to_owned).collect()
}

/// The host that clients connect to, where the address names one.
fn host(addr: &Destination) -> Option<&str> {
    match addr {
        Destination::Tcp { host, .. } => {
            let is_any = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
            Some(host.as_str()).filter(|_| !is_any)
        }
        Destination::Unix(_) => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;

    #[test]
    fn only_names_of_this_machine_are_its_own() {
        for own in ["localhost", "LOCALHOST", "app.localhost", "127.0.0.1", "10.0.0.1", "[::1]"] {
            assert!(is_own_name(own), "{own}");
        }
        for foreign in ["evil.example", "localhost.evil.example", "notlocalhost", "127.0.0.1.x", ""]
        {
            assert!(!is_own_name(foreign), "{foreign}");
        }
    }

    #[test]
    fn a_listener_is_local_when_no_other_machine_can_reach_its_address() {
        let local = ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1", "LocalHost:1"];
        let open = ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "localhost.example:1", "db.example:1"];
        for (addr, right) in
            local.map(|addr| (addr, true)).into_iter().chain(open.map(|addr| (addr, false)))
        {
            assert_eq!(is_local(&addr.parse().unwrap()), right, "{addr}");
        }
        if cfg!(unix) {
            assert!(is_local(&"unix:/run/socket".parse().unwrap()));
        }
    }
}
