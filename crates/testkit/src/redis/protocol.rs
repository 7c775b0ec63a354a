//! As much of RESP as it takes to run one command
//! (<https://redis.io/docs/latest/develop/reference/protocol-spec/>).

use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::{Error, Result};

/// How long an answer may take: a halted server gives none.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs one command over a connection of its own.
pub(super) async fn ask(address: &str, password: &str, command: &[&str]) -> Result<String> {
    let name = command.first().copied().unwrap_or_default();
    let asked = async {
        let mut stream = BufReader::new(TcpStream::connect(address).await?);
        let mut answer = Ok(String::new());
        if !password.is_empty() {
            answer = round(&mut stream, &["auth", password]).await?;
        }
        if answer.is_ok() {
            answer = round(&mut stream, command).await?;
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
