//! Runs a command with a throwaway PostgreSQL server, which is gone when the command has ended.
//!
//! ```text
//! with_postgres [--durable] [--witness] [--redis] [--azurite] [--nats] [--rabbitmq] [--database NAME] COMMAND [ARGUMENT]...
//! ```
//!
//! The command finds the superuser's URL in `TENANTRY_TEST_POSTGRES_URL`, and in `DATABASE_URL`
//! the same for the database NAME, freshly created. `--durable` flushes to disk as a production
//! server does. `--witness` leads both URLs through a `StatementWitness`, prints what it saw, and
//! fails on a statement that does not bind its tenant. `--redis` starts a Redis as well, whose URL is in
//! `TENANTRY_TEST_REDIS_URL`; `--azurite`, `--nats` and `--rabbitmq` do the same of their kind. Otherwise the
//! exit code is the command's.

#![expect(
    clippy::print_stderr,
    reason = "a command line program speaks to people"
)]

use std::process::{Command, ExitCode};

use tenantry_testkit::{
    NatsServer, PostgresServer, RabbitMqServer, RedisServer, ServerOptions, StatementWitness,
};

const USAGE: &str = "usage: with_postgres [--durable] [--witness] [--redis] [--azurite] [--nats] [--rabbitmq] \
    [--database NAME] COMMAND [ARGUMENT]...";

const URL: &str = "TENANTRY_TEST_POSTGRES_URL";
const REDIS_URL: &str = "TENANTRY_TEST_REDIS_URL";
const AZURITE_URL: &str = "TENANTRY_TEST_AZURITE_URL";
const NATS_URL: &str = "TENANTRY_TEST_NATS_URL";
const RABBITMQ_URL: &str = "TENANTRY_TEST_RABBITMQ_URL";
const FIND: &str = "TENANTRY_TEST_FIND";

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = std::env::args().skip(1).collect();
    match run(arguments).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("with_postgres: {error:?}");
            ExitCode::FAILURE
        }
    }
}

/// What the command line asks for.
#[derive(Default)]
struct Request {
    durable: bool,
    witness: bool,
    redis: bool,
    azurite: bool,
    nats: bool,
    rabbitmq: bool,
    database: Option<String>,
    program: String,
    arguments: Vec<String>,
}

async fn run(arguments: Vec<String>) -> Result<u8> {
    let Some(request) = parse(arguments) else {
        return Err(USAGE.into());
    };
    let server =
        PostgresServer::start_with(&ServerOptions::default().with_durable(request.durable)).await?;
    let witness = match request.witness {
        true => Some(StatementWitness::start(server.admin_url()).await?),
        false => None,
    };
    let mut command = command(&request, &server, witness.as_ref()).await?;
    let redis = match request.redis {
        true => Some(RedisServer::start().await?),
        false => None,
    };
    command.envs(redis.as_ref().map(|redis| (REDIS_URL, redis.url())));
    let azurite = match request.azurite {
        true => Some(azurite::start().await?),
        false => None,
    };
    command.envs(
        azurite
            .as_ref()
            .map(|server| (AZURITE_URL, azurite::url(server))),
    );
    let nats = match request.nats {
        true => Some(NatsServer::start().await?),
        false => None,
    };
    command.envs(nats.as_ref().map(|nats| (NATS_URL, nats.url())));
    let rabbitmq = match request.rabbitmq {
        true => Some(RabbitMqServer::start().await?),
        false => None,
    };
    command.envs(
        rabbitmq
            .as_ref()
            .map(|rabbitmq| (RABBITMQ_URL, rabbitmq.url())),
    );
    // The witness goes on with its work meanwhile.
    let status = tokio::task::spawn_blocking(move || command.status()).await??;
    let code = status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(u8::MAX);
    let Some(witness) = witness else {
        return Ok(code);
    };
    let report = witness.report();
    eprintln!("{report}");
    Ok(if code == 0 && !report.is_clean() {
        1
    } else {
        code
    })
}

fn parse(arguments: Vec<String>) -> Option<Request> {
    let mut request = Request::default();
    let mut arguments = arguments.into_iter().peekable();
    while let Some(option) = arguments.next_if(|argument| argument.starts_with("--")) {
        match option.as_str() {
            "--durable" => request.durable = true,
            "--witness" => request.witness = true,
            "--redis" => request.redis = true,
            "--azurite" => request.azurite = true,
            "--nats" => request.nats = true,
            "--rabbitmq" => request.rabbitmq = true,
            "--database" => request.database = Some(arguments.next()?),
            _ => return None,
        }
    }
    request.program = arguments.next()?;
    request.arguments = arguments.collect();
    Some(request)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the command's environment is made here"
)]
async fn command(
    request: &Request,
    server: &PostgresServer,
    witness: Option<&StatementWitness>,
) -> Result<Command> {
    let led = |url: &str| match witness {
        Some(witness) => witness.url(url),
        None => Ok(url.to_owned()),
    };
    let mut command = Command::new(&request.program);
    command
        .args(&request.arguments)
        .env(URL, led(server.admin_url())?);
    // How this server was to be found says nothing of where the command has to look for it.
    if std::env::var(FIND).is_ok_and(|way| way != "url") {
        command.env_remove(FIND);
    }
    if let Some(name) = &request.database {
        server
            .execute(&format!("CREATE DATABASE \"{name}\""))
            .await?;
        command.env("DATABASE_URL", led(&server.admin_url_for(name))?);
    }
    Ok(command)
}

#[cfg(feature = "azurite")]
mod azurite {
    use tenantry_testkit::AzuriteServer;

    pub(super) async fn start() -> super::Result<AzuriteServer> {
        Ok(AzuriteServer::start().await?)
    }

    pub(super) fn url(server: &AzuriteServer) -> String {
        server.url_with_key()
    }
}

#[cfg(not(feature = "azurite"))]
mod azurite {
    use std::convert::Infallible;

    #[expect(clippy::unused_async, reason = "the twin with Azurite waits")]
    pub(super) async fn start() -> super::Result<Infallible> {
        Err("--azurite needs the feature `azurite` of tenantry-testkit".into())
    }

    pub(super) fn url(server: &Infallible) -> String {
        match *server {}
    }
}
