//! What machines fetch: their boot script, kernel and ramdisk, images. Every worker serves all of it from the records.
//! A closure says what a machine boots; this file deals with paths and bytes.
mod admit;
pub mod fuzz;
mod idle;
mod serve;
#[cfg(test)]
mod tests;

use crate::config::HttpLimits;
use crate::confirm;
use crate::netboot::script::{Access, Facts, KERNEL, RAMDISK, script_for};
use crate::seldom::Seldom;
use admit::{Places, admit};
use anyhow::Context;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use idle::Floor;
use ironbeat_common::id::{Mac, NodeId};
use ironbeat_common::image::Digest;
use ironbeat_common::login::CA_PATH;
use ironbeat_core::boot::Boot;
use serde::Deserialize;
use serve::{Limits, Peer};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower_http::services::ServeDir;

/// What the HTTP side needs from the rest of the worker.
#[derive(Clone)]
pub struct BootAnswers {
    pub listen: SocketAddr,
    /// `vmlinuz` and `initrd`.
    pub boot_dir: PathBuf,
    pub image_dir: PathBuf,
    pub limits: HttpLimits,
    pub nats: Vec<String>,
    pub prefix: String,
    pub kernel_args: String,
    /// The CA of the NATS servers, in PEM.
    pub ca: Option<Arc<str>>,
    pub script_of: Arc<dyn Fn(Mac) -> Script + Send + Sync>,
    /// Base URLs of live workers, this one first.
    pub workers: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    /// A machine fetched something on its way to the ramdisk: its boot script, the kernel, the ramdisk.
    pub on_fetch: Arc<dyn Fn(Mac, &'static str) + Send + Sync>,
    /// Whoever has the token with this hash says that the instance of a node runs.
    pub on_confirm: Arc<dyn Fn(NodeId, Digest<32>) -> Heard + Send + Sync>,
}

/// What a machine boots, and with what; none: ask again, or another worker.
pub type Script = Pin<Box<dyn Future<Output = Option<(Boot, Access)>> + Send>>;

/// Whether it was taken; a status says why not.
pub type Heard = Pin<Box<dyn Future<Output = StatusCode> + Send>>;

/// cloud-init posts a form with the instance's id; with its host keys, as it does unless told, it has some 3 KB.
const MAX_FORM_BYTES: usize = 16 * 1024;

pub struct Server {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    /// Takes no new connection and waits a little for those in flight.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!("http: {error}");
        }
    }
}

/// # Errors
/// When the address cannot be listened on.
pub async fn start(answers: BootAnswers) -> anyhow::Result<Server> {
    let address = answers.listen;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("listen on http://{address}"))?;
    let stop = CancellationToken::new();
    let limits = Limits::of(&answers.limits);
    let serve = serve::serve(listener, router(answers), limits, stop.clone());
    let task = tokio::spawn(serve);
    Ok(Server { stop, task })
}

/// Kernels and ramdisks sent at once: with two descriptors each they are still few, and each is over in seconds.
const BOOT_FILES: usize = 100;
/// How long a machine waits in line for one: firmware is patient for so long, and starts over much later.
const BOOT_FILE_PATIENCE: Duration = Duration::from_secs(10);
/// Connections beside those of [`BOOT_FILES`] and of images: scripts, and those who wait in line.
const OTHERS: usize = 200;
/// A reader's speed is judged when it has made us wait for this long.
const JUDGED_AFTER: Duration = Duration::from_secs(60);

impl Limits {
    fn of(options: &HttpLimits) -> Self {
        let min_bytes_per_sec = u64::from(options.min_kib_per_sec) * 1024;
        let per_address = match options.per_address {
            0 => usize::MAX / 2,
            some => some as usize,
        };
        Self {
            connections: options.images as usize + BOOT_FILES + OTHERS,
            per_address,
            floor: Floor {
                bytes: min_bytes_per_sec * JUDGED_AFTER.as_secs(),
                waiting: JUDGED_AFTER,
            },
            ..Self::default()
        }
    }
}

fn router(answers: BootAnswers) -> Router {
    let answers = Arc::new(answers);
    let in_line = Places::new(BOOT_FILES, BOOT_FILE_PATIENCE);
    // An agent asks again by itself, and another worker may have a place now.
    let at_once = Places::new(answers.limits.images as usize, Duration::ZERO);
    let tell = middleware::from_fn_with_state(Arc::clone(&answers), tell_of_boot_files);
    let boot_files = Router::new()
        .fallback_service(ServeDir::new(&answers.boot_dir))
        .layer(middleware::from_fn_with_state(in_line, admit))
        .layer(tell);
    let images = Router::new()
        .fallback_service(ServeDir::new(&answers.image_dir))
        .layer(middleware::from_fn_with_state(at_once, admit));
    // Images are linked into their directory as often as copied, so links are followed.
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/v1/boot/{mac}", get(boot_script))
        .route(CA_PATH, get(authority))
        .route(
            &format!("{}/{{node}}/{{token}}", confirm::PATH),
            post(confirmed),
        )
        .nest("/boot", boot_files)
        .nest("/images", images)
        .with_state(answers)
        .layer(middleware::from_fn_with_state(Arc::default(), log))
}

async fn boot_script(State(answers): State<Arc<BootAnswers>>, Path(mac): Path<String>) -> Response {
    let mac: Mac = match mac.parse() {
        Ok(mac) => mac,
        Err(bad) => return (StatusCode::BAD_REQUEST, format!("{bad}\n")).into_response(),
    };
    let Some((boot, access)) = (answers.script_of)(mac).await else {
        return serve::busy("no boot script at the moment\n");
    };
    let what = match boot {
        Boot::Ramdisk => "boot script: ramdisk",
        Boot::Disk => "boot script: disk",
    };
    tracing::info!(%mac, what, "netboot");
    (answers.on_fetch)(mac, what);
    let facts = Facts {
        workers: (answers.workers)(),
        nats: answers.nats.clone(),
        prefix: answers.prefix.clone(),
        kernel_args: answers.kernel_args.clone(),
        ca: answers.ca.as_deref().map(confirm::sha256),
        access,
    };
    // True at this moment alone: the next step may want another script.
    let headers = [
        (header::CONTENT_TYPE, "text/plain"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, script_for(boot, &facts)).into_response()
}

/// What the boot script names by its hash. It is no secret, and believed by that hash alone.
async fn authority(State(answers): State<Arc<BootAnswers>>) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/x-pem-file")];
    match &answers.ca {
        Some(ca) => (headers, ca.to_string()).into_response(),
        None => (
            StatusCode::NOT_FOUND,
            "these NATS servers have no CA of their own\n",
        )
            .into_response(),
    }
}

/// The instance of a node says that it runs. What else it says is not kept.
async fn confirmed(
    State(answers): State<Arc<BootAnswers>>,
    Path((node, token)): Path<(String, String)>,
    form: Body,
) -> StatusCode {
    if to_bytes(form, MAX_FORM_BYTES).await.is_err() {
        return StatusCode::PAYLOAD_TOO_LARGE;
    }
    match node.parse() {
        Ok(node) => (answers.on_confirm)(node, confirm::sha256(&token)).await,
        Err(_) => StatusCode::NOT_FOUND,
    }
}

/// The boot script makes a machine say who it is when it fetches a file.
#[derive(Deserialize)]
struct Fetcher {
    mac: Option<String>,
}

async fn tell_of_boot_files(
    State(answers): State<Arc<BootAnswers>>,
    request: Request,
    next: Next,
) -> Response {
    let what = match request.uri().path().trim_start_matches('/') {
        KERNEL => Some("kernel"),
        RAMDISK => Some("ramdisk"),
        _ => None,
    };
    let fetcher: Option<Query<Fetcher>> = Query::try_from_uri(request.uri()).ok();
    let mac = fetcher.and_then(|fetcher| fetcher.0.mac?.parse::<Mac>().ok());
    let response = next.run(request).await;
    if let (true, Some(mac), Some(what)) = (response.status().is_success(), mac, what) {
        tracing::info!(%mac, what, "netboot");
        (answers.on_fetch)(mac, what);
    }
    response
}

/// A token is no log's business.
fn without_token(path: &str) -> &str {
    match path.strip_prefix(confirm::PATH) {
        Some(_) => path.rsplit_once('/').map_or(path, |(before, _)| before),
        None => path,
    }
}

/// Of a path that somebody made up, in the log.
const SHOWN: usize = 200;

/// One line per request, when its answer begins; what was refused is told unless there is too much of it.
async fn log(State(refusals): State<Arc<Seldom>>, request: Request, next: Next) -> Response {
    let begin = Instant::now();
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
    let (method, path) = (request.method().clone(), request.uri().path());
    let path = without_token(path).to_string();
    let range = request.headers().get(header::RANGE).cloned();
    let response = next.run(request).await;
    let (status, micros) = (response.status().as_u16(), begin.elapsed().as_micros());
    if response.status().is_client_error()
        && let Some(untold) = refusals.told(tokio::time::Instant::now())
    {
        let path: String = path.chars().take(SHOWN).collect();
        tracing::info!(peer = ?peer, %method, path, status, untold, "http: refused");
    }
    tracing::debug!(peer = ?peer, %method, path, ?range, status, micros, "http");
    response
}
