//! Ports for servers that are stopped and started again, and URLs that lead through them.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use url::Url;

use crate::{Error, Result};

/// A loopback port that no other server of the test kit has, in any process, as long as this lives: neither while its own
/// server is down, nor for the moment of a look at whether it is free.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    /// The port of the same number that no server here uses is the mark of who has it. It goes with the process.
    _mark: UdpSocket,
}

impl Port {
    pub(crate) const fn number(&self) -> u16 {
        self.number
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number.fmt(f)
    }
}

/// Returns a loopback port that was free a moment ago, and keeps it from others of the test kit.
///
/// It lies below the range from which the system takes ports for outgoing connections: otherwise
/// some client could sit on a server's port while the server is down, or a client that knocks at
/// the closed port could end up connected to itself.
pub(crate) fn free() -> Result<Port> {
    const FIRST: u16 = 20_000;
    const SPAN: u16 = 10_000;
    for _ in 0..100 {
        let random = uuid::Uuid::new_v4().into_bytes();
        let number = FIRST + u16::from_le_bytes([random[0], random[1]]) % SPAN;
        let Ok(mark) = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)) else {
            continue;
        };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
            return Ok(Port {
                number,
                _mark: mark,
            });
        }
    }
    Err(Error::new(
        "no free port between 20000 and 30000 on the loopback",
    ))
}

/// Returns a server's URL with another address in the server's place.
pub(crate) fn lead_through(url: &str, address: SocketAddr) -> Result<String> {
    let invalid = format!("no URL of a server to put {address} in");
    let mut url = Url::parse(url).map_err(|error| Error::because(&*invalid, error))?;
    url.set_host(Some(&address.ip().to_string()))
        .map_err(|error| Error::because(&*invalid, error))?;
    url.set_port(Some(address.port()))
        .map_err(|()| Error::new(invalid))?;
    Ok(url.into())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// By chance alone one of fifty such runs would find 300 different ones.
    #[test]
    fn a_port_is_of_one_as_long_as_it_is_kept() {
        let ports: Vec<_> = (0..300).map(|_| free().unwrap()).collect();
        let numbers: HashSet<_> = ports.iter().map(Port::number).collect();
        assert_eq!(numbers.len(), ports.len());
    }
}
