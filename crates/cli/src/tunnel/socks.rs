//! The SOCKS5 side of `forward -D` (RFC 1928): the clients' requests, and the replies.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fast_socks5::server::{Socks5ServerProtocol, states};
use fast_socks5::util::target_addr::TargetAddr;
use fast_socks5::{ReplyError, Socks5Command};
use h2conn::{Error, ErrorKind};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::target::{Host, Target};
use super::unreached::Unreached;

/// How long a client may take to name its target.
const LIMIT: Duration = Duration::from_secs(10);

/// A client that has named its target and waits for the reply.
pub(crate) struct Request<T> {
    pub(crate) target: Target,
    answer: Socks5ServerProtocol<T, states::CommandRead>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Request<T> {
    /// Reads a client's request. Names are kept as they are, because the server resolves them.
    ///
    /// # Errors
    ///
    /// If the client does not speak SOCKS5, or asks for something other than a TCP connection. The
    /// client has then received its reply.
    pub(crate) async fn read(io: T) -> Result<Request<T>> {
        match timeout(LIMIT, Request::read_without_limit(io)).await {
            Ok(request) => request,
            Err(_) => bail!("no SOCKS5 request within {} s", LIMIT.as_secs()),
        }
    }

    async fn read_without_limit(io: T) -> Result<Request<T>> {
        let greeted = Socks5ServerProtocol::accept_no_auth(io)
            .await
            .context("expected SOCKS5 without a password")?;
        let (answer, command, address) =
            greeted.read_command().await.context("expected a SOCKS5 request")?;
        if command != Socks5Command::TCPConnect {
            answer.reply_error(&ReplyError::CommandNotSupported).await?;
            bail!("SOCKS5 command {command:?} is not supported; CONNECT is");
        }
        let target = match address {
            TargetAddr::Ip(address) => {
                Ok(Target { host: Host::Ip(address.ip().to_canonical()), port: address.port() })
            }
            TargetAddr::Domain(name, port) => name.parse().map(|host| Target { host, port }),
        };
        match target {
            Ok(target) => Ok(Request { target, answer }),
            Err(error) => {
                answer.reply_error(&ReplyError::AddressTypeNotSupported).await?;
                Err(error)
            }
        }
    }

    /// Replies that the connection is open. From here on only the user's bytes follow.
    pub(crate) async fn accept(self) -> Result<T> {
        // The address at the server's side is not known here, and clients do not use it.
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        Ok(self.answer.reply_success(address).await?)
    }

    /// Replies that there is no connection, because of `error`.
    pub(crate) async fn refuse(self, error: &Error) -> Result<()> {
        Ok(self.answer.reply_error(&reply_to(error)).await?)
    }
}

/// The reply of RFC 1928 §6 for this error. The failure of a tunnel says nothing about the target.
fn reply_to(error: &Error) -> ReplyError {
    match (error.kind(), error.status().map(|status| status.as_u16())) {
        (ErrorKind::Rejected, Some(401 | 403)) => ReplyError::ConnectionNotAllowed,
        (ErrorKind::Rejected, Some(502)) => match error.headers().and_then(Unreached::named_in) {
            Some(Unreached::Refused) => ReplyError::ConnectionRefused,
            Some(Unreached::Network) => ReplyError::NetworkUnreachable,
            Some(Unreached::Host) => ReplyError::HostUnreachable,
            Some(Unreached::Other) => ReplyError::GeneralFailure,
            // An older server does not send this field.
            None => ReplyError::HostUnreachable,
        },
        (ErrorKind::Rejected, Some(504)) => ReplyError::TtlExpired,
        _ => ReplyError::GeneralFailure,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// The result for a client that sends this at once, and everything that the client receives.
    async fn meet(said: &[u8]) -> (Result<Request<DuplexStream>>, Vec<u8>) {
        let (mut client, server) = duplex(4096);
        client.write_all(said).await.unwrap();
        client.shutdown().await.unwrap();
        match Request::read(server).await {
            Ok(request) => (Ok(request), Vec::new()),
            Err(error) => {
                let mut heard = Vec::new();
                client.read_to_end(&mut heard).await.unwrap();
                (Err(error), heard)
            }
        }
    }

    #[tokio::test]
    async fn each_kind_of_address_becomes_a_target() {
        let table: [(&[u8], &str); 4] = [
            (b"\x01\x0a\x00\x00\x01\x00\x50", "10.0.0.1:80"),
            (b"\x03\x0aDB.example\x15\x38", "db.example:5432"),
            (b"\x03\x09127.0.0.1\x00\x50", "127.0.0.1:80"),
            (b"\x04\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\x00\x00\x01\x00\x50", "10.0.0.1:80"),
        ];
        for (address, expected) in table {
            let said = [b"\x05\x01\x00\x05\x01\x00", address].concat();
            let (request, heard) = meet(&said).await;
            let request = request.unwrap_or_else(|error| panic!("{expected}: {error:#} {heard:?}"));
            assert_eq!(request.target.to_string(), expected);
        }
    }

    #[tokio::test]
    async fn what_cannot_be_done_has_its_answer() {
        let table: [(&[u8], &[u8]); 6] = [
            // BIND, UDP ASSOCIATE, and an unknown command.
            (b"\x05\x01\x00\x05\x02\x00\x01\x0a\x00\x00\x01\x00\x50", b"\x05\x00\x05\x07"),
            (b"\x05\x01\x00\x05\x03\x00\x01\x0a\x00\x00\x01\x00\x50", b"\x05\x00\x05\x07"),
            (b"\x05\x01\x00\x05\x09\x00\x01\x0a\x00\x00\x01\x00\x50", b"\x05\x00\x05\x07"),
            // An unknown kind of address, and an invalid name.
            (b"\x05\x01\x00\x05\x01\x00\x02\x0a\x00\x00\x01\x00\x50", b"\x05\x00\x05\x08"),
            (b"\x05\x01\x00\x05\x01\x00\x03\x03a/b\x00\x50", b"\x05\x00\x05\x08"),
            // Only authentication with a password.
            (b"\x05\x01\x02", b"\x05\xff"),
        ];
        for (said, expected) in table {
            let (request, heard) = meet(said).await;
            assert!(request.is_err() && heard.starts_with(expected), "{said:?}: {heard:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_client_sends_is_an_answer_or_an_error(said: Vec<u8>) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            let runtime = runtime.expect("a runtime without sockets");
            for start in [&b""[..], b"\x05\x01\x00", b"\x05\x01\x00\x05\x01\x00"] {
                let said = [start, &said].concat();
                runtime.block_on(async { drop(meet(&said).await) });
            }
        }
    }
}
