//! Addresses that the program gives for a host, in place of the resolver's.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use super::target::Origin;
use crate::error::{Error, ErrorKind, Result};

/// The addresses of some hosts, by name and port.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosts(HashMap<(String, u16), Vec<IpAddr>>);

impl Hosts {
    pub(super) fn set(&mut self, host: String, port: u16, addresses: Vec<IpAddr>) {
        self.0.insert((host.to_ascii_lowercase(), port), addresses);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn check(&self) -> Result<()> {
        match self.0.iter().find(|(_, addresses)| addresses.is_empty()) {
            Some(((host, port), _)) => {
                let message = format!("resolve has no address for {host:?}, port {port}");
                Err(Error::new(ErrorKind::InvalidInput, message))
            }
            None => Ok(()),
        }
    }

    /// The addresses of an origin, if the program has given some.
    pub(super) fn of(&self, origin: &Origin) -> Option<Vec<SocketAddr>> {
        let addresses = self.0.get(&(origin.host.clone(), origin.port))?;
        Some(addresses.iter().map(|ip| SocketAddr::new(*ip, origin.port)).collect())
    }
}
