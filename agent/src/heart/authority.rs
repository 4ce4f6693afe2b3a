//! Which CA the site's servers have: that of the ramdisk, or the one that the boot script names by its hash, from a worker.
//! Believing it is left to `web::trust`.
use super::link::{RETRY_FIRST, RETRY_LIMIT};
use crate::disk::hash::sha256;
use crate::random;
use crate::web::document;
use crate::web::trust::Authority;
use crate::web::url::Url;
use crate::web::way::Web;
use anyhow::{Context, bail};
use data_encoding::HEXLOWER;
use ironbeat_common::login::CA_PATH;
use std::path::Path;

/// A private CA's certificate, if the image has one.
const FILE: &str = "/etc/ironbeat/ca.pem";
/// A few certificates.
const MAX_BYTES: usize = 128 * 1024;

/// That of the image, else the one that is named by its hash; none: the site has none. Blocks until a worker has it.
///
/// # Errors
/// When the image's cannot be read or used.
pub fn of_site(
    web: &Web,
    workers: &[Url],
    named: Option<&[u8; 32]>,
) -> anyhow::Result<Option<Authority>> {
    let site = of_image(Path::new(FILE), named)?;
    Ok(site.or_else(|| Some(fetch(web, workers, named?))))
}

/// The CA of the image.
///
/// # Errors
/// When the file cannot be read or used: a retry would not help.
fn of_image(file: &Path, named: Option<&[u8; 32]>) -> anyhow::Result<Option<Authority>> {
    let pem = match std::fs::read(file) {
        Ok(pem) => pem,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| format!("reading the CA {}", file.display()));
        }
    };
    if named.is_some_and(|named| *named != sha256(&[&pem])) {
        tracing::warn!(
            "the boot script names another CA than this ramdisk has: the ramdisk's is believed"
        );
    }
    let authority = Authority::from_pem(&pem);
    let authority =
        authority.with_context(|| format!("understanding the CA {}", file.display()))?;
    Ok(Some(authority))
}

/// The CA with this hash, from whichever worker has it. Blocks until one does: without it there is nobody to speak to.
fn fetch(web: &Web, workers: &[Url], named: &[u8; 32]) -> Authority {
    let mut failures = 0;
    loop {
        for worker in workers {
            match fetch_from(web, worker, named) {
                Ok(authority) => {
                    tracing::info!(%worker, sha256 = HEXLOWER.encode(named), "got the CA of the site");
                    return authority;
                }
                Err(error) => {
                    tracing::error!("the CA that the boot script names is not to be had: {error:#}")
                }
            }
        }
        std::thread::sleep(random::back_off(RETRY_FIRST, failures, RETRY_LIMIT));
        failures += 1;
    }
}

fn fetch_from(web: &Web, worker: &Url, named: &[u8; 32]) -> anyhow::Result<Authority> {
    let url = worker.at(CA_PATH)?;
    let get = || format!("GET {url}");
    let pem = document::get(web, &url, MAX_BYTES)?;
    if sha256(&[&pem]) != *named {
        bail!(
            "{}: it has the SHA-256 {}, and the boot script says {}",
            get(),
            HEXLOWER.encode(&sha256(&[&pem])),
            HEXLOWER.encode(named)
        );
    }
    Authority::from_pem(&pem).with_context(get)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Wall;
    use crate::web::testing::{Reply, Server};
    use crate::web::trust::Trust;
    use ironbeat_rack::certificates;
    use std::sync::Arc;

    #[test]
    fn the_ca_of_the_boot_script_is_believed_from_whichever_worker_has_it() {
        let (ours, other) = (
            certificates::Authority::new().pem(),
            certificates::Authority::new().pem(),
        );
        let serve = |body: Vec<u8>| {
            Server::start(move |request| {
                assert_eq!(request.target, CA_PATH);
                Reply::object(&body, "one", request)
            })
        };
        let servers = [
            serve(other.clone().into_bytes()),
            Server::start(|_| Reply::status(404)),
            serve(vec![b'-'; MAX_BYTES + 1]),
            serve(ours.clone().into_bytes()),
        ];
        let urls = servers.iter().map(|it| Url::parse(&it.url("")).unwrap());
        let urls: Vec<Url> = urls.collect();
        let web = Web::new(Arc::new(Trust::new(Arc::new(Wall::default()))), None, &[]);
        let named = sha256(&[ours.as_bytes()]);
        for (url, said) in urls.iter().zip([
            "and the boot script says",
            "HTTP status 404",
            "it is too long",
        ]) {
            let error = format!("{:#}", fetch_from(&web, url, &named).unwrap_err());
            assert!(error.contains(said), "{error}");
        }
        fetch(&web, &urls, &named);
        assert!(servers.iter().all(|server| !server.seen().is_empty()));
    }

    #[test]
    fn the_ca_of_the_image_is_not_replaced_by_that_of_a_boot_script() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        assert!(of_image(&file, None).unwrap().is_none());
        std::fs::write(&file, certificates::Authority::new().pem()).unwrap();
        assert!(of_image(&file, None).unwrap().is_some());
        assert!(of_image(&file, Some(&[7; 32])).unwrap().is_some());
        std::fs::write(&file, "nothing").unwrap();
        let error = format!("{:#}", of_image(&file, None).unwrap_err());
        assert!(error.contains("it has no certificate"), "{error}");
    }
}
