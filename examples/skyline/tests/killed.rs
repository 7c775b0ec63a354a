//! The product in one process, which is killed while a tenant is at work.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod delays;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use skyline::{Airline, Browser};

use self::delays::{Ledger, flights, settled};

/// The process; it ends with this value.
struct Process {
    child: Child,
    edge: SocketAddr,
    folder: PathBuf,
}

impl Process {
    fn start(folder: &Path) -> Self {
        // Free as long as nobody takes it.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let edge = port.local_addr().unwrap();
        drop(port);
        let mut command = Command::new(env!("CARGO_BIN_EXE_skyline"));
        command.arg("--keep").arg(folder);
        command.arg("--port").arg(edge.port().to_string());
        let child = command.stdout(Stdio::null()).spawn().unwrap();
        Self {
            child,
            edge,
            folder: folder.to_owned(),
        }
    }

    /// Signs in, once the product is there: in one process sessions end with it.
    async fn signed_in(&self, airline: Airline) -> Browser {
        let mut browser = Browser::at(self.edge, airline.slug);
        for _ in 0..600 {
            if let Ok(code) = std::fs::read_to_string(self.folder.join("keys").join(airline.slug))
                && let Ok(page) = browser.sign_in("ada", &code).await
                && page.status == 303
            {
                return browser;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("nobody is let in");
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It is an error where it was killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_told_once_though_the_process_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let airlines = [Airline::ALL[0], Airline::ALL[1]];
    let mut ledgers = [Ledger::default(), Ledger::default()];
    let mut before: Option<[u64; 2]> = None;
    for round in 1..=3 {
        let process = Process::start(folder.path());
        let (ada, grace) = (
            process.signed_in(airlines[0]).await,
            process.signed_in(airlines[1]).await,
        );
        // So the worker is at work, whose lease was that of the process before.
        match before {
            None => before = Some([settled(&ada).await, settled(&grace).await]),
            Some([of_ada, of_grace]) => {
                tokio::join!(
                    ledgers[0].assert_told(&ada, of_ada),
                    ledgers[1].assert_told(&grace, of_grace)
                );
            }
        }
        if round == 3 {
            break;
        }
        let (of_ada, of_grace) = (flights(&ada).await, flights(&grace).await);
        let [united, jetblue] = &mut ledgers;
        for (of_ada, of_grace) in of_ada.iter().zip(&of_grace).take(5 * round) {
            tokio::join!(united.tell(&ada, of_ada), jetblue.tell(&grace, of_grace));
        }
        // While what was answered last is on its way.
        process.kill();
    }
}
