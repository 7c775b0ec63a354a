//! Ports for servers that are stopped and started again, and URLs that lead through them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use url::Url;

use crate::{Error, Result};

/// Returns a loopback port that was free a moment ago.
///
/// It lies below the range from which the system takes ports for outgoing connections: otherwise
/// some client could sit on a server's port while the server is down, or a client that knocks at
/// the closed port could end up connected to itself.
pub(crate) fn free() -> Result<u16> {
    const FIRST: u16 = 20_000;
    const SPAN: u16 = 10_000;
    for _ in 0..100 {
        let random = uuid::Uuid::new_v4().into_bytes();
        let port = FIRST + u16::from_le_bytes([random[0], random[1]]) % SPAN;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
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
