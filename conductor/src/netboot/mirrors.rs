//! Where an agent fetches an image from: the URL that was asked for, or the workers.
//! Serving images is `http`'s job; which workers there are is known in `presence`.
use ironbeat_core::node::ImageSource;
use ironbeat_ops::reply::WorkerInfo;

/// URLs of an image, in the order of `workers`; what they serve is had from any of them.
pub fn urls(workers: &[WorkerInfo], source: &ImageSource) -> Vec<String> {
    match source {
        ImageSource::Http(_) => vec![source.as_str().into()],
        ImageSource::Served(_) => workers
            .iter()
            .map(|worker| {
                let url = worker.https.as_ref().unwrap_or(&worker.url);
                format!("{url}/images/{source}")
            })
            .collect(),
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
        let of = |source: &str| urls(&workers, &source.parse().unwrap());
        assert_eq!(
            of("os.zst"),
            ["http://w2/images/os.zst", "http://w1/images/os.zst"]
        );
        assert_eq!(of("http://h/os.zst"), ["http://h/os.zst"]);
        assert_eq!(
            urls(&[over_tls], &"os.zst".parse().unwrap()),
            ["https://w3/images/os.zst"]
        );
    }
}
