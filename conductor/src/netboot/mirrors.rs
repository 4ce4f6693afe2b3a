//! Where an agent fetches an image from: the URL that was asked for, or the workers.
//! Serving images is `http`'s job; which workers there are is known in `presence`.
use ironbeat_core::node::ImageSource;
use ironbeat_ops::reply::WorkerInfo;

/// The name of a token in a URL's query.
pub const QUERY: &str = "token";

/// URLs of an image, in the order of `workers`; what they serve is had from any of them, with `token` if they ask for one.
pub fn urls(workers: &[WorkerInfo], source: &ImageSource, token: Option<&str>) -> Vec<String> {
    match source {
        ImageSource::Http(_) => vec![source.as_str().into()],
        ImageSource::Served(_) => workers
            .iter()
            .map(|worker| url(worker, source.as_str(), token))
            .collect(),
    }
}

/// Where a worker serves a file of its image directory.
pub fn url(worker: &WorkerInfo, file: &str, token: Option<&str>) -> String {
    let base = worker.https.as_ref().unwrap_or(&worker.url);
    match token {
        Some(token) => format!("{base}/images/{file}?{QUERY}={token}"),
        None => format!("{base}/images/{file}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_core::id::Incarnation;
    use ironbeat_core::time::Time;

    #[test]
    fn a_served_image_is_had_from_every_worker_in_their_order_over_tls_where_it_speaks_it() {
        let worker = |name: &str| WorkerInfo {
            id: name.parse().unwrap(),
            incarnation: Incarnation::default(),
            url: format!("http://{name}"),
            https: None,
            version: "1".into(),
            started: Time::from_unix_ms(1),
            lacks: vec![],
            serves: vec![],
            loaders: vec![],
            host: String::new(),
            stands_by: None,
            lacks_images: None,
            refused: vec![],
            records: vec![],
            policy: std::collections::BTreeMap::new(),
            master_keys: vec![],
            dnsmasq: None,
        };
        let workers = [worker("w2"), worker("w1")];
        let over_tls = WorkerInfo {
            https: Some("https://w3".into()),
            ..worker("w3")
        };
        let of = |source: &str, token| urls(&workers, &source.parse().unwrap(), token);
        assert_eq!(
            of("os.zst", None),
            ["http://w2/images/os.zst", "http://w1/images/os.zst"]
        );
        assert_eq!(
            of("os.zst", Some("t")),
            [
                "http://w2/images/os.zst?token=t",
                "http://w1/images/os.zst?token=t"
            ]
        );
        // A token of ours is nobody else's business.
        assert_eq!(of("http://h/os.zst", Some("t")), ["http://h/os.zst"]);
        assert_eq!(
            urls(&[over_tls], &"os.zst".parse().unwrap(), Some("t")),
            ["https://w3/images/os.zst?token=t"]
        );
    }
}
