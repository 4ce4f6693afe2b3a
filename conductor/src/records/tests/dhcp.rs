//! Who keeps a dnsmasq is known when its host is dead, and said of the right worker.
//! `netboot::dnsmasq` tests how a dnsmasq is watched.
use super::{server, store};
use crate::records::dhcp::{Dhcp, Server, Servers};
use ironbeat_core::explain::explain;
use ironbeat_core::id::{Incarnation, WorkerId};
use ironbeat_core::time::Time;
use ironbeat_ops::reply::WorkerInfo;

fn beside(name: &str, trouble: Option<&str>) -> Server {
    Server {
        info: WorkerInfo {
            id: name.parse().unwrap(),
            url: format!("http://{name}"),
            https: None,
            version: "1".into(),
            started: Time::from_unix_ms(1),
            incarnation: Incarnation::default(),
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
        },
        host: format!("host-of-{name}"),
        trouble: trouble.map(Into::into),
    }
}

fn said(servers: &Servers, live: &[&str]) -> (Vec<String>, Option<String>) {
    let is_live = |id: &WorkerId| live.contains(&id.as_str());
    let workers = servers.workers(&is_live).into_iter();
    let each = workers.map(|w| format!("{} {}", w.id, w.dnsmasq.unwrap()));
    (each.collect(), servers.doubt(&is_live))
}

#[tokio::test]
async fn a_dnsmasq_host_that_is_dead_is_named() {
    let server = server();
    let store = store(&server).await;
    let dhcp = Dhcp::new(&store);
    assert_eq!(said(&dhcp.all().await.unwrap(), &[]), (vec![], None));
    let id = |name: &str| -> WorkerId { name.parse().unwrap() };
    for name in ["w1", "w2"] {
        let server = beside(name, None);
        dhcp.tell(&id(name), Some(server)).await.unwrap();
    }
    // Another worker reads it later, from the store alone.
    let servers = Dhcp::new(&store).all().await.unwrap();
    let (each, doubt) = said(&servers, &["w1", "w2"]);
    assert_eq!((each, doubt), (vec!["w1 ok".into(), "w2 ok".into()], None));
    // One is well: machines get their addresses, and the list names the other.
    let (each, doubt) = said(&servers, &["w1"]);
    assert!(
        each[1].starts_with("w2 the worker is not running"),
        "{each:?}"
    );
    assert_eq!(doubt, None);
    let server = beside("w1", Some("dnsmasq has left the bus"));
    dhcp.tell(&id("w1"), Some(server)).await.unwrap();
    let servers = dhcp.all().await.unwrap();
    let (_, doubt) = said(&servers, &["w1", "w3"]);
    let doubt = doubt.expect("no machine gets an address");
    for words in [
        "worker w1 on host-of-w1: dnsmasq has left",
        "worker w2 on host-of-w2",
    ] {
        assert!(doubt.contains(words), "{doubt}");
    }
    // Whoever waits for no machine is not told.
    let node = super::node(1);
    let words = explain(&node, Time::from_unix_ms(0), &Default::default());
    assert!(
        !words
            .no_network_boot(&node, Some(&doubt))
            .waiting_for
            .contains("dnsmasq")
    );
    for name in ["w1", "w2"] {
        dhcp.tell(&id(name), None).await.unwrap();
    }
    assert_eq!(dhcp.all().await.unwrap(), Servers::default());
}
