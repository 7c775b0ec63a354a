//! Brokers, started, stopped and found. There are no containers of them: what is here runs programs.

use std::time::Duration;

use tenantry_testkit::{
    NatsOptions, NatsServer, RabbitMqOptions, RabbitMqServer, Result, Settings, StopMode, Way,
};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// What a NATS server says to a login: `PONG`, or its refusal.
async fn login(address: &str, user: &str, password: &str) -> std::io::Result<String> {
    let mut stream = BufReader::new(TcpStream::connect(address).await?);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let connect = format!(
        "CONNECT {{\"verbose\":false,\"user\":\"{user}\",\"pass\":\"{password}\"}}\r\nPING\r\n"
    );
    stream.write_all(connect.as_bytes()).await?;
    // It may tell of itself once more, and ask for a sign of life, before it answers.
    loop {
        line.clear();
        stream.read_line(&mut line).await?;
        if !line.starts_with("INFO ") && !line.starts_with("PING") {
            return Ok(line);
        }
    }
}

fn password(url: &str) -> &str {
    url.split([':', '@']).nth(2).unwrap_or_default()
}

#[tokio::test]
async fn a_nats_server_lets_in_who_knows_its_password() -> Result<()> {
    let options = NatsOptions::default()
        .with_setting("max_payload", "2048")
        .with_user("other", "secret", "{ publish: { deny: [\"events.>\"] } }");
    let server = NatsServer::start_with(options).await?;
    let address = server.address();
    let own = password(server.url());
    for (user, password, said) in [
        ("tests", own, "PONG"),
        ("other", "secret", "PONG"),
        ("tests", "wrong", "-ERR 'Authorization Violation'"),
    ] {
        let answer = login(&address, user, password).await.unwrap();
        assert!(answer.starts_with(said), "{answer}");
    }
    assert!(!format!("{server:?}").contains(own));
    assert!(server.url_of("other", "secret")?.contains("other:secret@"));
    Ok(())
}

#[tokio::test]
async fn a_nats_server_is_stopped_halted_and_started_again_on_its_port() -> Result<()> {
    let server = NatsServer::start().await?;
    let (address, own) = (server.address(), password(server.url()));
    for mode in [StopMode::Fast, StopMode::Immediate] {
        server.stop(mode).await?;
        TcpStream::connect(&address).await.unwrap_err();
        server.restart().await?;
        let answer = login(&address, "tests", own).await.unwrap();
        assert!(answer.starts_with("PONG"), "{answer}");
    }
    server.pause().await?;
    let early = tokio::time::timeout(Duration::from_millis(50), login(&address, "tests", own));
    early.await.unwrap_err();
    server.resume().await?;
    let answer = login(&address, "tests", own).await.unwrap();
    assert!(answer.starts_with("PONG"), "{answer}");
    let settings = Settings::from_env()?.with_way(Way::Url);
    let borrowed = NatsServer::find(&settings.with_nats_url(server.url())).await?;
    borrowed.stop(StopMode::Fast).await.unwrap_err();
    drop(borrowed);
    drop(server);
    TcpStream::connect(&address).await.unwrap_err();
    Ok(())
}

/// The first bytes of the answer to the name of the protocol: a method frame of channel 0.
async fn greeting(address: &str) -> std::io::Result<[u8; 3]> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
    let mut answer = [0; 3];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn a_rabbitmq_is_stopped_halted_and_started_again_on_its_port() -> Result<()> {
    let options = RabbitMqOptions::default().with_setting("max_message_size", "65536");
    let server = RabbitMqServer::start_with(options).await?;
    let address = server.address();
    assert_eq!(greeting(&address).await.unwrap(), [1, 0, 0]);
    // Two nodes do not meet.
    let other = RabbitMqServer::start().await?;
    assert_ne!(address, other.address());
    drop(other);
    server.stop(StopMode::Immediate).await?;
    TcpStream::connect(&address).await.unwrap_err();
    server.restart().await?;
    server.pause().await?;
    let early = tokio::time::timeout(Duration::from_millis(50), greeting(&address));
    early.await.unwrap_err();
    server.resume().await?;
    assert_eq!(greeting(&address).await.unwrap(), [1, 0, 0]);
    let settings = Settings::from_env()?.with_way(Way::Url);
    let borrowed = RabbitMqServer::find(&settings.with_rabbitmq_url(server.url())).await?;
    borrowed.restart().await.unwrap_err();
    drop(borrowed);
    server.stop(StopMode::Fast).await?;
    drop(server);
    TcpStream::connect(&address).await.unwrap_err();
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_found_is_told_of() -> Result<()> {
    for url in ["junk", "nats:///local", "https://localhost/", "nats://host"] {
        let settings = Settings::from_env()?.with_way(Way::Url);
        let settings = settings.with_nats_url(url).with_rabbitmq_url(url);
        NatsServer::find(&settings).await.unwrap_err();
        RabbitMqServer::find(&settings).await.unwrap_err();
    }
    let wrong = NatsOptions::default().with_setting("max_payloads", "1024");
    let error = NatsServer::start_with(wrong).await.unwrap_err();
    assert!(error.to_string().contains("max_payloads"), "{error}");
    Ok(())
}

/// Who speaks none is understood at the port without it alone.
#[cfg(feature = "certificates")]
#[tokio::test]
async fn a_server_with_a_certificate_speaks_tls_where_it_says() -> Result<()> {
    use tenantry_testkit::{RedisOptions, RedisServer, TestAuthority};

    let first = async |address: &str, said: &[u8]| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(said).await.unwrap();
        stream.read_u8().await.ok()
    };
    let authority = TestAuthority::generate()?;
    let certificate = authority.sign("127.0.0.1")?;
    let nats = NatsServer::start_with(NatsOptions::default().with_tls(certificate.clone())).await?;
    assert!(nats.url().starts_with("tls://"));
    let mut stream = BufReader::new(TcpStream::connect(nats.address()).await.unwrap());
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    assert!(line.contains("\"tls_required\":true"), "{line}");

    let options = RabbitMqOptions::default().with_tls(certificate.clone());
    let rabbitmq = RabbitMqServer::start_with(options).await?;
    let url = rabbitmq.tls_url().unwrap();
    let (_, encrypted) = url.split_once('@').unwrap();
    let (hello, method) = (b"AMQP\x00\x00\x09\x01", Some(1));
    assert_eq!(first(&rabbitmq.address(), hello).await, method);
    assert_ne!(first(encrypted, hello).await, method);
    assert!(RabbitMqServer::start().await?.tls_url().is_none());

    let options = RedisOptions::default().with_tls(certificate.clone());
    let redis = RedisServer::start_with(options).await?;
    let url = redis.tls_url().unwrap();
    let (_, encrypted) = url.split_once('@').unwrap();
    let (hello, refusal) = (b"PING\r\n", Some(b'-'));
    assert_eq!(first(&redis.address(), hello).await, refusal);
    assert_ne!(first(encrypted, hello).await, refusal);
    assert!(RedisServer::start().await?.tls_url().is_none());

    let told = format!("{certificate:?} {authority:?}");
    assert!(!told.contains("PRIVATE KEY"), "{told}");
    Ok(())
}
