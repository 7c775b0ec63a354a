//! An address behind which another server may come to be.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    target: Arc<Mutex<Option<String>>>,
    cut: watch::Sender<()>,
}

impl Proxy {
    pub(crate) async fn before(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let target = Arc::new(Mutex::new(Some(target)));
        let cut = watch::Sender::new(());
        let (to, cuts) = (Arc::clone(&target), cut.clone());
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let target = to.lock().clone();
                let mut cut = cuts.subscribe();
                tokio::spawn(async move {
                    let Some(target) = target else { return };
                    let Ok(mut server) = TcpStream::connect(target).await else {
                        return;
                    };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self {
            address,
            target,
            cut,
        }
    }

    /// Cuts all connections, and leads new ones elsewhere, or nowhere.
    pub(crate) fn lead_to(&self, target: Option<String>) {
        *self.target.lock() = target;
        self.cut.send_replace(());
    }
}
