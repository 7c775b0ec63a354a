//! Runs a command with a throwaway PostgreSQL server, which is gone when the command has ended.
//!
//! ```text
//! with_postgres [--durable] [--database NAME] COMMAND [ARGUMENT]...
//! ```
//!
//! The command finds the superuser's URL in `TENANTRY_TEST_POSTGRES_URL`, and in `DATABASE_URL`
//! the same for the database NAME, freshly created. `--durable` flushes to disk as a production
//! server does. The exit code is the command's.

#![expect(
    clippy::print_stderr,
    reason = "a command line program speaks to people"
)]

use std::process::{Command, ExitCode};

use tenantry_testkit::{PostgresServer, Result, ServerOptions};

const USAGE: &str = "usage: with_postgres [--durable] [--database NAME] COMMAND [ARGUMENT]...";

#[tokio::main(flavor = "current_thread")]
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
    database: Option<String>,
    program: String,
    arguments: Vec<String>,
}

async fn run(arguments: Vec<String>) -> std::result::Result<u8, Box<dyn std::error::Error>> {
    let Some(request) = parse(arguments) else {
        return Err(USAGE.into());
    };
    let server =
        PostgresServer::start_with(&ServerOptions::default().with_durable(request.durable)).await?;
    let mut command = command(&request, &server).await?;
    let status = command.status()?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(u8::MAX))
}

fn parse(arguments: Vec<String>) -> Option<Request> {
    let mut request = Request::default();
    let mut arguments = arguments.into_iter().peekable();
    while let Some(option) = arguments.next_if(|argument| argument.starts_with("--")) {
        match option.as_str() {
            "--durable" => request.durable = true,
            "--database" => request.database = Some(arguments.next()?),
            _ => return None,
        }
    }
    request.program = arguments.next()?;
    request.arguments = arguments.collect();
    Some(request)
}

async fn command(request: &Request, server: &PostgresServer) -> Result<Command> {
    let mut command = Command::new(&request.program);
    command
        .args(&request.arguments)
        .env("TENANTRY_TEST_POSTGRES_URL", server.admin_url());
    if let Some(name) = &request.database {
        server
            .execute(&format!("CREATE DATABASE \"{name}\""))
            .await?;
        command.env("DATABASE_URL", server.admin_url_for(name));
    }
    Ok(command)
}
