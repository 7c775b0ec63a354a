//! One connection through the proxy.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::switches::{CutPoint, Switches};

const CHUNK: usize = 16 * 1024;

/// How many pieces of an answer may be on their way at a time.
const ON_THE_WAY: usize = 1024;

/// Carries bytes both ways; ends when either side is done, or an armed cut is reached.
pub(super) async fn run(
    mut client: TcpStream,
    server: &str,
    delay: Duration,
    switches: &Switches,
) -> io::Result<()> {
    switches.running().await;
    let mut server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client_reader, client_writer) = client.split();
    let (server_reader, server_writer) = server.split();
    let state = State {
        switches,
        asked: AtomicBool::new(false),
        cutting: AtomicBool::new(false),
    };
    let (sender, receiver) = mpsc::channel(ON_THE_WAY);
    tokio::try_join!(
        state.requests(client_reader, server_writer),
        state.arrivals(server_reader, sender, delay),
        state.answers(receiver, client_writer),
    )?;
    Ok(())
}

/// A piece of an answer, and when it is due.
struct Piece {
    due: Instant,
    bytes: Vec<u8>,
}

struct State<'a> {
    switches: &'a Switches,
    /// The client has sent something since it last got an answer.
    asked: AtomicBool,
    /// The next answer is lost.
    cutting: AtomicBool,
}

impl State<'_> {
    async fn requests(
        &self,
        mut client: ReadHalf<'_>,
        mut server: WriteHalf<'_>,
    ) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        let mut seen = Vec::new();
        loop {
            let length = client.read(&mut chunk).await?;
            if length == 0 {
                return server.shutdown().await;
            }
            self.switches.running().await;
            let bytes = &chunk[..length];
            seen.extend_from_slice(bytes);
            match self.switches.find(&mut seen) {
                None => {}
                Some(CutPoint::BeforeServer) => return Err(cut()),
                Some(CutPoint::AfterServer) => self.cutting.store(true, Ordering::SeqCst),
            }
            // Before the server can have an answer.
            self.asked.store(true, Ordering::SeqCst);
            server.write_all(bytes).await?;
        }
    }

    async fn arrivals(
        &self,
        mut server: ReadHalf<'_>,
        pieces: mpsc::Sender<Piece>,
        delay: Duration,
    ) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        loop {
            let length = server.read(&mut chunk).await?;
            if length == 0 {
                return Ok(());
            }
            if self.cutting.load(Ordering::SeqCst) {
                return Err(cut());
            }
            let piece = Piece {
                due: Instant::now() + delay,
                bytes: chunk[..length].to_vec(),
            };
            if pieces.send(piece).await.is_err() {
                return Ok(());
            }
        }
    }

    async fn answers(
        &self,
        mut pieces: mpsc::Receiver<Piece>,
        mut client: WriteHalf<'_>,
    ) -> io::Result<()> {
        while let Some(piece) = pieces.recv().await {
            // The timer would round what is due now up to its next tick.
            if piece.due > Instant::now() {
                sleep_until(piece.due).await;
            }
            self.switches.running().await;
            // Before the client can ask again.
            if self.asked.swap(false, Ordering::SeqCst) {
                self.switches.count_round_trip();
            }
            client.write_all(&piece.bytes).await?;
        }
        client.shutdown().await
    }
}

fn cut() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}
