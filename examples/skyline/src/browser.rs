//! A browser as far as the story needs one: it keeps a cookie, and follows nothing by itself.

use std::net::SocketAddr;

use axum::body::Body;
use axum::http::{HeaderMap, Request, header};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::Result;

/// A browser at the host of one tenant.
#[derive(Debug, Clone)]
pub struct Browser {
    client: Client<HttpConnector, Body>,
    edge: SocketAddr,
    host: String,
    cookie: Option<String>,
    fields: Vec<(String, String)>,
}

/// What it was answered.
#[derive(Debug, Clone)]
pub struct Page {
    /// The status.
    pub status: u16,
    /// The header fields.
    pub headers: HeaderMap,
    /// The text.
    pub body: String,
    /// The same as it came.
    pub bytes: Bytes,
}

impl Page {
    /// Returns what stands between two texts, for the first time.
    #[must_use]
    pub fn between(&self, before: &str, after: &str) -> Option<&str> {
        let (_, rest) = self.body.split_once(before)?;
        Some(rest.split_once(after)?.0)
    }

    /// Returns a header field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Browser {
    /// Opens a browser at the host of a tenant.
    #[must_use]
    pub fn at(edge: SocketAddr, slug: &str) -> Self {
        Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
            edge,
            host: format!("{slug}.localhost"),
            cookie: None,
            fields: Vec::new(),
        }
    }

    /// Opens another browser at the same host, without a cookie.
    #[must_use]
    pub fn at_same(other: &Self) -> Self {
        Self {
            cookie: None,
            ..other.clone()
        }
    }

    /// Sends this header field with each request.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Goes to the host of another tenant, with the cookie that it has.
    #[must_use]
    pub fn gone_to(mut self, slug: &str) -> Self {
        self.host = format!("{slug}.localhost");
        self
    }

    /// Signs in, and keeps the cookie.
    ///
    /// # Errors
    ///
    /// There is no answer.
    pub async fn sign_in(&mut self, user: &str, code: &str) -> Result<Page> {
        let page = self
            .post("/sign-in", &format!("user={user}&code={code}"))
            .await?;
        if let Some(cookie) = page.header("set-cookie") {
            self.cookie = cookie.split(';').next().map(str::to_owned);
        }
        Ok(page)
    }

    /// Asks for a page.
    ///
    /// # Errors
    ///
    /// There is no answer.
    pub async fn get(&self, path: &str) -> Result<Page> {
        self.send("GET", path, "").await
    }

    /// Opens a link: a path of the same host, or an address elsewhere, which gets neither cookie nor fields.
    ///
    /// # Errors
    ///
    /// There is no answer.
    pub async fn open(&self, link: &str) -> Result<Page> {
        match link.starts_with('/') {
            true => self.get(link).await,
            false => {
                self.ask(Request::builder().uri(link).body(Body::empty())?)
                    .await
            }
        }
    }

    /// Sends a form.
    ///
    /// # Errors
    ///
    /// There is no answer.
    pub async fn post(&self, path: &str, form: &str) -> Result<Page> {
        self.send("POST", path, form).await
    }

    async fn send(&self, method: &str, path: &str, form: &str) -> Result<Page> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.edge))
            .header(header::HOST, format!("{}:{}", self.host, self.edge.port()))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, cookie);
        }
        for (name, value) in &self.fields {
            request = request.header(name, value);
        }
        self.ask(request.body(Body::from(form.to_owned()))?).await
    }

    async fn ask(&self, request: Request<Body>) -> Result<Page> {
        let (parts, body) = self.client.request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Page {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
            bytes: body,
        })
    }
}
