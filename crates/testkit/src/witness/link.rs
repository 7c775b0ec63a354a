//! One connection through the witness.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::conversation::Conversation;
use super::frontend::Frontend;
use super::{Shared, WALL_TWO_ALONE};

const CHUNK: usize = 16 * 1024;

/// How long a side may take to hear the other's last words.
const FAREWELL: Duration = Duration::from_secs(1);

/// The longest start-up packet that the server takes.
const LONGEST_STARTUP: usize = 10_000;

const CANCEL: [u8; 4] = 80_877_102_u32.to_be_bytes();
const TLS: [u8; 4] = 80_877_103_u32.to_be_bytes();
const GSS: [u8; 4] = 80_877_104_u32.to_be_bytes();

/// Carries bytes both ways, and tells the conversation what the client says.
pub(super) async fn run(mut client: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    client.set_nodelay(true)?;
    let startup = loop {
        let packet = startup_packet(&mut client).await?;
        match packet.get(4..8) {
            // Nothing could be read through it.
            Some(code) if code == TLS || code == GSS => client.write_all(b"N").await?,
            Some(_) => break packet,
            None => return Err(io::ErrorKind::InvalidData.into()),
        }
    };
    let mut server = TcpStream::connect(&shared.server).await?;
    server.set_nodelay(true)?;
    server.write_all(&startup).await?;
    if startup[4..8] == CANCEL {
        server.shutdown().await?;
        copy(&mut server, &mut client).await?;
        return Ok(());
    }
    shared.ledger.connection();
    let conversation = conversation(&startup[8..], shared);
    relay(client, server, conversation).await
}

async fn startup_packet(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut packet = vec![0; 4];
    client.read_exact(&mut packet).await?;
    let length = packet
        .iter()
        .fold(0_usize, |length, byte| (length << 8) | usize::from(*byte));
    if !(8..=LONGEST_STARTUP).contains(&length) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    packet.resize(length, 0);
    client.read_exact(&mut packet[4..]).await?;
    Ok(packet)
}

fn conversation(parameters: &[u8], shared: Arc<Shared>) -> Conversation {
    let fields: Vec<_> = parameters
        .split(|byte| *byte == 0)
        .map(String::from_utf8_lossy)
        .collect();
    let (pairs, _) = fields.as_chunks::<2>();
    let parameter = |wanted: &str| {
        let pair = pairs.iter().find(|[name, _]| name == wanted);
        pair.map(|[_, value]| value.to_string())
    };
    let role = parameter("user").unwrap_or_default();
    let database = parameter("database").unwrap_or_else(|| role.clone());
    let is_alone = parameter("application_name").as_deref() == Some(WALL_TWO_ALONE);
    let database = shared.catalogs.database(&database);
    Conversation::new(shared, database, role, is_alone)
}

/// Why the way of the requests came to its end.
enum End {
    ClientDone,
    ClientLost(io::Error),
    ServerLost,
}

async fn relay(
    mut client: TcpStream,
    mut server: TcpStream,
    mut conversation: Conversation,
) -> io::Result<()> {
    let is_changing = conversation.is_changing();
    let database = conversation.database();
    let (mut client_reader, mut client_writer) = client.split();
    let (mut server_reader, mut server_writer) = server.split();
    let requests = async {
        let mut frontend = Frontend::default();
        let mut chunk = vec![0; CHUNK];
        loop {
            let length = match client_reader.read(&mut chunk).await {
                Ok(0) => {
                    let _ = server_writer.shutdown().await;
                    return End::ClientDone;
                }
                Ok(length) => length,
                Err(error) => return End::ClientLost(error),
            };
            let mut unread = &chunk[..length];
            while let Some(message) = frontend.next(&mut unread) {
                conversation.hear(message).await;
            }
            if server_writer.write_all(&chunk[..length]).await.is_err() {
                return End::ServerLost;
            }
        }
    };
    let answers = async {
        let mut chunk = vec![0; CHUNK];
        loop {
            let length = server_reader.read(&mut chunk).await?;
            if is_changing.load(Ordering::SeqCst) {
                // Before the client knows of it, and can tell others.
                database.changed();
            }
            if length == 0 {
                return client_writer.shutdown().await;
            }
            client_writer.write_all(&chunk[..length]).await?;
        }
    };
    tokio::pin!(requests, answers);
    tokio::select! {
        end = &mut requests => match end {
            End::ClientDone => answers.await,
            End::ClientLost(error) => Err(error),
            // It may have said why.
            End::ServerLost => timeout(FAREWELL, answers).await?,
        },
        outcome = &mut answers => {
            // A socket closed over unread bytes would take the server's last words back.
            let _ = timeout(FAREWELL, requests).await;
            outcome
        }
    }
}
