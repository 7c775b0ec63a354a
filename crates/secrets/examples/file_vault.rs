//! Writes and lists a file vault, for an operator.
//!
//! ```text
//! file_vault create-key KEY
//! file_vault put        VAULT KEY NAME            the value from the standard input
//! file_vault list       VAULT KEY
//! file_vault disable    VAULT KEY NAME VERSION
//! ```
//!
//! Services that follow the secret see a new version within their time to live.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program speaks to people"
)]

use std::io::Read as _;
use std::process::ExitCode;
use std::sync::Arc;

use tenantry_core::{Error, ErrorKind, Result, Secret, SecretReference};
use tenantry_secrets::{FileVault, FileVaultKey, SecretAttributes, Secrets, Vault as _};

const USAGE: &str = "file_vault create-key KEY | put VAULT KEY NAME | list VAULT KEY | \
                     disable VAULT KEY NAME VERSION";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("file_vault: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &[String]) -> Result<()> {
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["create-key", key] => FileVault::create_key(key).await,
        ["put", vault, key, name] => {
            let (secrets, _) = open(vault, key).await?;
            let stored = secrets
                .put_new_version(&reference(name)?, value()?, SecretAttributes::default())
                .await?;
            println!("{stored}");
            Ok(())
        }
        ["list", vault, key] => {
            let (_, vault) = open(vault, key).await?;
            for (name, newest) in vault.newest().await? {
                let state = match newest.validity.enabled {
                    true => "enabled",
                    false => "disabled",
                };
                println!("{name}  {}  {state}  {}", newest.version, newest.created_at);
            }
            Ok(())
        }
        ["disable", vault, key, name, version] => {
            let (secrets, _) = open(vault, key).await?;
            let version = reference(name)?.with_version(version)?;
            secrets.disable_version(&version).await
        }
        _ => Err(Error::new(ErrorKind::InvalidInput, "read arguments").with_detail(USAGE)),
    }
}

/// Opens the vault, which is called `vault` here whatever services call it.
async fn open(vault: &str, key: &str) -> Result<(Secrets, Arc<FileVault>)> {
    let vault = Arc::new(FileVault::open(vault, FileVaultKey::file(key)).await?);
    let secrets = Secrets::builder()
        .with_vault("vault", Arc::clone(&vault) as Arc<_>)?
        .build()?;
    Ok((secrets, vault))
}

fn reference(name: &str) -> Result<SecretReference> {
    format!("kv://vault/{name}").parse()
}

/// Reads the value, without the line break that a shell puts at its end.
fn value() -> Result<Secret> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|cause| Error::new(ErrorKind::InvalidInput, "read value").with_source(cause))?;
    let length = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(length);
    Ok(Secret::new(text))
}
