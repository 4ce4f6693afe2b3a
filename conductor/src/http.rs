//! What machines fetch: their boot script, kernel and ramdisk, images. Every worker serves all of it from the records.
//! What a machine shall boot is answered by a closure; this file knows paths and bytes.
use crate::boot_script::{Facts, script_for};
use anyhow::Context;
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use ironbeat_common::boot::Boot;
use ironbeat_common::id::Mac;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tower_http::services::ServeDir;

/// Downloads in flight get this long at shutdown; agents resume elsewhere.
const GRACE: Duration = Duration::from_secs(3);

/// What the rest of the worker tells the HTTP side.
#[derive(Clone)]
pub struct BootAnswers {
    pub listen: SocketAddr,
    /// `vmlinuz` and `initrd`.
    pub boot_dir: PathBuf,
    pub image_dir: PathBuf,
    pub nats: Vec<String>,
    pub prefix: String,
    pub kernel_args: String,
    pub boot_of: Arc<dyn Fn(Mac) -> Boot + Send + Sync>,
    /// Base URLs of live workers, this one first.
    pub workers: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    /// A machine fetched its boot script.
    pub on_fetch: Arc<dyn Fn(Mac, &'static str) + Send + Sync>,
}

pub struct Server {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    /// Takes no new connection and waits a little for those in flight.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        let mut task = self.task;
        if tokio::time::timeout(GRACE, &mut task).await.is_err() {
            task.abort();
        }
    }
}

pub fn router(answers: BootAnswers) -> Router {
    let (boot_dir, image_dir) = (answers.boot_dir.clone(), answers.image_dir.clone());
    Router::new()
        .route("/v1/boot/{mac}", get(boot_script))
        .with_state(Arc::new(answers))
        .route("/healthz", get(|| async { "ok\n" }))
        .nest_service("/boot", ServeDir::new(boot_dir))
        .nest_service("/images", ServeDir::new(image_dir))
        .layer(middleware::from_fn(log))
}

/// # Errors
/// When the address cannot be listened on.
pub async fn start(answers: BootAnswers) -> anyhow::Result<Server> {
    let address = answers.listen;
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("listen on http://{address}"))?;
    let (stop, stopped) = oneshot::channel::<()>();
    let serve = axum::serve(listener, router(answers)).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    let task = tokio::spawn(async move {
        if let Err(error) = serve.await {
            tracing::error!("http: {error}");
        }
    });
    Ok(Server { stop, task })
}

async fn boot_script(State(answers): State<Arc<BootAnswers>>, Path(mac): Path<String>) -> Response {
    let mac: Mac = match mac.parse() {
        Ok(mac) => mac,
        Err(bad) => return (StatusCode::BAD_REQUEST, format!("{bad}\n")).into_response(),
    };
    let boot = (answers.boot_of)(mac);
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
    };
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/plain"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("no-store"),
    );
    (headers, script_for(boot, &facts)).into_response()
}

async fn log(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_string());
    let range = request
        .headers()
        .get(header::RANGE)
        .and_then(|range| range.to_str().ok())
        .map(str::to_string);
    let response = next.run(request).await;
    tracing::debug!(%method, path, range, status = response.status().as_u16(), "http");
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    struct Site {
        _dir: tempfile::TempDir,
        address: SocketAddr,
        server: Server,
    }

    async fn site() -> Site {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in [
            ("boot/vmlinuz", "kernel"),
            ("images/os.raw", "0123456789"),
            ("secret", "hush"),
        ] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        // Ask the kernel for a port below the ephemeral range by trying: it is free for as long as nobody takes it.
        let address = (20_000..32_000u16)
            .map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
            .find(|address| std::net::TcpListener::bind(address).is_ok())
            .unwrap();
        let server = start(BootAnswers {
            listen: address,
            boot_dir: dir.path().join("boot"),
            image_dir: dir.path().join("images"),
            nats: vec!["nats://n".into()],
            prefix: "ib.v1".into(),
            kernel_args: String::new(),
            boot_of: Arc::new(|mac| {
                if mac.as_bytes()[5] == 1 {
                    Boot::Ramdisk
                } else {
                    Boot::Disk
                }
            }),
            workers: Arc::new(|| vec!["http://w1".into()]),
            on_fetch: Arc::new(|_, _| {}),
        })
        .await
        .unwrap();
        Site {
            _dir: dir,
            address,
            server,
        }
    }

    async fn get(site: &Site, path: &str, headers: &str) -> (u16, String) {
        let mut stream = tokio::net::TcpStream::connect(site.address).await.unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        (
            head.split(' ').nth(1).unwrap().parse().unwrap(),
            body.into(),
        )
    }

    #[tokio::test]
    async fn scripts_files_and_ranges_are_served_and_nothing_else() {
        let site = site().await;
        let (status, script) = get(&site, "/v1/boot/52-54-00-77-00-01", "").await;
        assert!(
            status == 200 && script.contains("kernel http://w1/boot/vmlinuz"),
            "{script}"
        );
        assert!(
            get(&site, "/v1/boot/52:54:00:77:00:02", "")
                .await
                .1
                .contains("sanboot")
        );
        assert_eq!(get(&site, "/v1/boot/nonsense", "").await.0, 400);
        assert_eq!(
            get(&site, "/boot/vmlinuz", "").await,
            (200, "kernel".into())
        );
        assert_eq!(
            get(&site, "/images/os.raw", "Range: bytes=4-\r\n").await,
            (206, "456789".into())
        );
        for outside in [
            "/images/../secret",
            "/images/..%2fsecret",
            "/images/%2e%2e/secret",
            "/secret",
            "//secret",
        ] {
            let (status, body) = get(&site, outside, "").await;
            assert!(
                status >= 400 && !body.contains("hush"),
                "{outside}: {status} {body}"
            );
        }
        site.server.stop().await;
    }
}
