//! A small fleet of simulated machines, from enrolment to `active` and back: what `bench fleet` and chaos build on.
//! `deploy` tests the steps of one node.
mod support;

use ironbeat_core::node::{Image, NewInstance};
use ironbeat_fleet::{Fleet, Runs, Servers, Spec, hardware, name};
use ironbeat_ops::request::Deploy;
use support::{SOON, Site};

const MACHINES: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_deployed_and_nothing_is_touched_twice() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", "automated_clean = false");
    site.file("os.raw", "an image");
    let fleet = Fleet::start(&Spec::new(Servers::at(vec![site.nats.url()]), MACHINES))
        .await
        .unwrap();
    for n in 0..MACHINES {
        let link = fleet.link(n);
        link.operate(&fleet.enrolment(n)).await.unwrap();
        site.cli(&["node", "manage", &name(n), "--wait"])
            .await
            .good();
        site.cli(&["node", "provide", &name(n), "--wait"])
            .await
            .good();
        let image = Image {
            source: "os.raw".parse().unwrap(),
            checksum: "e".repeat(64).parse().unwrap(),
            format: None,
        };
        let ask = Deploy {
            node: name(n),
            request: None,
            instance: NewInstance {
                traits: Vec::new(),
                deploy_steps: Vec::new(),
                image,
                hostname: None,
                user_data: None,
                network_data: None,
                confirm: None,
                token: None,
                ssh_keys: vec![],
                root_device: Default::default(),
            },
        };
        link.operate(&ask).await.unwrap();
    }
    for n in 0..MACHINES {
        site.rests(&name(n), "active").await;
        let ledger = fleet.machine(n).ledger();
        let acts: Vec<_> = ledger
            .acts
            .iter()
            .map(|act| (act.order, act.done))
            .collect();
        let expected = ["write_image", "prepare_instance_boot", "power_off"];
        assert_eq!(acts, expected.map(|order| (order, true)), "{ledger:?}");
        assert!(ledger.twice().is_empty());
        assert_eq!((ledger.welcomes, ledger.powered_on), (1, 2), "{ledger:?}");
        let system = support::until("the system runs", async || {
            (fleet.machine(n).runs() == Runs::System).then_some(())
        });
        tokio::time::timeout(SOON, system).await.unwrap();
        let shown = site.show(&name(n)).await;
        let id = hardware::node_id(n).to_string();
        assert_eq!(shown["id"], id.as_str());
    }
    worker.assert_well();
}
