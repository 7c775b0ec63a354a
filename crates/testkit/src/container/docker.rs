//! A server in a container, through `testcontainers`.

use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use testcontainers::core::IntoContainerPort as _;
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{ContainerAsync, GenericImage, ImageExt as _, TestcontainersError};
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::Contents;
use crate::keeper::{Keeper, Plan};
use crate::ports::Port;
use crate::postgres::blocking;
use crate::{Error, Result, Settings, StopMode, ports};

/// What the error says when containers are asked for.
pub(crate) const MISSING: &str = "no Docker daemon answers `docker version`; start one, \
     and see `scripts/testkit-images` for a machine that reaches no image registry";

const REMOVE: &str = r#"docker rm --force --volumes "$NAME""#;

/// A running container, and the keeper that removes it should this process die.
#[derive(Debug)]
pub(crate) struct Container {
    inner: Option<Arc<ContainerAsync<GenericImage>>>,
    host: String,
    _keeper: Keeper,
    port: Port,
}

impl Container {
    /// Starts a container, or returns `None` where no Docker daemon answers.
    pub(crate) async fn start(settings: &Settings, contents: Contents) -> Result<Option<Self>> {
        if !daemon_answers().await {
            return Ok(None);
        }
        let name = format!("{}{}", settings.prefix(), Uuid::new_v4().simple());
        let keeper = keeper(&name, settings.prefix().to_owned()).await?;
        // The same port after a restart: Docker would choose another each time.
        let port = ports::free()?;
        let (image, tag) = name_and_tag(&contents.image);
        let mut request = GenericImage::new(image, tag)
            .with_mapped_port(port.number(), contents.port.tcp())
            .with_container_name(&name)
            .with_startup_timeout(Duration::from_secs(300))
            .with_cmd(contents.command);
        for (name, value) in contents.variables {
            request = request.with_env_var(name, value);
        }
        for (path, bytes) in contents.files {
            request = request.with_copy_to(path, bytes);
        }
        let (inner, host) = on_runtime(async move {
            let container = request.start().await?;
            let host = container.get_host().await?.to_string();
            Ok((container, host))
        })
        .await
        .map_err(|error| {
            let image = contents.image;
            Error::because(
                format!("cannot start a container of the image `{image}`"),
                error,
            )
        })?;
        // The name may stand for an IPv6 address, on which the port is not published everywhere.
        let host = if host == "localhost" {
            "127.0.0.1".to_owned()
        } else {
            host
        };
        Ok(Some(Self {
            inner: Some(Arc::new(inner)),
            host,
            port,
            _keeper: keeper,
        }))
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port.number()
    }

    /// Returns under which address other containers reach it.
    pub(crate) async fn inner_address(&self) -> Result<String> {
        let inner = self.inner.clone();
        let id = inner.map(|inner| inner.id().to_owned()).unwrap_or_default();
        // The library looks for the network by the name of its mode, which not every daemon knows.
        let asking = blocking(move || {
            let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
            Command::new("docker")
                .args(["inspect", "--format", format, &id])
                .stdin(Stdio::null())
                .output()
                .map_err(|error| Error::because("no program `docker`", error))
        });
        let answer = String::from_utf8(asking.await?.stdout).unwrap_or_default();
        let address = answer.split_whitespace().next();
        let address = address.ok_or_else(|| Error::new("a container has no address of its own"))?;
        Ok(address.to_owned())
    }

    pub(crate) async fn is_running(&self) -> bool {
        let running = self.ask(|it| async move { it.is_running().await });
        running.await.unwrap_or(false)
    }

    pub(crate) async fn stop(&self, mode: StopMode) -> Result<()> {
        let seconds = match mode {
            StopMode::Fast => 60,
            StopMode::Immediate => 0,
        };
        self.ask(move |it| async move { it.stop_with_timeout(Some(seconds)).await })
            .await
    }

    pub(crate) async fn restart(&self) -> Result<()> {
        self.stop(StopMode::Fast).await?;
        self.ask(|it| async move { it.start().await }).await
    }

    /// Halts all that runs inside: connections stay open, and nobody answers on them.
    pub(crate) async fn pause(&self) -> Result<()> {
        self.ask(|it| async move { it.pause().await }).await
    }

    pub(crate) async fn resume(&self) -> Result<()> {
        self.ask(|it| async move { it.unpause().await }).await
    }

    /// Returns what it has written last, for messages.
    pub(crate) async fn log(&self) -> String {
        let log = self.ask(|it| async move {
            let (mut log, errors) = (it.stdout_to_vec().await?, it.stderr_to_vec().await?);
            log.extend(errors);
            Ok(log)
        });
        String::from_utf8_lossy(&log.await.unwrap_or_default()).into_owned()
    }

    async fn ask<T: Send + 'static, F>(
        &self,
        ask: impl FnOnce(Arc<ContainerAsync<GenericImage>>) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T, TestcontainersError>> + Send + 'static,
    {
        let inner = self.inner.clone();
        let inner = inner.ok_or_else(|| Error::new("the container is gone"))?;
        on_runtime(ask(inner)).await
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let inner = self.inner.take();
        let removing = std::thread::spawn(move || {
            // Dropping removes the container, which takes a runtime, but not a test's.
            let _guard = runtime().map(|runtime| runtime.enter());
            drop(inner);
        });
        // The keeper tries again right after this.
        let _ = removing.join();
    }
}

async fn daemon_answers() -> bool {
    let asking = blocking(|| {
        Command::new("docker")
            .args(["version", "--format", "{{.Server.Version}}"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .map_err(|error| Error::because("no program `docker`", error))
    });
    let answer = tokio::time::timeout(Duration::from_secs(15), asking).await;
    matches!(answer, Ok(Ok(status)) if status.success())
}

async fn keeper(name: &str, prefix: String) -> Result<Keeper> {
    let plan = Plan {
        at_end: REMOVE,
        variables: vec![("NAME", name.into())],
        // The settings of the Docker client are in the environment and in the home folder.
        inherit: true,
        user: None,
        in_memory: true,
        prefix,
    };
    blocking(move || Keeper::start(&plan)).await
}

fn name_and_tag(image: &str) -> (&str, &str) {
    match image.rsplit_once(':') {
        // A colon before the last slash belongs to the port of a registry.
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    }
}

/// The runtime of the Docker client, which outlives the runtime of every test.
fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<std::io::Result<Runtime>> = OnceLock::new();
    RUNTIME
        .get_or_init(|| {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
        })
        .as_ref()
        .map_err(|error| Error::new(format!("no runtime for the Docker client: {error}")))
}

async fn on_runtime<T: Send + 'static>(
    work: impl Future<Output = Result<T, TestcontainersError>> + Send + 'static,
) -> Result<T> {
    runtime()?
        .spawn(work)
        .await
        .map_err(|error| Error::because("the work on a container was cut short", error))?
        .map_err(|error| Error::because("Docker refused", error))
}

#[cfg(test)]
mod tests {
    use super::name_and_tag;

    #[test]
    fn a_registry_port_is_no_tag() {
        assert_eq!(
            name_and_tag("postgres:17-alpine"),
            ("postgres", "17-alpine")
        );
        assert_eq!(
            name_and_tag("localhost:5000/postgres"),
            ("localhost:5000/postgres", "latest")
        );
        assert_eq!(
            name_and_tag("localhost:5000/postgres:17"),
            ("localhost:5000/postgres", "17")
        );
    }
}
