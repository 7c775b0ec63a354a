use std::collections::VecDeque;
use std::error::Error as StdError;

use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, HttpClient, Request};

use super::super::KeyVault;
use super::super::refusal::Operation;
use super::*;

const CANARY: &str = "canary-7f3a-yellow";

/// Whoever is asked for tokens: gives its answers in turn, and hangs when there are no more.
#[derive(Debug, Default)]
struct Directory {
    answers: Mutex<VecDeque<Answer>>,
    asked: Mutex<Vec<String>>,
}

#[derive(Debug, Clone)]
enum Answer {
    Reply(u16, String),
    Unreachable,
}

#[async_trait]
impl HttpClient for Directory {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        self.asked.lock().push(request.url().to_string());
        let answer = self.answers.lock().pop_front();
        match answer {
            Some(Answer::Reply(status, body)) => Ok(AsyncRawResponse::from_bytes(
                status.into(),
                Headers::new(),
                body,
            )),
            Some(Answer::Unreachable) => Err(azure_core::Error::new(
                AzureErrorKind::Connection,
                std::io::Error::from(std::io::ErrorKind::ConnectionRefused),
            )),
            None => std::future::pending().await,
        }
    }
}

struct Subject {
    directory: Arc<Directory>,
    credential: KeyVaultCredential,
    tokens: Arc<dyn TokenCredential>,
}

impl Subject {
    fn new(credential: KeyVaultCredential, answers: impl IntoIterator<Item = Answer>) -> Self {
        let directory = Arc::new(Directory {
            answers: Mutex::new(answers.into_iter().collect()),
            asked: Mutex::default(),
        });
        let transport = Transport::new(Arc::clone(&directory) as Arc<dyn HttpClient>);
        let connections = Connections {
            vault: transport.clone(),
            directory: transport.clone(),
            machine: transport,
        };
        Self {
            tokens: credential.connect(&connections).unwrap(),
            directory,
            credential,
        }
    }

    async fn token(&self) -> Result<String> {
        let given = self.tokens.get_token(&["https://net/.default"], None).await;
        given
            .map(|token| token.token.secret().to_owned())
            .map_err(|error| Operation::Read.refused(&error, &self.credential))
    }

    async fn failure(&self) -> Error {
        let error = self.token().await.unwrap_err();
        let mut cause: Option<&(dyn StdError + 'static)> = Some(&error);
        while let Some(one) = cause {
            let text = format!("{one} {one:?}");
            assert!(!text.contains(CANARY), "{text}");
            cause = one.source();
        }
        error
    }

    fn asked(&self) -> usize {
        self.directory.asked.lock().len()
    }
}

fn application() -> KeyVaultCredential {
    KeyVaultCredential::client_secret("contoso", "app", Secret::new(CANARY))
}

fn token(text: &str) -> Answer {
    let body = format!(
        r#"{{"token_type":"Bearer","expires_in":3600,"ext_expires_in":3600,"access_token":"{text}"}}"#
    );
    Answer::Reply(200, body)
}

fn refusal(status: u16, code: u32) -> Answer {
    let body = format!(
        r#"{{"error":"invalid_client","error_description":"AADSTS{code}: not {CANARY}","error_codes":[{code}]}}"#
    );
    Answer::Reply(status, body)
}

#[tokio::test(start_paused = true)]
async fn a_token_is_kept_until_it_is_refused() {
    let subject = Subject::new(application(), [token("one"), token("two"), token("three")]);
    for _ in 0..3 {
        assert_eq!(subject.token().await.unwrap(), "one");
    }
    // The client asks again, though this one is good for most of an hour.
    tokio::time::advance(YOUTH).await;
    assert_eq!(subject.token().await.unwrap(), "two");
    assert_eq!(subject.token().await.unwrap(), "two");
    tokio::time::advance(YOUTH).await;
    assert_eq!(subject.token().await.unwrap(), "three");
    assert_eq!(subject.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_client_secret_is_told_by_its_code() {
    for (status, code) in [(401, 7_000_215), (401, 7_000_222), (400, 700_016)] {
        let subject = Subject::new(application(), [refusal(status, code)]);
        let error = subject.failure().await;
        assert_eq!(error.kind(), ErrorKind::AuthenticationFailed);
        let code = format!("AADSTS{code}");
        assert!(error.detail().contains(&code), "{error}");
        assert!(error.detail().contains("renew the secret"), "{error}");
        assert_eq!(subject.asked(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_fails_is_unavailable() {
    let down = Answer::Reply(503, String::new());
    for answer in [down, Answer::Unreachable, refusal(500, 90_033)] {
        let answers = vec![answer; 3];
        let subject = Subject::new(application(), answers);
        let error = subject.failure().await;
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(error.detail().contains("does not answer"), "{error}");
        assert_eq!(subject.asked(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_hangs_is_given_up() {
    let subject = Subject::new(application(), []);
    let start = Instant::now();
    assert_eq!(subject.failure().await.kind(), ErrorKind::Unavailable);
    assert_eq!(start.elapsed().as_secs(), DEADLINE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_machine_without_the_identity_is_told_from_one_without_any_endpoint() {
    let unknown = Answer::Reply(400, r#"{"error":"invalid_request"}"#.to_owned());
    let subject = Subject::new(KeyVaultCredential::user_assigned_identity("app"), [unknown]);
    let error = subject.failure().await;
    assert_eq!(error.kind(), ErrorKind::AuthenticationFailed, "{error:?}");
    assert!(error.detail().contains("assign"), "{error}");
    let asked = subject.directory.asked.lock().join(" ");
    assert!(asked.contains("client_id=app"), "{asked}");
    assert!(asked.contains("resource=https%3A%2F%2Fvault.azure.net"));

    let answers = vec![Answer::Unreachable; 20];
    let subject = Subject::new(KeyVaultCredential::managed_identity(), answers);
    let error = subject.failure().await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.detail().contains("outside Azure"), "{error}");
}

#[test]
fn what_cannot_be_used_here_is_refused_when_it_is_set_up() {
    let nobody = |directory: &str, client: &str, secret: &str| {
        KeyVaultCredential::client_secret(directory, client, Secret::new(secret))
    };
    for credential in [
        KeyVaultCredential::workload_identity(),
        nobody("", "app", CANARY),
        nobody("contoso", "", CANARY),
        nobody("contoso", "app", ""),
        nobody("a/b", "app", CANARY),
    ] {
        let error = KeyVault::new("orders", credential).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSettings);
        assert!(!error.detail().is_empty());
    }
}

#[test]
fn debug_shows_who_and_not_how() {
    let shown = |credential: KeyVaultCredential| {
        let vault = KeyVault::new("orders", credential).unwrap();
        format!("{vault:?}")
    };
    assert_eq!(
        shown(application()),
        r#"KeyVault { name: "orders", credential: KeyVaultCredential(ClientSecret { directory: "contoso", client: "app", .. }), .. }"#
    );
    let assigned = KeyVaultCredential::user_assigned_identity("app");
    assert_eq!(
        format!("{assigned:?}"),
        r#"KeyVaultCredential(ManagedIdentity("app"))"#
    );
}
