//! Whether an image is where a deploy will look for it, and how large it is: asked before a machine boots for it.
//! `foresee` decides what that means. The agent asks again, and checks every byte.
use crate::clock;
use crate::netboot::mirrors::url;
use crate::secrets::Purpose;
use crate::worker::Worker;
use axum::body::Body;
use futures_util::future::join_all;
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, HOST, LOCATION, RANGE, USER_AGENT};
use hyper::{HeaderMap, Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use ironbeat_common::near::is_near;
use ironbeat_core::node::ImageSource;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// For all questions to one server. An operator waits for it, and a server that needs longer is a warning, no more.
const PATIENCE: Duration = Duration::from_secs(3);
/// For the token with which a worker looks: [`PATIENCE`], and what clocks differ by.
const LOOK_TIME: Duration = Duration::from_secs(30);
/// As many as the agent follows.
const MAX_REDIRECTS: usize = 5;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Its size, where that is said.
    There(Option<u64>),
    /// Whoever serves it says that it is not to be had.
    Missing(String),
    /// Nobody said anything definite: a server that is away for a moment may be back before the machine has booted, and
    /// machines may reach what workers do not.
    Unclear(String),
}

/// Each place where an agent would look, in words, and what is there.
pub(super) async fn look(worker: &Worker, source: &ImageSource) -> Vec<(String, Look)> {
    let ca = worker.login.as_ref().and_then(|login| login.ca.as_deref());
    let name = match source {
        ImageSource::Http(_) => {
            let found = over_http(source.as_str(), ca, lives_near(worker)).await;
            return vec![(without_query(source.as_str()).into(), found)];
        }
        ImageSource::Served(_) => source.as_str(),
    };
    let tokens = worker.image_tokens.as_ref();
    let token = tokens.map(|it| it.give(Purpose::Look, name, clock::now().after(LOOK_TIME)));
    let token = token.as_deref();
    let places = worker.presence.heard().into_iter().map(|info| async move {
        let found = match info.id == worker.id {
            true => on_disk(worker, name).await,
            false => over_http(&url(&info, name, token), ca, true).await,
        };
        (format!("worker {}", info.id), found)
    });
    join_all(places).await
}

async fn on_disk(worker: &Worker, name: &str) -> Look {
    let path = worker.image_dir.join(name);
    let found = async { tokio::fs::File::open(&path).await?.metadata().await };
    match found.await {
        Ok(found) if found.is_file() => Look::There(Some(found.len())),
        Ok(_) => Look::Missing(format!("{} is not a file", path.display())),
        Err(error) => Look::Missing(format!("{}: {error}", path.display())),
    }
}

/// Whether machines reach this worker by an address that no other host has: a lab, with all of it on one host.
fn lives_near(worker: &Worker) -> bool {
    let heard = worker.presence.heard();
    let own = heard.iter().find(|info| info.id == worker.id);
    let uri = own.and_then(|own| own.url.parse::<Uri>().ok());
    uri.is_some_and(|uri| address(&uri).is_some_and(is_near))
}

/// `ca`: the site's own, which ramdisks believe beside the public ones. `near`: whether the URL may lead to this host.
async fn over_http(url: &str, ca: Option<&Path>, near: bool) -> Look {
    let asking = Asking {
        ca,
        near,
        is_near: &is_near,
    };
    match tokio::time::timeout(PATIENCE, asked(url, &asking)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => Look::Unclear(format!("{error:#}")),
        Err(_) => Look::Unclear(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

/// How servers are asked: whom they are believed by, and what is this host's own.
struct Asking<'a> {
    ca: Option<&'a Path>,
    /// Whether the first request may go there.
    near: bool,
    is_near: &'a (dyn Fn(IpAddr) -> bool + Sync),
}

/// HEAD. What a server refuses to that it may still give to GET: signed URLs are good for one method.
async fn asked(url: &str, asking: &Asking<'_>) -> anyhow::Result<Look> {
    let head = followed(Method::HEAD, url, asking).await?;
    match head {
        Look::There(_) => Ok(head),
        Look::Missing(_) | Look::Unclear(_) => followed(Method::GET, url, asking).await,
    }
}

async fn followed(method: Method, url: &str, asking: &Asking<'_>) -> anyhow::Result<Look> {
    let Asking { ca, near, is_near } = *asking;
    let mut uri: Uri = url.parse()?;
    // In a lab what begins near may go on there. Nobody else sends a worker to what it alone reaches.
    let mut may_be_near = None;
    for redirects in 0..=MAX_REDIRECTS {
        let found = addresses(&uri).await?;
        let may_be_near =
            *may_be_near.get_or_insert_with(|| near && found.iter().all(|it| is_near(it.ip())));
        let there = found
            .into_iter()
            .filter(|it| may_be_near || !is_near(it.ip()));
        let there: Vec<SocketAddr> = there.collect();
        if there.is_empty() {
            let host = uri.host().unwrap_or_default();
            return Ok(match (redirects, address(&uri)) {
                (1.., _) => Look::Missing(format!(
                    "redirected to {host}, which is this host or its own wire"
                )),
                (0, Some(_)) => Look::Missing(format!(
                    "for a machine {host} is itself or its own wire, so there is nothing to fetch"
                )),
                // Machines may know it by another address.
                (0, None) => Look::Unclear(format!(
                    "for this worker {host} is itself or its own wire, so it does not ask"
                )),
            });
        }
        let (status, headers) = exchange(&method, &uri, &there, ca).await?;
        let said = format!("HTTP status {}", status.as_u16());
        return Ok(match status.as_u16() {
            200 | 206 => Look::There(size(&headers)),
            301 | 302 | 303 | 307 | 308 => {
                let to = headers.get(LOCATION).and_then(|to| to.to_str().ok());
                match to.and_then(|to| redirected(&uri, to)) {
                    Some(next) => {
                        uri = next;
                        continue;
                    }
                    None => Look::Missing(format!(
                        "{said}, to where the ramdisk does not go: to http or https, and not from https to http"
                    )),
                }
            }
            // As the agent judges them.
            408 | 425 | 429 | 500.. => Look::Unclear(said),
            _ => Look::Missing(said),
        });
    }
    Ok(Look::Missing(format!(
        "more than {MAX_REDIRECTS} redirects"
    )))
}

/// An http or https URL, or a path on the same server; what began with TLS goes on with it.
pub(super) fn redirected(from: &Uri, to: &str) -> Option<Uri> {
    let absolute = match to.starts_with('/') && !to.starts_with("//") {
        true => format!("{}://{}{to}", from.scheme_str()?, from.authority()?),
        false => to.into(),
    };
    let uri: Uri = absolute.parse().ok()?;
    let may = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => !is_secure(from),
        _ => false,
    };
    (may && uri.host().is_some()).then_some(uri)
}

fn is_secure(uri: &Uri) -> bool {
    uri.scheme_str() == Some("https")
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// With TLS, to whom this host's CAs vouch for, or the site's.
async fn secured(
    stream: TcpStream,
    host: &str,
    ca: Option<&Path>,
) -> anyhow::Result<Box<dyn Stream>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(ca) = ca {
        for certificate in CertificateDer::pem_file_iter(ca)? {
            roots.add(certificate?)?;
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        // A ramdisk, which is to fetch it, has no older one.
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_string())?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream);
    Ok(Box::new(stream.await?))
}

async fn addresses(uri: &Uri) -> anyhow::Result<Vec<SocketAddr>> {
    let authority = uri.authority().ok_or_else(|| anyhow::anyhow!("no host"))?;
    let usual = if is_secure(uri) { 443 } else { 80 };
    let port = authority.port_u16().unwrap_or(usual);
    Ok(tokio::net::lookup_host((host(uri), port)).await?.collect())
}

fn host(uri: &Uri) -> &str {
    let host = uri.host().unwrap_or_default();
    host.trim_matches(['[', ']'])
}

/// None: a name.
fn address(uri: &Uri) -> Option<IpAddr> {
    host(uri).parse().ok()
}

/// One request on a connection of its own, to one of `there`, which ends with the head of the answer.
async fn exchange(
    method: &Method,
    uri: &Uri,
    there: &[SocketAddr],
    ca: Option<&Path>,
) -> anyhow::Result<(StatusCode, HeaderMap)> {
    let authority = uri.authority().ok_or_else(|| anyhow::anyhow!("no host"))?;
    let stream = TcpStream::connect(there).await?;
    let stream: Box<dyn Stream> = match is_secure(uri) {
        true => secured(stream, host(uri), ca).await?,
        false => Box::new(stream),
    };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, authority.as_str())
        .header(USER_AGENT, concat!("ironbeat/", env!("CARGO_PKG_VERSION")));
    let request = match *method == Method::GET {
        true => request.header(RANGE, "bytes=0-0"),
        false => request,
    };
    // It ends with this function, however that ends.
    let mut driving = JoinSet::new();
    driving.spawn(connection);
    let answer = sender.send_request(request.body(Body::empty())?).await?;
    Ok((answer.status(), answer.headers().clone()))
}

/// Of the whole: behind the slash of a partial answer.
pub(super) fn size(headers: &HeaderMap) -> Option<u64> {
    let text = |name| headers.get(name)?.to_str().ok();
    match text(CONTENT_RANGE) {
        Some(range) => range.rsplit_once('/')?.1.parse().ok(),
        None => text(CONTENT_LENGTH)?.parse().ok(),
    }
}

/// A query may carry a signature.
pub(super) fn without_query(url: &str) -> &str {
    url.split('?').next().unwrap_or(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_rack::http::{Fault, HttpServer};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn check(url: &str, expected: Look) {
        assert_eq!(over_http(url, None, true).await, expected, "{url}");
    }

    fn missing(said: &str) -> Look {
        Look::Missing(said.into())
    }

    /// Answers each request with the next of these, the last one again and again.
    async fn scripted(answers: &[&str]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answers: Vec<String> = answers.iter().map(ToString::to_string).collect();
        tokio::spawn(async move {
            for n in 0.. {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let answer = &answers[n.min(answers.len() - 1)];
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        format!("http://{address}/os.raw")
    }

    #[tokio::test]
    async fn what_a_server_says_counts_and_silence_does_not() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("os.raw"), "0123456789").unwrap();
        let server = HttpServer::start_loopback(dir.path()).unwrap();
        check(&server.url("os.raw"), Look::There(Some(10))).await;
        check(&server.url("none.raw"), missing("HTTP status 404")).await;
        server.break_file("os.raw", Fault::Status(503));
        let busy = Look::Unclear("HTTP status 503".into());
        check(&server.url("os.raw"), busy).await;
        let gone = server.url("os.raw");
        drop(server);
        assert!(matches!(
            over_http(&gone, None, true).await,
            Look::Unclear(_)
        ));
        // Not a name that anybody has.
        let nobody = over_http("http://no-such-host.invalid/os.raw", None, true).await;
        assert!(matches!(nobody, Look::Unclear(_)), "{nobody:?}");
    }

    #[tokio::test]
    async fn what_head_is_refused_get_may_have() {
        let refused = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
        let part = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-0/77\r\nContent-Length: 1\r\n\r\nx";
        check(&scripted(&[refused, part]).await, Look::There(Some(77))).await;
        check(&scripted(&[refused]).await, missing("HTTP status 403")).await;
        let whole = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        check(&scripted(&[refused, whole]).await, Look::There(None)).await;
    }

    #[tokio::test]
    async fn redirects_are_followed_where_the_ramdisk_could() {
        let there = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        let to =
            |to: &str| format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
        let elsewhere = scripted(&[there]).await;
        check(&scripted(&[&to(&elsewhere)]).await, Look::There(Some(5))).await;
        let path = scripted(&[&to("/other"), there]).await;
        check(&path, Look::There(Some(5))).await;
        let endless = scripted(&[&to("/other")]).await;
        check(&endless, missing("more than 5 redirects")).await;
        let Look::Missing(why) =
            over_http(&scripted(&[&to("ftp://h/os.raw")]).await, None, true).await
        else {
            panic!("the ramdisk has no FTP");
        };
        assert!(why.contains("does not go"), "{why}");
        let uri = |text: &str| text.parse::<Uri>().unwrap();
        let led = |from: &str, to: &str| redirected(&uri(from), to).map(|uri| uri.to_string());
        for (from, to, leads) in [
            ("http://h/a", "https://g/b", Some("https://g/b")),
            ("https://h:8443/a", "/b", Some("https://h:8443/b")),
            ("https://h/a", "http://h/a", None),
        ] {
            assert_eq!(led(from, to).as_deref(), leads, "{from} {to}");
        }
    }

    #[tokio::test]
    async fn nobody_but_the_operator_sends_a_worker_to_its_own_host() {
        let there = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        let secret = scripted(&[there]).await;
        check(&secret, Look::There(Some(5))).await;
        let to = format!("HTTP/1.1 302 Found\r\nLocation: {secret}\r\nContent-Length: 0\r\n\r\n");
        // From loopback to loopback, as in a lab.
        check(&scripted(&[&to]).await, Look::There(Some(5))).await;
        let outside = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let url = format!("http://{}/os.raw", outside.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = outside.accept().await.unwrap();
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(to.as_bytes()).await;
            }
        });
        let asking = Asking {
            ca: None,
            near: true,
            is_near: &|it| it == std::net::Ipv4Addr::LOCALHOST,
        };
        let Look::Missing(why) = asked(&url, &asking).await.unwrap() else {
            panic!("a redirect has led a worker to its own host");
        };
        assert!(why.contains("redirected to 127.0.0.1"), "{why}");
    }

    #[tokio::test]
    async fn a_worker_of_real_machines_does_not_look_at_its_own_host_for_anybody() {
        let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::clone(&asked);
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                heard.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        });
        let of =
            async |host: &str| over_http(&format!("http://{host}:{port}/os"), None, false).await;
        let Look::Missing(why) = of("127.0.0.1").await else {
            panic!("it has looked at its own host");
        };
        assert!(why.contains("for a machine 127.0.0.1 is itself"), "{why}");
        // As Debian's /etc/hosts says it of a host's own name.
        let Look::Unclear(why) = of("localhost").await else {
            panic!("machines may know that name by another address");
        };
        assert!(why.contains("does not ask"), "{why}");
        assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_server_that_does_not_speak_http_is_unclear() {
        let url = scripted(&["SSH-2.0-x\r\n"]).await;
        assert!(matches!(
            over_http(&url, None, true).await,
            Look::Unclear(_)
        ));
    }

    #[tokio::test]
    async fn over_https_only_who_is_believed_is_asked() {
        use tokio_rustls::TlsAcceptor;
        use tokio_rustls::rustls::ServerConfig;
        use tokio_rustls::rustls::pki_types::PrivateKeyDer;
        let site = ironbeat_rack::certificates::Authority::new();
        let shown = site.certify(&["127.0.0.1"], ironbeat_rack::certificates::GOOD);
        let key = PrivateKeyDer::Pkcs8(shown.key.into());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![shown.certificate.into()], key);
        let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/os.raw", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let _ = stream.read(&mut [0; 4096]).await;
                let there = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
                let _ = stream.write_all(there).await;
            }
        });
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca.pem");
        std::fs::write(&ca, site.pem()).unwrap();
        assert_eq!(over_http(&url, Some(&ca), true).await, Look::There(Some(5)));
        let nobody = over_http(&url, None, true).await;
        assert!(matches!(nobody, Look::Unclear(_)), "{nobody:?}");
    }
}
