//! Connects the server to a target: rules, names, TCP.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use h2conn::http::StatusCode;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::names;
use super::rules::{Refusal, Rules};
use super::target::{Host, Target};
use super::tcp;
use super::unreached::Unreached;
use crate::places::{Line, Place};

/// Less than the 30 seconds that a client waits for the response, so that the client learns the
/// reason.
const LIMIT: Duration = Duration::from_secs(10);

/// The response to a client whose target is not reached.
#[derive(Debug)]
pub(crate) struct NoWay {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
    /// The kind of failure behind the status 502, which has several.
    pub(crate) unreached: Option<Unreached>,
}

/// Connects to a target that `rules` allow, for the client that has the place `held`. Each attempt
/// beside the first takes another one.
///
/// # Errors
///
/// The response for the client.
///
/// # Cancel safety
///
/// Dropping the future closes everything that it has opened.
pub(crate) async fn dial(
    rules: &Rules,
    target: &Target,
    held: &Place<Line>,
) -> Result<TcpStream, NoWay> {
    match timeout(LIMIT, dial_without_limit(rules, target, held)).await {
        Ok(result) => result,
        Err(_) => Err(NoWay {
            status: StatusCode::GATEWAY_TIMEOUT,
            text: format!("{target} did not answer within {} s", LIMIT.as_secs()),
            unreached: None,
        }),
    }
}

async fn dial_without_limit(
    rules: &Rules,
    target: &Target,
    held: &Place<Line>,
) -> Result<TcpStream, NoWay> {
    let forbidden = |refusal: Refusal| NoWay {
        status: StatusCode::FORBIDDEN,
        text: format!("{target} is {refusal}"),
        unreached: None,
    };
    let failed = |what: &str, error: &io::Error, unreached| match error.kind() {
        // The system's own limit can be shorter than ours.
        io::ErrorKind::TimedOut => NoWay {
            status: StatusCode::GATEWAY_TIMEOUT,
            text: format!("{what} {target}: {error}"),
            unreached: None,
        },
        _ => NoWay {
            status: StatusCode::BAD_GATEWAY,
            text: format!("{what} {target}: {error}"),
            unreached: Some(unreached),
        },
    };
    let allowed = rules.check(target).map_err(forbidden)?;
    let found = names::look_up(target, held).await;
    let addresses =
        found.map_err(|error| failed("the server cannot find", &error, Unreached::Host))?;
    // From here on, only the checked addresses are used. Resolving the name again could give
    // others.
    let addresses = addresses.into_iter().map(as_connected_to);
    let addresses = rules.filter(allowed, addresses).map_err(forbidden)?;
    let connected = tcp::connect_within(addresses, Some(held)).await;
    connected.map_err(|error| failed("the server cannot reach", &error, Unreached::by(&error)))
}

/// The address that a connection to `address` really reaches. Systems take the unspecified address
/// for this machine, so it must not bypass a rule for this machine.
fn as_connected_to(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => (Ipv4Addr::LOCALHOST, address.port()).into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => (Ipv6Addr::LOCALHOST, address.port()).into(),
        _ => address,
    }
}

/// Whether a client may have the server listen on this address, or the reason why not.
pub(crate) fn may_bind(rules: &Rules, ip: IpAddr, port: u16) -> Result<(), Refusal> {
    let allowed = rules.check(&Target { host: Host::Ip(ip), port })?;
    rules.filter(allowed, [SocketAddr::new(ip, port)]).map(drop)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use tokio::net::TcpListener;

    use super::*;
    use crate::places::{Peer, Places};
    #[cfg(target_os = "linux")]
    use crate::tunnel::tcp::tests::Silent;

    async fn dial(rules: &Rules, target: &Target) -> Result<TcpStream, NoWay> {
        let held = Places::new(100, "tunnels", "--max-tunnels").take(Peer::LOCAL).unwrap();
        super::dial(rules, target, &held).await
    }

    fn rules(allow: &str) -> Rules {
        Rules { allow: vec![allow.parse().unwrap()], deny: Vec::new() }
    }

    #[tokio::test]
    async fn an_allowed_target_is_reached_by_name_and_by_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "localhost"] {
            let target = Target { host: host.parse().unwrap(), port };
            dial(&rules("127.0.0.0/8:*"), &target).await.unwrap();
        }
    }

    #[tokio::test]
    async fn the_unspecified_address_is_this_machine_and_does_not_pass_by_its_rules() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let denying = |deny: [&str; 2]| Rules {
            allow: vec!["*:*".parse().unwrap()],
            deny: deny.map(|rule| rule.parse().unwrap()).to_vec(),
        };
        // The system's resolver takes the last one for 0.0.0.0.
        for host in ["0.0.0.0", "::", "::ffff:0.0.0.0", "0"] {
            let target = Target { host: host.parse().unwrap(), port };
            let denied = dial(&denying(["127.0.0.0/8:*", "[::1]:*"]), &target).await.unwrap_err();
            assert_eq!(denied.status, StatusCode::FORBIDDEN, "{host}: {}", denied.text);
            if host != "::" {
                dial(&rules("127.0.0.1:*"), &target).await.unwrap();
                dial(&denying(["[::1]:*", "10.0.0.0/8:*"]), &target).await.unwrap();
            }
        }
        let target = Target { host: "::ffff:127.0.0.1".parse().unwrap(), port };
        dial(&denying(["127.0.0.1:*", "[::1]:*"]), &target).await.unwrap_err();
    }

    #[tokio::test]
    async fn what_stands_in_the_way_is_told_by_status_and_text() {
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap().port()
        };
        let target = Target { host: "127.0.0.1".parse().unwrap(), port };
        let refused = dial(&rules("127.0.0.1:*"), &target).await.unwrap_err();
        assert_eq!(refused.status, StatusCode::BAD_GATEWAY);
        assert_eq!(refused.unreached, Some(Unreached::Refused));
        assert!(refused.text.contains(&target.to_string()), "{}", refused.text);
        let forbidden = dial(&rules("10.0.0.0/8:*"), &target).await.unwrap_err();
        assert_eq!(forbidden.status, StatusCode::FORBIDDEN);
        assert!(forbidden.text.contains("10.0.0.0/8:*"), "{}", forbidden.text);
    }
    #[cfg(target_os = "linux")]
    #[tokio::test(start_paused = true)]
    async fn a_target_that_does_not_answer_is_told_after_the_limit() {
        let silent = Silent::new().await;
        let nobody = silent.addr;
        let target = Target { host: Host::Ip(nobody.ip()), port: nobody.port() };
        let late = dial(&rules("127.0.0.1:*"), &target).await.unwrap_err();
        assert_eq!((late.status, late.unreached), (StatusCode::GATEWAY_TIMEOUT, None));
    }

    /// On Linux, TCP has no route to a multicast address, whatever the routing table is.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_network_that_cannot_be_reached_is_told() {
        let target = Target { host: "224.0.0.1".parse().unwrap(), port: 1 };
        let unreached = dial(&rules("*:*"), &target).await.unwrap_err();
        assert_eq!(unreached.status, StatusCode::BAD_GATEWAY);
        assert_eq!(unreached.unreached, Some(Unreached::Network), "{}", unreached.text);
    }
}
