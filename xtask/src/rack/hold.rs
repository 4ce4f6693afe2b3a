//! A rack stays up until Ctrl-C, and says what can be tried meanwhile.
//! Leaves tearing it down to its owner.
use crate::interrupt;
use ironbeat_product::cluster::Cluster;
use std::time::Duration;

/// Between two looks at whether somebody wants to end it.
const LOOK: Duration = Duration::from_millis(250);

pub fn print_next(cluster: &Cluster) {
    let enter = match cluster.rack.netns().name() {
        Some(name) => format!("ip netns exec {name} "),
        None => String::new(),
    };
    let (admin, worker) = (cluster.logins().admin(), cluster.logins().worker());
    let (admin, worker) = (admin.display(), worker.display());
    println!("\nTo try next, with `--keep` and in another terminal:");
    for line in [
        "node list",
        "node show node1",
        "node explain node1",
        "events node1",
        "lookups",
        "workers",
        "node undeploy node1 --wait",
    ] {
        println!(
            "  {enter}{} --nats nats://10.77.0.1:4222 --creds {admin} {line}",
            cluster.ironbeat().display()
        );
    }
    println!("  {enter}nats --server 10.77.0.1 --creds {admin} micro info ironbeat");
    println!(
        "  {enter}nats --server 10.77.0.1 --creds {admin} sub 'ib.v1.>' --translate '{} decode'",
        cluster.ironbeat().display()
    );
    println!(
        "  {enter}nats --server 10.77.0.1 --creds {worker}/worker.creds kv watch ib 'node.*.<id>'"
    );
}

/// Until Ctrl-C.
pub fn hold(cluster: &Cluster) {
    println!(
        "\nThe rack is up; Ctrl-C tears it down. Logs and consoles: {}",
        cluster.rack.dir().display()
    );
    while interrupt::check().is_ok() {
        std::thread::sleep(LOOK);
    }
}
