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
    let logins = cluster.logins();
    let (admin, ca) = (logins.admin(), logins.ca());
    let (admin, ca) = (admin.display(), ca.display());
    let ironbeat = cluster.ironbeat().display();
    println!("\nTo try next, in another terminal (after the demo: with `--keep`):");
    println!("  export IRONBEAT_NATS=tls://10.77.0.1:4222 IRONBEAT_CREDS={admin} IRONBEAT_CA={ca}");
    println!("  alias ironbeat='{enter}{ironbeat}'");
    let deploy = cluster.deploy_args(1, "node1").join(" ") + " --wait";
    for line in [
        "node list",
        "node show node1",
        "node explain node1",
        "events node1",
        "lookups",
        "workers",
        deploy.as_str(),
        "node undeploy node1 --wait",
    ] {
        println!("  ironbeat {line}");
    }
    println!(
        "  alias nats='{enter}nats --server tls://10.77.0.1 --creds {admin} --tlsca {ca} --inbox-prefix {}'",
        logins
            .admin_inbox()
            .unwrap_or_else(|error| format!("({error:#})")),
    );
    println!("  nats micro info ironbeat");
    println!("  nats sub 'ib.v1.>' --translate '{ironbeat} decode'");
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
