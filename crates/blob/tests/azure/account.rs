//! An account of a test's own: it keeps blobs in one container, tells the CRC64 of what it gives out, and
//! answers otherwise where a test wants it to. Azurite never does, and no proxy before it can.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use azure_core::base64;
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use tenantry_blob::{
    AzureBlobs, AzureCredential, AzureLayout, AzureSettings, BlobStore, Crc64, TenantBlobs,
};
use tenantry_core::{Secret, TenantId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const CONTAINER: &str = "/account/all/";

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    path: String,
    query: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Request {
    /// Returns where the blob is that is asked for.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn is_list(&self) -> bool {
        self.method == "GET" && self.parameter("comp").as_deref() == Some("list")
    }

    /// Returns whether bytes of a blob are asked for.
    pub(crate) fn is_read(&self) -> bool {
        self.method == "GET" && !self.is_list()
    }

    /// Returns the range of bytes that is asked for.
    pub(crate) fn range(&self) -> Option<(usize, usize)> {
        let (start, last) = self
            .headers
            .get("range")?
            .strip_prefix("bytes=")?
            .split_once('-')?;
        Some((start.parse().ok()?, last.parse::<usize>().ok()? + 1))
    }

    fn parameter(&self, name: &str) -> Option<String> {
        let mut pairs = self
            .query
            .split('&')
            .filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.find(|(it, _)| *it == name)?;
        Some(decoded(value))
    }

    fn metadata(&self) -> BTreeMap<String, String> {
        let of_blob = |name: &str| name.starts_with("x-ms-meta-");
        let headers = self.headers.iter().filter(|(name, _)| of_blob(name));
        headers
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}

/// What is answered.
#[derive(Debug)]
pub(crate) struct Answer {
    head: String,
    body: Vec<u8>,
    then: Then,
}

#[derive(Debug, Clone, Copy)]
enum Then {
    Next,
    /// Nothing more comes, and the connection stays.
    Silence,
    /// The body comes again and again, as often as it is taken.
    Again,
}

impl Answer {
    pub(crate) fn of(status: &str, headers: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let length = body.len();
        Self {
            head: format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n"),
            body,
            then: Then::Next,
        }
    }

    /// Returns a head that promises a body of which nothing comes.
    pub(crate) fn without_its_body(status: &str, headers: &str) -> Self {
        Self {
            head: format!("HTTP/1.1 {status}\r\n{headers}content-length: 500\r\n\r\n"),
            body: Vec::new(),
            then: Then::Silence,
        }
    }

    /// Returns an answer whose body never ends.
    pub(crate) fn without_end(status: &str, headers: &str, body: &str) -> Self {
        Self {
            head: format!("HTTP/1.1 {status}\r\n{headers}connection: close\r\n\r\n"),
            body: body.repeat(64 * 1024 / body.len()).into(),
            then: Then::Again,
        }
    }

    /// Returns the same without a header, in whose place others may stand.
    pub(crate) fn without(mut self, header: &str, instead: &str) -> Self {
        let is_other = |line: &&str| !line.starts_with(&format!("{header}:"));
        let lines = self.head.split_inclusive("\r\n").filter(is_other);
        let head: String = lines.collect();
        self.head = head.replacen("\r\n", &format!("\r\n{instead}"), 1);
        self
    }

    fn refusal(status: &str, code: &str) -> Self {
        Self::of(status, &format!("x-ms-error-code: {code}\r\n"), "")
    }
}

/// A blob that is kept.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    content_type: String,
    metadata: BTreeMap<String, String>,
    body: Vec<u8>,
    etag: u64,
}

impl Kept {
    fn headers(&self) -> String {
        let metadata = self.metadata.iter();
        let metadata = metadata.map(|(name, value)| format!("{name}: {value}\r\n"));
        format!(
            "etag: \"{}\"\r\ncontent-type: {}\r\nx-ms-access-tier: Hot\r\n{}",
            self.etag,
            self.content_type,
            metadata.collect::<String>(),
        )
    }

    pub(crate) fn length(&self) -> usize {
        self.body.len()
    }

    /// Returns an answer with all of its bytes, or those of its begin.
    pub(crate) fn whole(&self, length: usize) -> Answer {
        let bytes = &self.body[..length];
        let crc64 = base64::encode(Crc64::of(bytes).0.to_le_bytes());
        let headers = format!("{}x-ms-content-crc64: {crc64}\r\n", self.headers());
        Answer::of("200 OK", &headers, bytes)
    }

    /// Returns an answer with a range of its bytes, which may be told as another.
    pub(crate) fn part(&self, (start, end): (usize, usize), told: (usize, usize)) -> Answer {
        let bytes = &self.body[start..end];
        let crc64 = base64::encode(Crc64::of(bytes).0.to_le_bytes());
        let headers = format!(
            "{}content-range: bytes {}-{}/{}\r\nx-ms-content-crc64: {crc64}\r\n",
            self.headers(),
            told.0,
            told.1 - 1,
            self.body.len(),
        );
        Answer::of("206 Partial Content", &headers, bytes)
    }
}

type Blobs = BTreeMap<String, Kept>;
type Instead = dyn Fn(&Request, &Blobs) -> Option<Answer> + Send + Sync;

/// An account, until the end of its test.
pub(crate) struct Account {
    url: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    blobs: Mutex<Blobs>,
    instead: Mutex<Option<Box<Instead>>>,
}

impl Account {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/account", listener.local_addr().unwrap());
        let state = Arc::<State>::default();
        let of_server = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&of_server)));
            }
        });
        Self { url, state }
    }

    /// Answers so from now on, where that is anything.
    pub(crate) fn answers(
        &self,
        instead: impl Fn(&Request, &Blobs) -> Option<Answer> + Send + Sync + 'static,
    ) {
        *self.state.instead.lock() = Some(Box::new(instead));
    }

    /// Answers as a service does.
    pub(crate) fn answers_as_usual(&self) {
        *self.state.instead.lock() = None;
    }

    /// Returns a store of its blobs that waits no longer than two seconds.
    pub(crate) fn store(&self) -> BlobStore {
        self.store_with(AzureLayout::prefix_per_tenant("all").unwrap(), |it| it)
    }

    pub(crate) fn store_with(
        &self,
        layout: AzureLayout,
        change: impl FnOnce(AzureSettings) -> AzureSettings,
    ) -> BlobStore {
        let key = AzureCredential::shared_key(Secret::new("c2VjcmV0"));
        let settings = AzureSettings::new(self.url.clone(), layout, key)
            .with_try_timeout(Duration::from_secs(1))
            .with_deadline(Duration::from_secs(2))
            .with_soft_delete(Duration::ZERO);
        BlobStore::new(Arc::new(AzureBlobs::new(change(settings)).unwrap()))
    }

    pub(crate) fn tenant(&self) -> TenantBlobs {
        self.store().tenant(TenantId::generate())
    }
}

async fn serve(mut stream: TcpStream, state: Arc<State>) {
    let mut pending = Vec::new();
    while let Some(request) = next(&mut stream, &mut pending).await {
        let answer = {
            let mut blobs = state.blobs.lock();
            let instead = state.instead.lock();
            let instead = instead.as_ref().and_then(|it| it(&request, &blobs));
            instead.unwrap_or_else(|| usual(&request, &mut blobs))
        };
        let mut bytes = answer.head.into_bytes();
        if request.method != "HEAD" {
            bytes.extend_from_slice(&answer.body);
        }
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
        match answer.then {
            Then::Next => {}
            Then::Silence => {
                let _ = stream.read(&mut [0]).await;
                return;
            }
            Then::Again => while stream.write_all(&answer.body).await.is_ok() {},
        }
    }
}

async fn next(stream: &mut TcpStream, pending: &mut Vec<u8>) -> Option<Request> {
    let end = loop {
        let end = pending.windows(4).position(|it| it == b"\r\n\r\n");
        match end {
            Some(end) => break end,
            None => more(stream, pending).await?,
        }
    };
    let head = String::from_utf8_lossy(&pending[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let (method, target) = lines.next()?.split_once(' ')?;
    let target = target.split(' ').next()?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers: BTreeMap<_, _> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length");
    let length: usize = length.and_then(|it| it.parse().ok()).unwrap_or_default();
    pending.drain(..end + 4);
    while pending.len() < length {
        more(stream, pending).await?;
    }
    Some(Request {
        method: method.to_owned(),
        path: decoded(path),
        query: query.to_owned(),
        headers,
        body: pending.drain(..length).collect(),
    })
}

async fn more(stream: &mut TcpStream, pending: &mut Vec<u8>) -> Option<()> {
    match stream.read_buf(pending).await {
        Ok(1..) => Some(()),
        _ => None,
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn usual(request: &Request, blobs: &mut Blobs) -> Answer {
    let none = || Answer::refusal("404 Not Found", "BlobNotFound");
    let path = &request.path;
    match request.method.as_str() {
        "PUT" if blobs.contains_key(path) => Answer::refusal("409 Conflict", "BlobAlreadyExists"),
        "PUT" => {
            let content_type = request.headers.get("x-ms-blob-content-type");
            let kept = Kept {
                content_type: content_type.cloned().unwrap_or_default(),
                metadata: request.metadata(),
                body: request.body.clone(),
                etag: 1,
            };
            blobs.insert(path.clone(), kept);
            Answer::of("201 Created", "etag: \"1\"\r\n", "")
        }
        "HEAD" => blobs.get(path).map_or_else(none, |kept| {
            Answer::of("200 OK", &kept.headers(), kept.body.clone())
        }),
        "DELETE" => blobs
            .remove(path)
            .map_or_else(none, |_| Answer::of("202 Accepted", "", "")),
        _ if request.is_list() => {
            let prefix = request.parameter("prefix").unwrap_or_default();
            listed(blobs, &prefix, "")
        }
        _ => blobs.get(path).map_or_else(none, |kept| {
            let (start, end) = request.range().unwrap_or((0, usize::MAX));
            let range = (start, end.min(kept.body.len()));
            match range.0 < range.1 {
                true => kept.part(range, range),
                false => Answer::refusal("416 Range Not Satisfiable", "InvalidRange"),
            }
        }),
    }
}

/// Returns a list of the blobs whose names begin so, which goes on from a marker, if one is given.
pub(crate) fn listed(blobs: &Blobs, prefix: &str, marker: &str) -> Answer {
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;");
    let mut items = String::new();
    for (path, kept) in blobs {
        let name = path.strip_prefix(CONTAINER).unwrap_or(path);
        if !name.starts_with(prefix) {
            continue;
        }
        let metadata: String = kept
            .metadata
            .iter()
            .map(|(name, value)| {
                let name = name.trim_start_matches("x-ms-meta-");
                format!("<{name}>{}</{name}>", escaped(value))
            })
            .collect();
        items += &format!(
            "<Blob><Name>{name}</Name><Properties><Etag>\"{}\"</Etag><Content-Length>{}</Content-Length>\
             <Content-Type>{}</Content-Type><AccessTier>Hot</AccessTier><BlobType>BlockBlob</BlobType>\
             </Properties><Metadata>{metadata}</Metadata></Blob>",
            kept.etag,
            kept.body.len(),
            kept.content_type,
        );
    }
    list("Blobs", &items, marker)
}

/// Returns a list of this text.
pub(crate) fn list(of: &str, items: &str, marker: &str) -> Answer {
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ServiceEndpoint=\"http://x/\" \
         ContainerName=\"all\"><{of}>{items}</{of}><NextMarker>{marker}</NextMarker></EnumerationResults>"
    );
    Answer::of("200 OK", "content-type: application/xml\r\n", xml)
}
