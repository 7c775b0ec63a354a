//! The proxy against a server that sends back what it gets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tenantry_testkit::{DelayProxy, ProxyOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

type Result = std::result::Result<(), Box<dyn std::error::Error>>;

#[tokio::test]
async fn round_trips_are_counted_by_answers() -> Result {
    let echo = Echo::start().await?;
    // Long enough for the second piece to be on its way before the answer to the first is there.
    let proxy = echo.proxy(Duration::from_millis(250)).await?;
    let mut client = TcpStream::connect(proxy.address()).await?;
    assert_eq!(proxy.round_trips(), 0);
    ask(&mut client, b"one").await?;
    assert_eq!(proxy.round_trips(), 1);
    // Two pieces sent without waiting are one round trip, also where the server answers twice.
    client.set_nodelay(true)?;
    client.write_all(b"two").await?;
    echo.has_received(6).await;
    client.write_all(b"three").await?;
    client.read_exact(&mut [0; 8]).await?;
    assert_eq!(proxy.round_trips(), 2);
    assert_eq!(proxy.connections(), 1);
    Ok(())
}

#[tokio::test]
async fn every_answer_is_late_by_the_delay() -> Result {
    let delay = Duration::from_millis(20);
    let proxy = Echo::start().await?.proxy(delay).await?;
    let mut client = TcpStream::connect(proxy.address()).await?;
    let start = Instant::now();
    for _ in 0..3 {
        ask(&mut client, b"hello").await?;
    }
    assert!(start.elapsed() >= 3 * delay);
    Ok(())
}

#[tokio::test]
async fn a_large_answer_is_late_but_whole() -> Result {
    let proxy = Echo::start().await?.proxy(Duration::from_millis(2)).await?;
    let (mut reader, mut writer) = TcpStream::connect(proxy.address()).await?.into_split();
    let sent: Vec<u8> = (0..3_000_000_u32)
        .map(|number| number.to_le_bytes()[0])
        .collect();
    let expected = sent.clone();
    let writing = tokio::spawn(async move {
        writer.write_all(&sent).await?;
        writer.shutdown().await
    });
    let mut received = Vec::new();
    reader.read_to_end(&mut received).await?;
    writing.await??;
    assert!(received == expected);
    Ok(())
}

#[tokio::test]
async fn a_cut_ends_what_is_open_and_welcomes_what_comes() -> Result {
    let proxy = Echo::start().await?.proxy(Duration::ZERO).await?;
    let mut client = TcpStream::connect(proxy.address()).await?;
    ask(&mut client, b"hello").await?;
    proxy.cut();
    assert!(is_cut(&mut client).await);
    let mut client = TcpStream::connect(proxy.address()).await?;
    ask(&mut client, b"again").await
}

#[tokio::test]
async fn new_connections_are_refused_until_accepted() -> Result {
    let proxy = Echo::start().await?.proxy(Duration::ZERO).await?;
    let mut old = TcpStream::connect(proxy.address()).await?;
    ask(&mut old, b"hello").await?;
    proxy.refuse();
    assert!(is_cut(&mut TcpStream::connect(proxy.address()).await?).await);
    ask(&mut old, b"still here").await?;
    proxy.accept();
    ask(&mut TcpStream::connect(proxy.address()).await?, b"welcome").await
}

#[tokio::test]
async fn a_pause_holds_back_and_loses_nothing() -> Result {
    let echo = Echo::start().await?;
    let proxy = echo.proxy(Duration::ZERO).await?;
    let mut client = TcpStream::connect(proxy.address()).await?;
    ask(&mut client, b"hello").await?;
    proxy.pause();
    client.write_all(b"waiting").await?;
    let mut answer = [0; 7];
    let read = tokio::time::timeout(Duration::from_millis(50), client.read_exact(&mut answer));
    assert!(read.await.is_err());
    assert_eq!(echo.received(), 5);
    proxy.resume();
    client.read_exact(&mut answer).await?;
    assert_eq!(&answer, b"waiting");
    Ok(())
}

#[tokio::test]
async fn a_lost_answer_belongs_to_a_message_that_arrived() -> Result {
    let echo = Echo::start().await?;
    let proxy = echo.proxy(Duration::from_millis(1)).await?;
    let mut client = TcpStream::connect(proxy.address()).await?;
    proxy.cut_after("COMMIT");
    ask(&mut client, b"INSERT").await?;
    assert!(proxy.is_armed());
    client.write_all(b"COMMIT").await?;
    assert!(is_cut(&mut client).await);
    assert!(!proxy.is_armed());
    assert_eq!(echo.received(), 12);
    // It was for one message only.
    let mut client = TcpStream::connect(proxy.address()).await?;
    ask(&mut client, b"COMMIT").await
}

#[tokio::test]
async fn a_message_cut_off_before_the_server_never_arrives() -> Result {
    let echo = Echo::start().await?;
    let proxy = echo.proxy(Duration::ZERO).await?;
    let mut client = TcpStream::connect(proxy.address()).await?;
    client.set_nodelay(true)?;
    proxy.cut_before("COMMIT");
    // Also where the message comes in two pieces.
    ask(&mut client, b"COM").await?;
    client.write_all(b"MIT").await?;
    assert!(is_cut(&mut client).await);
    assert_eq!(echo.received(), 3);
    Ok(())
}

#[tokio::test]
async fn a_dropped_proxy_cuts_and_listens_no_more() -> Result {
    let proxy = Echo::start().await?.proxy(Duration::ZERO).await?;
    let address = proxy.address();
    let mut client = TcpStream::connect(address).await?;
    ask(&mut client, b"hello").await?;
    drop(proxy);
    assert!(is_cut(&mut client).await);
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Sends and reads the echo.
async fn ask(client: &mut TcpStream, message: &[u8]) -> Result {
    client.write_all(message).await?;
    let mut answer = vec![0; message.len()];
    client.read_exact(&mut answer).await?;
    assert_eq!(answer, message);
    Ok(())
}

async fn is_cut(client: &mut TcpStream) -> bool {
    matches!(client.read(&mut [0; 16]).await, Ok(0) | Err(_))
}

/// A server that sends back what it gets, and counts the bytes.
struct Echo {
    address: SocketAddr,
    received: Arc<AtomicUsize>,
    news: Arc<Notify>,
}

impl Echo {
    async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let echo = Self {
            address: listener.local_addr()?,
            received: Arc::default(),
            news: Arc::default(),
        };
        let (received, news) = (Arc::clone(&echo.received), Arc::clone(&echo.news));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (received, news) = (Arc::clone(&received), Arc::clone(&news));
                tokio::spawn(async move {
                    let mut chunk = [0; 4096];
                    while let Ok(length @ 1..) = stream.read(&mut chunk).await {
                        received.fetch_add(length, Ordering::SeqCst);
                        news.notify_one();
                        if stream.write_all(&chunk[..length]).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        Ok(echo)
    }

    async fn proxy(&self, delay: Duration) -> tenantry_testkit::Result<DelayProxy> {
        let options = ProxyOptions::default().with_delay(delay);
        DelayProxy::start(&self.address.to_string(), options).await
    }

    fn received(&self) -> usize {
        self.received.load(Ordering::SeqCst)
    }

    async fn has_received(&self, bytes: usize) {
        while self.received() < bytes {
            self.news.notified().await;
        }
    }
}
