//! Images that are sent to those alone who are to write one: real workers over real HTTP, the test as the agent.
//! `netboot/http` tests requests, `secrets/image_token.rs` tokens.
mod support;

use ironbeat_common::codec;
use ironbeat_common::heartbeat::{Heartbeat, HeartbeatReply, Retry, Status, StepError};
use ironbeat_common::id::{NodeId, StepId};
use ironbeat_common::lookup::LookupReply;
use ironbeat_common::order::{Order, WriteImage};
use ironbeat_common::subject;
use ironbeat_rack::ports::PortLease;
use ironbeat_rack::secrets;
use serde_json::json;
use support::bmcs::Bmcs;
use support::{SOON, Site, Worker, boot, lookup, mac, machine, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const IMAGE: &str = "an operating system";

fn private(site: &Site, id: &str) -> Worker {
    let secrets = secrets::section(site.dir()).unwrap();
    let more = format!(
        "http.images = \"private\"\n{secrets}[policy]\nautomated_clean = false\npower_sync_secs = 0"
    );
    let mut worker = site.spawn_with(id, id, &more, PortLease::take().unwrap());
    worker.process.wait_for_log(" ready ", SOON).unwrap();
    worker
}

/// Status and body. `url`: as an agent gets it.
async fn get(url: &str, range: &str) -> (u16, String) {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    let request =
        format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{range}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap();
    (status.parse().unwrap(), body.into())
}

async fn beat(site: &Site, node: &NodeId, seq: u64, status: Status) -> HeartbeatReply {
    let beat = Heartbeat {
        version: codec::VERSION,
        boot: boot(1),
        seq,
        status,
        nudge: None,
    };
    site.agent(&subject::heartbeat("ib.v1", node), &beat).await
}

/// The node's machine is up, and told to write the image.
async fn order(site: &Site) -> (NodeId, StepId, WriteImage) {
    let looked_up = until("the ramdisk is welcome", async || {
        match site
            .agent("ib.v1.lookup", &lookup(boot(1), machine(1)))
            .await
        {
            LookupReply::Welcome { node, .. } => Some(node),
            LookupReply::Wait { .. } => None,
        }
    });
    let node = looked_up.await;
    match beat(site, &node, 1, Status::Idle).await {
        HeartbeatReply::Step {
            id,
            order: Order::WriteImage(write),
        } => (node, id, write),
        other => panic!("no image is to be written: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_image_is_sent_by_any_worker_while_its_node_is_to_write_it() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(1));
    let mut workers = [private(&site, "w1"), private(&site, "w2")];
    site.file("os.raw", IMAGE);
    site.file("other.raw", "of somebody else");
    let wish = json!({ "name": "box", "bmc": bmcs.access(0), "macs": [mac(1)] });
    site.enroll(wish).await;
    for verb in ["manage", "provide"] {
        site.cli(&["node", verb, "box", "--wait"]).await.good();
    }
    until("both are heard", async || {
        let workers = site.ask("worker.list", json!({})).await.good();
        (workers.as_array()?.len() == 2).then_some(())
    })
    .await;
    // The worker that is asked looks at the other's, which would refuse it as it refuses everybody.
    let sum = format!("sha256:{}", "07".repeat(32));
    let deploy = [
        "node",
        "deploy",
        "box",
        "--image",
        "os.raw",
        "--checksum",
        &sum,
    ];
    let said = site.cli(&deploy).await;
    assert!(said.ok && !said.err.contains("os.raw"), "{said:?}");

    let (node, step, write) = order(&site).await;
    let [one, other] = &write.urls[..] else {
        panic!("two workers serve it: {:?}", write.urls);
    };
    assert_ne!(one.split('?').next(), other.split('?').next());
    for url in [one, other] {
        assert_eq!(get(url, "").await, (200, IMAGE.into()));
        assert_eq!(
            get(url, "Range: bytes=3-\r\n").await,
            (206, IMAGE[3..].into())
        );
        let (plain, _) = url.split_once('?').unwrap();
        assert_eq!(get(plain, "").await.0, 403);
        assert_eq!(get(&url.replace("os.raw", "other.raw"), "").await.0, 403);
    }
    // Data keys come and go.
    site.cli(&["auth", "rotate-key"]).await.good();
    assert_eq!(get(one, "").await.0, 200);

    let error = StepError {
        what: "the disk is on fire".into(),
        retry: Retry::Useless,
    };
    let failed = Status::Failed { step, error };
    assert_eq!(beat(&site, &node, 2, failed).await, HeartbeatReply::LookUp);
    until("its token is dead at both", async || {
        let (one, other) = (get(one, "").await.0, get(other, "").await.0);
        ((one, other) == (403, 403)).then_some(())
    })
    .await;
    let (_, token) = one.split_once("token=").unwrap();
    for worker in &mut workers {
        let printed = worker.printed();
        assert!(printed.contains("/images/os.raw") && !printed.contains(token));
        worker.assert_well();
    }
}
