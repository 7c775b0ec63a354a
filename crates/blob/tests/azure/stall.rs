//! The way to an account, on which one request is held up for as long as a test wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// Passes on what comes, and holds up a request whose head has a text in it.
pub(crate) struct Stall {
    pub(crate) url: String,
    state: Arc<State>,
}

struct State {
    host: String,
    text: &'static str,
    is_armed: AtomicBool,
    reached: Notify,
    released: Notify,
}

impl Stall {
    /// Starts a way to a URL, such as `http://127.0.0.1:10000/account`.
    pub(crate) async fn before(url: &str, text: &'static str) -> Self {
        let rest = url.strip_prefix("http://").unwrap();
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/{path}", listener.local_addr().unwrap());
        let state = Arc::new(State {
            host: host.to_owned(),
            text,
            is_armed: AtomicBool::new(false),
            reached: Notify::new(),
            released: Notify::new(),
        });
        let of_state = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, Arc::clone(&of_state)));
            }
        });
        Self { url, state }
    }

    /// Holds up the next such request.
    pub(crate) fn arm(&self) {
        self.state.is_armed.store(true, Ordering::SeqCst);
    }

    /// Waits until it is held up.
    pub(crate) async fn reached(&self) {
        self.state.reached.notified().await;
    }

    /// Waits until it is held up, and longer, without taking that from another who waits for it.
    pub(crate) async fn reached_and(&self, pause: Duration) {
        while self.state.is_armed.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(pause).await;
    }

    /// Lets it go on.
    pub(crate) fn release(&self) {
        self.state.released.notify_one();
    }
}

async fn pass(client: TcpStream, state: Arc<State>) {
    let server = TcpStream::connect(&state.host).await.unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
    });
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
        let is_it = String::from_utf8_lossy(&buffer[..length]).contains(state.text);
        if is_it && state.is_armed.swap(false, Ordering::SeqCst) {
            state.reached.notify_one();
            state.released.notified().await;
        }
        if to_server.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
}
