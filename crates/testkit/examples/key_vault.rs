//! Runs a Key Vault on the loopback until Ctrl-C, for a service that is being developed.
//!
//! ```text
//! key_vault [--port PORT] [--ca FILE] [--hours HOURS] [VAULT/SECRET=VALUE]...
//! ```
//!
//! Each `VAULT/SECRET=VALUE` is set at the start; naming a secret twice gives it two versions. The
//! authority's certificate is written to FILE, or else to a temporary file that goes with the
//! server. The token that is printed opens every vault for HOURS, 24 unless it is said.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program speaks to people"
)]

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tempfile::NamedTempFile;
use tenantry_testkit::key_vault::{KeyVaultOptions, KeyVaultServer};

const USAGE: &str =
    "usage: key_vault [--port PORT] [--ca FILE] [--hours HOURS] [VAULT/SECRET=VALUE]...";

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = std::env::args().skip(1).collect();
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("key_vault: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the command line asks for.
struct Request {
    port: u16,
    ca: Option<PathBuf>,
    hours: u64,
    /// Vault, name and value.
    secrets: Vec<(String, String, String)>,
}

async fn run(arguments: Vec<String>) -> Result {
    if arguments.iter().any(|it| it == "--help") {
        println!("{USAGE}");
        return Ok(());
    }
    let Some(request) = parse(arguments) else {
        return Err(USAGE.into());
    };
    let server =
        KeyVaultServer::start_with(KeyVaultOptions::default().with_port(request.port)).await?;
    for (vault, name, value) in &request.secrets {
        server.vault(vault)?.set_secret(name, value.as_str())?;
    }
    // Removed when it is dropped.
    let mut temporary = None;
    let ca = match &request.ca {
        Some(path) => {
            std::fs::write(path, server.ca_certificate_pem())
                .map_err(|error| format!("--ca {}: {error}", path.display()))?;
            path.clone()
        }
        None => {
            let file = temporary.insert(temporary_file()?);
            file.write_all(server.ca_certificate_pem().as_bytes())?;
            file.path().to_owned()
        }
    };
    let token = server.issue_token_for(Duration::from_secs(request.hours.saturating_mul(3_600)));
    println!("{}", greeting(&request, &server, &ca, token.secret()));
    tokio::signal::ctrl_c().await?;
    Ok(())
}

fn parse(arguments: Vec<String>) -> Option<Request> {
    let mut request = Request {
        port: 0,
        ca: None,
        hours: 24,
        secrets: Vec::new(),
    };
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--port" => request.port = arguments.next()?.parse().ok()?,
            "--ca" => request.ca = Some(arguments.next()?.into()),
            "--hours" => request.hours = arguments.next()?.parse().ok()?,
            secret => {
                let (path, value) = secret.split_once('=')?;
                let (vault, name) = path.split_once('/')?;
                let owned = str::to_owned;
                request
                    .secrets
                    .push((owned(vault), owned(name), owned(value)));
            }
        }
    }
    Some(request)
}

fn temporary_file() -> std::io::Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix("tenantry-key-vault-")
        .suffix(".pem")
        .tempfile()
}

fn greeting(
    request: &Request,
    server: &KeyVaultServer,
    ca: &std::path::Path,
    token: &str,
) -> String {
    let (address, port) = (server.address(), server.address().port());
    let ca = ca.display();
    let first = request.secrets.first();
    let vault = first.map_or("orders", |(vault, ..)| vault);
    let host = format!("{vault}.vault.azure.net");
    format!(
        "Key Vault for tests on {address}, until Ctrl-C.

authority  {ca}
token      {token}

Every vault is there, {host} as well. A client is told where it is, and whom to trust:

curl        curl --cacert '{ca}' --connect-to '{host}:443:{address}' \\
              -H 'Authorization: Bearer {token}' \\
              'https://{host}/secrets?api-version=2025-07-01'
reqwest     .resolve(\"{host}\", \"{address}\".parse()?)
Tenantry    KeyVaultConnection::default().with_address(\"{address}\".parse()?)
              .with_ca_certificate(std::fs::read_to_string(\"{ca}\")?)
            KeyVaultCredential::access_token(Secret::new(\"the token\"))
/etc/hosts  127.0.0.1 {host}    (and --port 443, or :{port} in each URL)"
    )
}
