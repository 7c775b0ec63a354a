//! The services, as the edge reaches them: by HTTP, as a caller that it vouches for.

use std::net::SocketAddr;

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tenantry::prelude::*;

use super::pages;
use crate::caller::{CALLER, TRACEPARENT, vouch};
use crate::failure::status_of;
use crate::problem::{self, PROBLEM};
use crate::signature::SigningKey;

/// Where the services are.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// Of *Tenants*.
    pub tenants: SocketAddr,
    /// Of *Operations*.
    pub operations: SocketAddr,
    /// Of *Notifications*.
    pub notifications: SocketAddr,
    /// Of *Reporting*.
    pub reporting: SocketAddr,
}

/// A service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Tenants,
    Operations,
    Notifications,
    Reporting,
}

impl Peer {
    pub(crate) const ALL: [Self; 4] = [
        Self::Tenants,
        Self::Operations,
        Self::Notifications,
        Self::Reporting,
    ];
}

/// For whom a service is asked.
#[derive(Debug, Clone)]
pub(crate) struct Vouched {
    pub(crate) tenant: TenantId,
    pub(crate) actor: Actor,
    pub(crate) trace: TraceParent,
}

/// A client of all services.
#[derive(Debug, Clone)]
pub(crate) struct Peers {
    client: Client<HttpConnector, Body>,
    key: SigningKey,
    addresses: Addresses,
}

/// Why there is no answer that the edge can use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    /// The code of it; that of the status where there is none.
    problem: Option<HeaderValue>,
}

impl Refused {
    pub(crate) const fn new(status: StatusCode) -> Self {
        Self {
            status,
            problem: None,
        }
    }

    /// Says by a code what the status does not tell.
    pub(crate) fn with_problem(self, problem: HeaderValue) -> Self {
        Self {
            problem: Some(problem),
            ..self
        }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let status = status_of(&error);
        if status.is_server_error() {
            tracing::error!(?error, "the edge could not do what it was asked");
        }
        Self::new(status).with_problem(problem::of(error.kind()))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> axum::response::Response {
        let mut response = (self.status, pages::refused(self.status)).into_response();
        if let Some(problem) = self.problem {
            response.headers_mut().insert(PROBLEM, problem);
        }
        response
    }
}

impl Peers {
    pub(crate) fn new(key: SigningKey, addresses: Addresses) -> Self {
        Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
            key,
            addresses,
        }
    }

    /// Asks a service, and reads what it answers.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        peer: Peer,
        path: &str,
        caller: &Vouched,
    ) -> Result<T, Refused> {
        let response = self.send(peer, Method::GET, path, Some(caller), Body::empty());
        read(response.await?).await
    }

    /// Has a service do something, and reads what it answers.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        peer: Peer,
        path: &str,
        caller: &Vouched,
        content: &(impl Serialize + Sync),
    ) -> Result<T, Refused> {
        let content =
            serde_json::to_vec(content).map_err(|_| Refused::new(StatusCode::BAD_REQUEST))?;
        let response = self.send(peer, Method::POST, path, Some(caller), content.into());
        read(response.await?).await
    }

    /// Asks a service, and hands on what it answers; whoever comes without a caller has a signed link.
    pub(crate) async fn stream(
        &self,
        peer: Peer,
        path: &str,
        caller: Option<&Vouched>,
    ) -> Result<Response<Body>, Refused> {
        self.send(peer, Method::GET, path, caller, Body::empty())
            .await
    }

    /// Sends a request; an answer that is no success is refused with its status.
    async fn send(
        &self,
        peer: Peer,
        method: Method,
        path: &str,
        caller: Option<&Vouched>,
        body: Body,
    ) -> Result<Response<Body>, Refused> {
        let address = match peer {
            Peer::Tenants => self.addresses.tenants,
            Peer::Operations => self.addresses.operations,
            Peer::Notifications => self.addresses.notifications,
            Peer::Reporting => self.addresses.reporting,
        };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{address}{path}"))
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(Vouched {
            tenant,
            actor,
            trace,
        }) = caller
        {
            request = request
                .header(CALLER, vouch(&self.key, *tenant, actor)?)
                .header(TRACEPARENT, trace.to_string());
        }
        let request = request
            .body(body)
            .map_err(|_| Refused::new(StatusCode::BAD_REQUEST))?;
        let response = self.client.request(request).await.map_err(|error| {
            tracing::error!(?peer, %error, "a service does not answer");
            Refused::new(StatusCode::BAD_GATEWAY)
        })?;
        match response.status() {
            status if status.is_success() => Ok(response.map(Body::new)),
            status => {
                let refused = Refused::new(status);
                Err(match response.headers().get(PROBLEM) {
                    Some(problem) => refused.with_problem(problem.clone()),
                    None => refused,
                })
            }
        }
    }
}

async fn read<T: DeserializeOwned>(response: Response<Body>) -> Result<T, Refused> {
    let unreadable = Refused::new(StatusCode::BAD_GATEWAY);
    let body: Bytes = match response.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return Err(unreadable),
    };
    // What has no content is nothing, as JSON as well.
    let text = if body.is_empty() { b"null" } else { &*body };
    serde_json::from_slice(text).map_err(|error| {
        tracing::error!(%error, "the answer of a service cannot be read");
        unreadable
    })
}

/// Hands a file on, without what else the service has said.
pub(super) fn file(from: Response<Body>) -> Response<Body> {
    let (parts, body) = from.into_parts();
    let mut response = Response::new(body);
    for name in [header::CONTENT_TYPE, header::CONTENT_DISPOSITION] {
        if let Some(value) = parts.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}
