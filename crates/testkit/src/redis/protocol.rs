//! As much of RESP as it takes to run one command
//! (<https://redis.io/docs/latest/develop/reference/protocol-spec/>).

use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use url::Url;

use crate::{Error, Result};

/// How long an answer may take: a halted server gives none.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who asks, and in which database; texts that are empty are left out.
pub(super) struct Login {
    user: String,
    password: String,
    database: String,
}

impl Login {
    pub(super) fn of(url: &Url) -> Self {
        let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        Self {
            user: plain(url.username()),
            password: plain(url.password().unwrap_or_default()),
            database: url.path().trim_matches('/').to_owned(),
        }
    }
}

/// Runs one command over a connection of its own.
pub(super) async fn ask(address: &str, login: &Login, command: &[&str]) -> Result<String> {
    let name = command.first().copied().unwrap_or_default();
    let asked = async {
        let mut stream = BufReader::new(TcpStream::connect(address).await?);
        let Login {
            user,
            password,
            database,
        } = login;
        let auth: &[&str] = match (&**user, &**password) {
            ("", "") => &[],
            ("", password) => &["auth", password],
            (user, password) => &["auth", user, password],
        };
        let select: &[&str] = match &**database {
            "" => &[],
            database => &["select", database],
        };
        let mut answer = Ok(String::new());
        for command in [auth, select, command] {
            if answer.is_ok() && !command.is_empty() {
                answer = round(&mut stream, command).await?;
            }
        }
        std::io::Result::Ok(answer)
    };
    let answer = tokio::time::timeout(PATIENCE, asked)
        .await
        .map_err(|_| Error::new(format!("no answer to `{name}` within {PATIENCE:?}")))?
        .map_err(|error| Error::because(format!("cannot ask {address} to `{name}`"), error))?;
    answer.map_err(|refusal| Error::new(format!("`{name}` was refused: {refusal}")))
}

async fn round(
    stream: &mut BufReader<TcpStream>,
    command: &[&str],
) -> std::io::Result<std::result::Result<String, String>> {
    let mut request = format!("*{}\r\n", command.len());
    for part in command {
        request.push_str(&format!("${}\r\n{part}\r\n", part.len()));
    }
    stream.write_all(request.as_bytes()).await?;
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let line = line.trim_end();
    let (kind, rest) = line.split_at_checked(1).unwrap_or_default();
    Ok(match kind {
        "-" => Err(rest.to_owned()),
        "+" | ":" => Ok(rest.to_owned()),
        "$" => {
            // -1 stands for nothing.
            let length = rest.parse().unwrap_or(0);
            let mut text = vec![0; length];
            stream.read_exact(&mut text).await?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        }
        _ => Ok(String::new()),
    })
}
