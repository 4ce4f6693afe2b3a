//! What machines fetch: their boot script, kernel and ramdisk, images. Every worker serves all of it from the records.
//! A closure says what a machine boots; this file deals with paths and bytes.
mod admit;
pub mod fuzz;
mod host;
mod idle;
mod private;
mod seats;
mod serve;
#[cfg(test)]
mod tests;

use crate::config::{HttpLimits, HttpTls, Scripts};
use crate::confirm;
use crate::netboot::script::{Access, Facts, KERNEL, RAMDISK, Workers, arguments, script_for};
use crate::seldom::Seldom;
use admit::{Places, admit};
use anyhow::Context;
use axum::Router;
use axum::extract::{Extension, Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use idle::Floor;
use ironbeat_common::id::{Mac, NodeId};
use ironbeat_common::image::Digest;
use ironbeat_common::login::{ARGUMENTS_PATH, CA_PATH};
use ironbeat_core::boot::Boot;
pub use private::Wish;
use serde::Deserialize;
use serve::{Doors, Limits, Peer};
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_util::sync::CancellationToken;
use tower_http::services::ServeDir;

/// What the HTTP side needs from the rest of the worker.
#[derive(Clone)]
pub struct BootAnswers {
    pub listen: SocketAddr,
    pub tls: Option<HttpTls>,
    /// Names of this worker beside those in workers' URLs.
    pub names: Vec<String>,
    /// How machines get boot scripts; over https alone, where there is TLS.
    pub scripts: Scripts,
    /// `vmlinuz` and `initrd`.
    pub boot_dir: PathBuf,
    pub image_dir: PathBuf,
    /// Who may fetch an image; none: everybody.
    pub may_fetch: Option<Arc<MayFetch>>,
    pub limits: HttpLimits,
    pub nats: Vec<String>,
    pub prefix: String,
    pub kernel_args: String,
    /// The CA of the NATS servers, in PEM.
    pub ca: Option<Arc<str>>,
    pub script_of: Arc<dyn Fn(Mac) -> Script + Send + Sync>,
    /// This one first.
    pub workers: Arc<dyn Fn() -> Workers + Send + Sync>,
    /// A machine fetched something on its way to the ramdisk: its boot script or arguments, the kernel, the ramdisk.
    pub on_fetch: Arc<dyn Fn(Mac, &'static str) + Send + Sync>,
    /// A TLS handshake with whoever has this address failed, and why.
    pub on_distrust: Arc<OnDistrust>,
    /// Whoever has the token with this hash says that the instance of a node runs.
    pub on_confirm: Arc<dyn Fn(NodeId, Digest<32>) -> Heard + Send + Sync>,
}

/// Told with whom no TLS session came about, and why.
pub type OnDistrust = dyn Fn(IpAddr, &str) + Send + Sync;

/// Whether a token lets one have a file of the image directory; none: ask again.
pub type MayFetch = dyn Fn(Wish) -> Allowed + Send + Sync;
pub type Allowed = Pin<Box<dyn Future<Output = Option<bool>> + Send>>;

/// What a machine boots, and with what; none: ask again, or another worker.
pub type Script = Pin<Box<dyn Future<Output = Option<(Boot, Access)>> + Send>>;

/// Whether it was taken; a status says why not.
pub type Heard = Pin<Box<dyn Future<Output = StatusCode> + Send>>;

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
    let tls = match &answers.tls {
        None => None,
        Some(tls) => {
            let acceptor = acceptor(tls, answers.scripts)?;
            Some((listen("https", tls.listen).await?, acceptor))
        }
    };
    let doors = Doors {
        plain: listen("http", answers.listen).await?,
        tls,
    };
    let stop = CancellationToken::new();
    let limits = Limits::of(&answers.limits);
    let on_distrust = Arc::clone(&answers.on_distrust);
    let serve = serve::serve(doors, router(answers), limits, on_distrust, stop.clone());
    let task = tokio::spawn(serve);
    Ok(Server { stop, task })
}

async fn listen(scheme: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("listen on {scheme}://{address}"))
}

/// Ramdisks speak TLS 1.3; iPXE 1.2, as of v2.0.0.
fn acceptor(files: &HttpTls, scripts: Scripts) -> anyhow::Result<TlsAcceptor> {
    let versions: &[_] = match scripts {
        Scripts::Http => &[&TLS13],
        Scripts::Https => &[&TLS13, &TLS12],
    };
    let read = |path: &PathBuf| format!("read {}", path.display());
    let mut key = File::open(&files.key).with_context(|| read(&files.key))?;
    ironbeat_cli::private::check(&key, &files.key)?;
    let certificates = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| read(&files.certificate))?;
    let key = PrivateKeyDer::from_pem_reader(&mut key)
        .with_context(|| format!("find a private key (PEM) in {}", files.key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_single_cert(certificates, key);
    let (certificate, key) = (files.certificate.display(), files.key.display());
    let config = config.with_context(|| format!("serve https with {certificate} and {key}"))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// What a machine fetched that is to boot the ramdisk.
pub const RAMDISK_SCRIPT: &str = "boot script: ramdisk";
/// The same of a ramdisk that runs already.
pub const RAMDISK_ARGUMENTS: &str = "boot arguments: ramdisk";
/// What a machine did not get.
pub const NO_PLAIN_SCRIPT: &str = "no boot script: it asks over http, and http.scripts is https";

/// What to do then.
const OVER_HTTPS_ALONE: &str = "http.scripts is https: load boot.ipxe from a worker's TFTP directory, or ask its https address, with an iPXE that believes the site's CA";

/// Why something was refused, for the log.
#[derive(Clone, Copy)]
struct Why(&'static str);

/// Kernels and ramdisks sent at once: with two descriptors each they are still few, and each is over in seconds. A machine wants
/// one at a time, so whoever takes many gives way.
const BOOT_FILES: usize = 100;
/// How long a machine waits in line for one: firmware is patient for so long, and starts over much later.
const BOOT_FILE_PATIENCE: Duration = Duration::from_secs(10);
/// Machines in that line; whoever comes later is told to come back.
const LINE: usize = 64;
/// Connections beside those of [`BOOT_FILES`] and of images: the [`LINE`], scripts, and those who have not said what they want.
/// The latter give way to each other, so that scripts and `/healthz` have a place whatever is fetched.
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
    let in_line = Places::new(BOOT_FILES, LINE, BOOT_FILE_PATIENCE);
    // An agent asks again by itself, and another worker may have a place now.
    let at_once = Places::new(answers.limits.images as usize, 0, Duration::ZERO);
    let tell = middleware::from_fn_with_state(Arc::clone(&answers), tell_of_boot_files);
    let boot_files = Router::new()
        .fallback_service(ServeDir::new(&answers.boot_dir))
        .layer(middleware::from_fn_with_state(in_line, admit))
        .layer(tell);
    let images = Router::new()
        .fallback_service(ServeDir::new(&answers.image_dir))
        .layer(middleware::from_fn_with_state(at_once, admit));
    let images = match &answers.may_fetch {
        Some(may) => images.layer(middleware::from_fn_with_state(
            Arc::clone(may),
            private::ask,
        )),
        None => images,
    };
    // Images are linked into their directory as often as copied, so links are followed.
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/v1/boot/{mac}", get(boot_script))
        .route(&format!("{ARGUMENTS_PATH}/{{mac}}"), get(boot_arguments))
        .route(CA_PATH, get(authority))
        .route(
            &format!("{}/{{node}}/{{token}}", confirm::PATH),
            post(confirmed),
        )
        .nest("/boot", boot_files)
        .nest("/images", images)
        .with_state(Arc::clone(&answers))
        .layer(middleware::from_fn_with_state(answers, host::check))
        .layer(middleware::from_fn_with_state(Arc::default(), log))
}

async fn boot_script(
    State(answers): State<Arc<BootAnswers>>,
    Extension(peer): Extension<Peer>,
    Path(mac): Path<String>,
) -> Response {
    let what = |boot| match boot {
        Boot::Ramdisk => RAMDISK_SCRIPT,
        Boot::Disk => "boot script: disk",
    };
    match boot_facts(&answers, peer, &mac, what).await {
        Ok((boot, facts)) => for_now(script_for(boot, &facts)),
        Err(refused) => refused,
    }
}

/// What a ramdisk asks for whose loader could not ask for a boot script.
async fn boot_arguments(
    State(answers): State<Arc<BootAnswers>>,
    Extension(peer): Extension<Peer>,
    Path(mac): Path<String>,
) -> Response {
    let what = |boot| match boot {
        Boot::Ramdisk => RAMDISK_ARGUMENTS,
        Boot::Disk => "boot arguments: none, it boots its disk",
    };
    match boot_facts(&answers, peer, &mac, what).await {
        Ok((Boot::Ramdisk, facts)) => for_now(arguments(&facts)),
        Ok((Boot::Disk, _)) => {
            (StatusCode::CONFLICT, "this machine boots its disk\n").into_response()
        }
        Err(refused) => refused,
    }
}

/// What a machine boots, told as `what`.
async fn boot_facts(
    answers: &BootAnswers,
    peer: Peer,
    mac: &str,
    what: impl Fn(Boot) -> &'static str,
) -> Result<(Boot, Facts), Response> {
    let mac: Mac = mac
        .parse()
        .map_err(|bad| (StatusCode::BAD_REQUEST, format!("{bad}\n")).into_response())?;
    // Before there is a ticket, which whoever listens would read.
    if answers.scripts == Scripts::Https && !peer.tls {
        (answers.on_fetch)(mac, NO_PLAIN_SCRIPT);
        let said = (StatusCode::FORBIDDEN, format!("{OVER_HTTPS_ALONE}\n"));
        return Err((Extension(Why(OVER_HTTPS_ALONE)), said).into_response());
    }
    let Some((boot, access)) = (answers.script_of)(mac).await else {
        return Err(serve::busy("no boot script at the moment\n"));
    };
    (answers.on_fetch)(mac, what(boot));
    let facts = Facts {
        workers: (answers.workers)(),
        nats: answers.nats.clone(),
        prefix: answers.prefix.clone(),
        kernel_args: answers.kernel_args.clone(),
        ca: answers.ca.as_deref().map(confirm::sha256),
        access,
    };
    Ok((boot, facts))
}

/// True at this moment alone: the next step may want another script.
fn for_now(text: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, text).into_response()
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
) -> StatusCode {
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
    let peer = request.extensions().get::<Peer>().copied();
    let (peer, tls) = peer.map(|peer| (peer.address, peer.tls)).unzip();
    let (method, path) = (request.method().clone(), request.uri().path());
    let path = without_token(path).to_string();
    let range = request.headers().get(header::RANGE).cloned();
    let response = next.run(request).await;
    let (status, micros) = (response.status().as_u16(), begin.elapsed().as_micros());
    if response.status().is_client_error()
        && let Some(untold) = refusals.told(tokio::time::Instant::now())
    {
        let path: String = path.chars().take(SHOWN).collect();
        let why = response.extensions().get::<Why>().map(|why| why.0);
        tracing::info!(peer = ?peer, %method, path, status, why, untold, "http: refused");
    }
    tracing::debug!(peer = ?peer, tls, %method, path, ?range, status, micros, "http");
    response
}
