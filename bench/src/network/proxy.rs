//! A proxy of threads that sleep: the timers of an async runtime tick once a millisecond, which
//! is all that is to be added here.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// Holds every answer of a server back, as a longer cable would: a large answer is late, but no
/// slower. Runs until the process ends.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    round_trips: Arc<AtomicU64>,
}

impl Proxy {
    /// Starts in front of the server at this host and port.
    pub(super) fn start(server: &str, delay: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let round_trips = Arc::new(AtomicU64::new(0));
        let (server, counter) = (server.to_owned(), Arc::clone(&round_trips));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // Who connects sees a closed connection, and says so.
                let _ = carry(client, &server, delay, &counter);
            }
        });
        Ok(Self {
            address,
            round_trips,
        })
    }

    /// Returns how many answers have reached a client that had asked.
    pub(super) fn round_trips(&self) -> u64 {
        self.round_trips.load(Ordering::SeqCst)
    }
}

/// A piece of an answer, and when it is due.
struct Piece {
    due: Instant,
    bytes: Vec<u8>,
}

/// Starts the three threads of a connection; each ends with the socket it reads from.
fn carry(
    client: TcpStream,
    server: &str,
    delay: Duration,
    round_trips: &Arc<AtomicU64>,
) -> io::Result<()> {
    let server = TcpStream::connect(server)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let asked = Arc::new(AtomicBool::new(false));
    let (pieces, due) = mpsc::channel();
    {
        let (client, server, asked) =
            (client.try_clone()?, server.try_clone()?, Arc::clone(&asked));
        thread::spawn(move || {
            let _ = requests(&client, &server, &asked);
            let _ = server.shutdown(Shutdown::Write);
        });
    }
    thread::spawn(move || arrivals(&server, &pieces, delay));
    let round_trips = Arc::clone(round_trips);
    thread::spawn(move || {
        let _ = answers(&due, &client, &asked, &round_trips);
        let _ = client.shutdown(Shutdown::Both);
    });
    Ok(())
}

fn requests(mut client: &TcpStream, mut server: &TcpStream, asked: &AtomicBool) -> io::Result<()> {
    let mut chunk = [0; 16 * 1024];
    loop {
        let length = client.read(&mut chunk)?;
        if length == 0 {
            return Ok(());
        }
        // Before the server can have an answer.
        asked.store(true, Ordering::SeqCst);
        server.write_all(&chunk[..length])?;
    }
}

fn arrivals(mut server: &TcpStream, pieces: &Sender<Piece>, delay: Duration) {
    let mut chunk = [0; 16 * 1024];
    while let Ok(length @ 1..) = server.read(&mut chunk) {
        let piece = Piece {
            due: Instant::now() + delay,
            bytes: chunk[..length].to_vec(),
        };
        if pieces.send(piece).is_err() {
            return;
        }
    }
}

fn answers(
    pieces: &Receiver<Piece>,
    mut client: &TcpStream,
    asked: &AtomicBool,
    round_trips: &AtomicU64,
) -> io::Result<()> {
    for piece in pieces {
        thread::sleep(piece.due.saturating_duration_since(Instant::now()));
        // Before the client can ask again.
        if asked.swap(false, Ordering::SeqCst) {
            round_trips.fetch_add(1, Ordering::SeqCst);
        }
        client.write_all(&piece.bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_late_and_counted() -> io::Result<()> {
        const DELAY: Duration = Duration::from_millis(20);
        let echo = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = echo.local_addr()?;
        thread::spawn(move || {
            let (mut server, _) = echo.accept()?;
            io::copy(&mut server.try_clone()?, &mut server)
        });
        let proxy = Proxy::start(&address.to_string(), DELAY)?;
        let mut client = TcpStream::connect(proxy.address)?;
        let started = Instant::now();
        for _ in 0..2 {
            client.write_all(b"ping")?;
            client.read_exact(&mut [0; 4])?;
        }
        assert!(started.elapsed() >= 2 * DELAY);
        assert_eq!(proxy.round_trips(), 2);
        Ok(())
    }
}
