//! A deploy with the test as the agent and `ipmi_sim` as the BMC: who is asked for what, and who sees which secret.
//! The rack's tests deploy real machines.
mod support;

use async_nats::Subscriber;
use futures_util::StreamExt;
use ironbeat_common::codec;
use ironbeat_common::heartbeat::{
    Heartbeat, HeartbeatReply, Outcome, Progress, Retry, Status, StepError,
};
use ironbeat_common::id::{NodeId, StepId};
use ironbeat_common::lookup::LookupReply;
use ironbeat_common::order::{Order, WriteImage};
use ironbeat_common::subject;
use ironbeat_rack::http::HttpServer;
use ironbeat_rack::lone_bmc::{PASSWORD, Sim};
use serde_json::{Value, json};
use support::{SOON, Site, boot, lookup, mac, machine, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LOOKUP: &str = "ib.v1.lookup";
const USER_DATA: &str = "#cloud-config\npassword: hush-user-data\n";
const NETWORK_DATA: &str = "{\"links\":[],\"x\":\"hush-network-data\"}";
/// Key K_g in hex.
const KG: &str = "6b672d68757368";
const SECRETS: [&str; 4] = [PASSWORD, "hush-user-data", "hush-network-data", KG];

fn assert_hushed(what: &str, text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{what} tells {secret}: {text}");
    }
}

/// Asks everything that an operator can ask.
async fn assert_all_hushed(site: &Site, when: &str) {
    for (endpoint, body) in [
        ("node.show", json!({ "node": "box" })),
        ("node.explain", json!({ "node": "box" })),
        ("node.show", json!({ "node": "other" })),
        ("node.list", json!({})),
        ("lookup.list", json!({})),
        ("event.list", json!({ "last": 1000 })),
        ("policy.show", json!({})),
    ] {
        let reply = site.ask(endpoint, body).await.good();
        assert_hushed(&format!("{endpoint} {when}"), &reply.to_string());
    }
    for args in [
        &["node", "show", "box"][..],
        &["node", "explain", "box"],
        &["node", "list"],
        &["events", "box"],
        &["lookups"],
    ] {
        let said = site.cli(args).await;
        assert!(said.ok, "{said:?}");
        assert_hushed(&format!("{args:?} {when}"), &said.out);
    }
}

/// An agent, as far as one boot of the ramdisk goes.
struct Boot<'a> {
    site: &'a Site,
    node: NodeId,
    n: u8,
    seq: u64,
}

impl Boot<'_> {
    async fn beat(&mut self, status: Status) -> HeartbeatReply {
        self.seq += 1;
        let beat = Heartbeat {
            version: codec::VERSION,
            boot: boot(self.n),
            seq: self.seq,
            status,
            nudge: None,
        };
        let subject = subject::heartbeat("ib.v1", &self.node);
        self.site.agent(&subject, &beat).await
    }
}

/// The ramdisk is welcome from the moment when its BMC was ordered to boot it.
async fn look_up(site: &Site, n: u8) -> Boot<'_> {
    let node = until("the ramdisk is welcome", async || {
        match site.agent(LOOKUP, &lookup(boot(n), machine(1))).await {
            LookupReply::Welcome { node, .. } => Some(node),
            LookupReply::Wait { .. } => None,
        }
    });
    let node = node.await;
    Boot {
        site,
        node,
        n,
        seq: 0,
    }
}

fn write(reply: HeartbeatReply) -> (StepId, WriteImage) {
    match reply {
        HeartbeatReply::Step {
            id,
            order: Order::WriteImage(write),
        } => (id, write),
        other => panic!("no image is to be written: {other:?}"),
    }
}

async fn next_nudge(nudges: &mut Subscriber) {
    let nudge = tokio::time::timeout(SOON, nudges.next()).await;
    assert!(nudge.expect("a nudge comes").unwrap().payload.is_empty());
}

/// Takes `box` to available.
async fn prepare(site: &Site, sim: &Sim) -> String {
    let bmc = |address: &str| json!({ "protocol": "ipmi", "address": address, "username": "admin", "password": PASSWORD });
    let id = site
        .enroll(json!({ "name": "box", "bmc": bmc(&sim.address()), "macs": [mac(1)] }))
        .await;
    let mut keyed = bmc("127.0.9.2");
    keyed["kg"] = KG.into();
    site.enroll(json!({ "name": "other", "bmc": keyed })).await;
    site.cli(&["node", "manage", "box", "--wait"]).await.good();
    site.cli(&["node", "provide", "box", "--wait"]).await.good();
    id
}

async fn deploy(site: &Site) {
    let (user_data, network) = (
        site.file("user-data", USER_DATA),
        site.file("network.json", NETWORK_DATA),
    );
    let checksum = "0".repeat(64);
    let said = site
        .cli(&[
            "node",
            "deploy",
            "box",
            "--image",
            "disk.img.gz",
            "--checksum",
            &checksum,
            "--hostname",
            "web-1",
            "--user-data",
            &user_data,
            "--network-data",
            &network,
        ])
        .await
        .good();
    assert_hushed("deploy", &said);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_go_to_the_agent_and_to_nobody_else() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", "automated_clean = false");
    let sim = Sim::start(false);
    let mut events = site.client.subscribe("ib.v1.event.>").await.unwrap();
    site.client.flush().await.unwrap();
    prepare(&site, &sim).await;
    assert_all_hushed(&site, "when available").await;
    deploy(&site).await;
    assert_all_hushed(&site, "while the machine boots").await;

    let mut agent = look_up(&site, 1).await;
    let (id, order) = write(agent.beat(Status::Idle).await);
    let content: String = order
        .config_drive
        .iter()
        .map(|file| file.content.as_str())
        .collect();
    assert!(content.contains("hush-user-data") && content.contains("hush-network-data"));
    assert!(content.contains("web-1"));
    assert_eq!(order.disk.serial.as_deref(), Some("DISK-1"));
    assert_eq!(
        order.urls,
        [format!(
            "http://127.0.0.1:{}/images/disk.img.gz",
            worker.http.port()
        )]
    );
    assert_all_hushed(&site, "while the agent writes").await;

    let error = StepError {
        what: "write /dev/vda: the disk is on fire".into(),
        retry: Retry::Useless,
    };
    let failed = Status::Failed { step: id, error };
    assert_eq!(agent.beat(failed).await, HeartbeatReply::LookUp);
    let node = site.rests("box", "deploy failed").await;
    assert_eq!(
        node["last_error"]["what"],
        "write /dev/vda: the disk is on fire"
    );
    assert!(!sim.is_on());
    assert_all_hushed(&site, "when it failed").await;

    worker.assert_well();
    assert_hushed("the worker", &worker.printed());
    // Events as they went over the wire, up to the last.
    loop {
        let event = tokio::time::timeout(SOON, events.next()).await;
        let event = event.expect("the last event comes").unwrap();
        assert_hushed(&event.subject, &String::from_utf8_lossy(&event.payload));
        let body: Value = serde_json::from_slice(&event.payload).unwrap();
        if body["to"] == "deploy failed" {
            break;
        }
    }
}

/// serde quotes what it did not expect: here a password, or text with one in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_the_wrong_place_is_not_quoted() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", "");
    let bmc = |password: Value| json!({ "protocol": "ipmi", "address": "127.0.9.1", "username": "admin", "password": password });
    for wrong in [
        bmc(json!(24_682_468)),
        bmc(json!(2.468_246_8)),
        bmc(json!(["hush-24682468"])),
        json!("ipmi://admin:hush-24682468@127.0.9.1/\", expected `nothing`"),
        json!("x".repeat(60) + ", expected hush-24682468" + &"x".repeat(200)),
    ] {
        let enroll = json!({ "bmc": wrong });
        let set = json!({ "node": "n", "patch": { "bmc": wrong } });
        for (endpoint, body) in [("node.enroll", enroll), ("node.set", set)] {
            let subject = format!("ib.v1.api.{endpoint}");
            let cbor = site.send(
                &subject,
                Some(codec::CONTENT_TYPE),
                codec::encode(&body).into(),
            );
            for reply in [site.ask(endpoint, body.clone()).await, cbor.await] {
                let why = reply.refused(400);
                assert!(why.contains("bmc: "), "{why}");
                assert!(!why.contains("4682468"), "{why}");
            }
        }
    }
    worker.assert_well();
    let printed = worker.printed();
    assert!(
        printed.contains("a secret must be a string") && !printed.contains("4682468"),
        "{printed}"
    );
}

/// A machine that repeats itself, is late, or reboots in the middle.
#[tokio::test(flavor = "multi_thread")]
async fn an_agents_messages_count_once_and_only_while_its_boot_lasts() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", "automated_clean = false");
    let sim = Sim::start(false);
    let mut boots = site.client.subscribe("ib.v1.event.*.lookup").await.unwrap();
    prepare(&site, &sim).await;
    deploy(&site).await;
    let mut agent = look_up(&site, 1).await;
    assert!(sim.is_on());
    // A second lookup changes nothing.
    let step = agent.beat(Status::Idle).await;
    look_up(&site, 1).await;
    assert_eq!(agent.beat(Status::Idle).await, step);
    let (id, _) = write(step.clone());
    let progress = Progress {
        phase: "download".into(),
        done: 1,
        total: Some(2),
        trouble: None,
    };
    let running = Status::Running { step: id, progress };
    // An agent already at the step gets no new order.
    assert_eq!(agent.beat(running.clone()).await, HeartbeatReply::Idle);
    assert_eq!(agent.beat(Status::Idle).await, step);

    // Another boot takes over, and gets the step under a new id; the old boot is out.
    let mut second = look_up(&site, 2).await;
    // Whoever follows live is told of each boot once.
    for n in [1, 2] {
        let told = tokio::time::timeout(SOON, boots.next()).await;
        let told: Value = serde_json::from_slice(&told.unwrap().unwrap().payload).unwrap();
        assert_eq!(told["boot"], json!(boot(n)));
    }
    let (again, _) = write(second.beat(Status::Idle).await);
    assert_ne!(again, id);
    assert_eq!(agent.beat(running).await, HeartbeatReply::LookUp);
    let late = site.agent(LOOKUP, &lookup(boot(1), machine(1))).await;
    assert!(matches!(late, LookupReply::Wait { .. }), "{late:?}");
    // A result of the step under its old id is no result of the new one.
    let done = |step| Status::Done {
        step,
        outcome: Outcome::Nothing,
    };
    assert_eq!(write(second.beat(done(id)).await).0, again);

    // The image is written: the reply itself carries what comes next.
    let last = match second.beat(done(again)).await {
        HeartbeatReply::Step {
            id,
            order: Order::PowerOff,
        } => id,
        other => panic!("no end of the ramdisk is wanted: {other:?}"),
    };
    assert_eq!(second.beat(done(last)).await, HeartbeatReply::LookUp);
    // Its kernel hangs on the way down, for all that the BMC can see.
    assert_eq!(site.show("box").await["provision_state"], "deploying");
    sim.write("power", "0");
    let shown = site.rests("box", "active").await;
    assert_eq!(shown["power"]["on"], true);
    assert!(
        sim.commands()
            .ends_with(&["boot default".into(), "power 1".into()])
    );
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_on_hold_keeps_its_ramdisk_and_goes_on_when_it_is_told() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", "automated_clean = false");
    let sim = Sim::start(false);
    prepare(&site, &sim).await;
    deploy(&site).await;
    site.cli(&["node", "hold", "box"]).await.good();
    let mut agent = look_up(&site, 1).await;
    assert_eq!(agent.beat(Status::Idle).await, HeartbeatReply::Idle);
    let shown = site.show("box").await;
    assert_eq!(shown["provision_state"], "deploy hold");
    assert_eq!(shown.get("wake_at"), None, "no time counts");
    let words = site.cli(&["node", "explain", "box"]).await.good();
    assert!(words.contains("an operator to end the hold"), "{words}");
    let said = site.cli(&["node", "hold", "box"]).await.bad();
    assert!(
        said.contains("box: cannot hold a node that is deploy hold"),
        "{said}"
    );
    site.cli(&["node", "unhold", "box"]).await.good();
    write(agent.beat(Status::Idle).await);
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_runs_is_adopted_and_left_alone() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", "power_sync_secs = 0");
    let sim = Sim::start(true);
    let bmc = json!({ "protocol": "ipmi", "address": sim.address(), "username": "admin", "password": PASSWORD });
    site.enroll(json!({ "name": "box", "bmc": bmc, "macs": [mac(1)] }))
        .await;
    site.cli(&["node", "manage", "box", "--wait"]).await.good();
    let before = sim.commands();
    let checksum = "0".repeat(64);
    let adopt = [
        "node",
        "adopt",
        "box",
        "--image",
        "disk.img.gz",
        "--checksum",
        &checksum,
        "--wait",
    ];
    site.cli(&adopt).await.good();
    let shown = site.show("box").await;
    assert_eq!(shown["provision_state"], "active");
    assert_eq!(shown["power"]["on"], true);
    assert_eq!(sim.commands(), before, "neither power nor boot device");
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_does_its_steps_in_the_ramdisk_and_boots_the_instance_again() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", "power_sync_secs = 0");
    let sim = Sim::start(true);
    let bmc = json!({ "protocol": "ipmi", "address": sim.address(), "username": "admin", "password": PASSWORD });
    site.enroll(json!({ "name": "box", "bmc": bmc, "macs": [mac(1)] }))
        .await;
    site.cli(&["node", "manage", "box", "--wait"]).await.good();
    let checksum = "0".repeat(64);
    let instance = ["--image", "disk.img.gz", "--checksum", &checksum];
    let adopt = [&["node", "adopt", "box", "--wait"][..], &instance].concat();
    site.cli(&adopt).await.good();

    let service = ["node", "service", "box"];
    let erase = [&service[..], &["--step", "erase_devices_metadata"]].concat();
    let said = site.cli(&erase).await.bad();
    assert!(said.contains("the instance needs its disks"), "{said}");
    let unknown = [&service[..], &["--step", "format"]].concat();
    let said = site.cli(&unknown).await.bad();
    assert!(said.contains("expected one of `hold`"), "{said}");

    let steps = ["--step", "hold", "--step", "inspect"];
    site.cli(&[&service[..], &steps].concat()).await.good();
    let mut agent = look_up(&site, 1).await;
    assert_eq!(agent.beat(Status::Idle).await, HeartbeatReply::Idle);
    let shown = site.show("box").await;
    assert_eq!(shown["provision_state"], "service hold");
    site.cli(&["node", "unhold", "box"]).await.good();
    let done = |reply: HeartbeatReply, outcome: Outcome| match reply {
        HeartbeatReply::Step { id: step, order } => (order, Status::Done { step, outcome }),
        other => panic!("no step: {other:?}"),
    };
    let inventory = Outcome::Inventory(Box::new(machine(1)));
    let (order, status) = done(agent.beat(Status::Idle).await, inventory);
    assert!(matches!(order, Order::Inspect { .. }), "{order:?}");
    let (order, status) = done(agent.beat(status).await, Outcome::Nothing);
    assert_eq!(order, Order::PowerOff);
    agent.beat(status).await;
    sim.write("power", "0");
    site.rests("box", "active").await;
    assert!(sim.is_on());
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_a_service_hears_that_an_undeploy_took_its_place() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", "power_sync_secs = 0");
    let sim = Sim::start(true);
    let bmc = json!({ "protocol": "ipmi", "address": sim.address(), "username": "admin", "password": PASSWORD });
    site.enroll(json!({ "name": "box", "bmc": bmc, "macs": [mac(1)] }))
        .await;
    site.cli(&["node", "manage", "box", "--wait"]).await.good();
    let checksum = "0".repeat(64);
    let instance = ["--image", "disk.img.gz", "--checksum", &checksum];
    let adopt = [&["node", "adopt", "box", "--wait"][..], &instance].concat();
    site.cli(&adopt).await.good();
    let hold = ["node", "service", "box", "--step", "hold", "--wait"];
    let mut waits = site.start_cli(&[&hold[..], &["--disable-ramdisk"]].concat());
    waits.wait_for_log("service hold", SOON).unwrap();
    site.cli(&["node", "undeploy", "box"]).await.good();
    let ended = waits.wait_exit(SOON).unwrap();
    assert_eq!(ended.code(), Some(5));
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_with_a_token_says_once_that_it_runs() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", "automated_clean = false");
    let sim = Sim::start(false);
    prepare(&site, &sim).await;
    let image = json!({ "source": "disk.img.gz", "checksum": { "Sha256": "0".repeat(64) } });
    let wish = json!({ "node": "box", "instance": { "image": image, "confirm": true } });
    site.ask("node.deploy", wish).await.good();
    let mut agent = look_up(&site, 1).await;
    let (id, order) = write(agent.beat(Status::Idle).await);
    let path = "openstack/latest/vendor_data.json";
    let vendor = order.config_drive.iter().find(|file| file.path == path);
    let vendor: Value = serde_json::from_str(&vendor.unwrap().content).unwrap();
    let base = format!("http://127.0.0.1:{}", worker.http.port());
    let url = vendor["confirm_url"].as_str().unwrap();
    let path = url.strip_prefix(&base).unwrap();
    let token = path.rsplit('/').next().unwrap();
    let say = async |path: &str| {
        let answer = http(&worker, "POST", path).await;
        answer.split(' ').nth(1).unwrap().to_string()
    };
    assert_eq!(say(path).await, "404", "nothing is written yet");

    let done = |step| Status::Done {
        step,
        outcome: Outcome::Nothing,
    };
    let HeartbeatReply::Step { id: last, .. } = agent.beat(done(id)).await else {
        panic!("no end of the ramdisk is wanted");
    };
    assert_eq!(agent.beat(done(last)).await, HeartbeatReply::LookUp);
    sim.write("power", "0");
    site.rests("box", "active").await;
    let explain = async || site.cli(&["node", "explain", "box"]).await.good();
    let explained = explain().await;
    assert!(explained.contains("not confirmed by"), "{explained}");
    assert_eq!(say(&format!("{path}0")).await, "404", "another token");
    assert_eq!(say(path).await, "204");
    let explained = explain().await;
    assert!(
        explained.contains(" confirmed by the instance at "),
        "{explained}"
    );
    let first = site.show("box").await;
    assert!(first["instance"]["confirm"]["at"].is_string(), "{first}");
    assert_eq!(say(path).await, "204", "a repetition is no error");
    let second = site.show("box").await;
    assert_eq!(second["instance"], first["instance"]);
    let events = site.cli(&["events", "box"]).await.good();
    assert!(
        events.contains("the instance confirmed that it runs"),
        "{events}"
    );

    worker.assert_well();
    for said in [worker.printed(), explained, first.to_string(), events] {
        assert!(!said.contains(token), "{said}");
    }
}

/// What was in the way has passed when the pause is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_failed_in_an_outage_is_begun_again() {
    let site = Site::start().await;
    let policy = "automated_clean = false\nbmc_backoff_secs = 1\nstep_stall_secs = 90";
    let mut worker = site.worker("w1", policy);
    let sim = Sim::start(false);
    let node = prepare(&site, &sim).await;
    let nudge = format!("ib.v1.nudge.{node}");
    let mut nudges = site.client.subscribe(nudge).await.unwrap();
    deploy(&site).await;
    let mut agent = look_up(&site, 1).await;
    let (id, order) = write(agent.beat(Status::Idle).await);
    assert_eq!(order.stall_secs, 90);
    let error = StepError {
        what: "GET http://h/os.zst: connection refused".into(),
        retry: Retry::Useful,
    };
    let failed = Status::Failed { step: id, error };
    assert_eq!(agent.beat(failed.clone()).await, HeartbeatReply::Idle);
    next_nudge(&mut nudges).await;
    let (again, _) = write(agent.beat(failed).await);
    assert_ne!(again, id);
    worker.assert_well();
}

/// A boot takes minutes: nothing that is known before should be said after it.
#[tokio::test(flavor = "multi_thread")]
async fn what_would_fail_after_a_boot_is_refused_at_the_request() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", "automated_clean = false");
    let sim = Sim::start(false);
    // Two disks of one size.
    let mut twins = machine(1);
    let mut second = twins.disks[0].clone();
    (second.name, second.serial) = ("/dev/vdb".into(), Some("DISK-B".into()));
    twins.disks.push(second);
    let _: LookupReply = site.agent(LOOKUP, &lookup(boot(9), twins)).await;
    let key = until("the lookup is listed", async || {
        let list = site.ask("lookup.list", json!({})).await.good();
        Some(list.as_array()?.first()?["key"].as_str()?.to_owned())
    })
    .await;
    let bmc = json!({ "protocol": "ipmi", "address": sim.address(), "username": "admin", "password": PASSWORD });
    site.enroll(json!({ "name": "box", "bmc": bmc, "from": key }))
        .await;
    site.cli(&["node", "manage", "box", "--wait"]).await.good();
    site.cli(&["node", "provide", "box", "--wait"]).await.good();

    let sparse = site.file("huge.raw", "");
    let sparse = std::fs::File::create(sparse).unwrap();
    sparse.set_len((64 << 30) + 1).unwrap();
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("os.raw"), "os").unwrap();
    let server = HttpServer::start_loopback(files.path()).unwrap();
    let wish = |image: &str, hint: Value| {
        let checksum = json!({ "Sha256": "0".repeat(64) });
        let image = json!({ "source": image, "checksum": checksum });
        json!({ "node": "box", "instance": { "image": image, "root_device": hint } })
    };
    let disk = json!({ "serial": "DISK-B" });
    for (image, hint, words) in [
        ("none.raw", &disk, "image none.raw: not at worker w1: "),
        (&server.url("none.raw"), &disk, "HTTP status 404"),
        (
            "disk.img.gz",
            &json!({}),
            "2 disks fit equally well (/dev/vda serial DISK-1",
        ),
        (
            "disk.img.gz",
            &json!({ "serial": "NOPE" }),
            "no disk matches the root device hints",
        ),
        ("huge.raw", &disk, "image huge.raw has 68719476737 bytes"),
    ] {
        let refused = site.ask("node.deploy", wish(image, hint.clone())).await;
        let why = refused.refused(400);
        assert!(why.contains(words), "{why}");
    }
    // The state has the better reason.
    let early = site.ask(
        "node.rebuild",
        json!({ "node": "box", "instance": wish("none.raw", disk.clone())["instance"] }),
    );
    early.await.refused(409);

    let kernel = site.file("vmlinuz", "");
    std::fs::remove_file(&kernel).unwrap();
    let listed = until("the worker says what it lacks", async || {
        let said = site.cli(&["workers"]).await.good();
        said.contains(&kernel).then_some(said)
    });
    let listed = listed.await;
    assert!(listed.contains("No such file"), "{listed}");
    let refused = site.ask("node.deploy", wish(&server.url("os.raw"), disk.clone()));
    let why = refused.await.refused(409);
    assert!(
        why.contains("no worker has a ramdisk to boot: worker w1 lacks"),
        "{why}"
    );
    site.file("vmlinuz", "kernel");
    until("the worker has it again", async || {
        let said = site.cli(&["workers"]).await.good();
        (!said.contains(&kernel)).then_some(())
    })
    .await;
    assert_eq!(site.show("box").await["provision_state"], "available");
    assert!(!sim.is_on());

    // A server that is away may be back when the machine has booted.
    let away = server.url("os.raw");
    drop(server);
    let mut asked = wish(&away, disk);
    asked["request"] = json!("r-1");
    let shown = site.ask("node.deploy", asked.clone()).await.good();
    let warning = shown["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("nobody knows whether it is at"),
        "{warning}"
    );
    assert!(shown["state"]["busy"].is_object(), "{shown}");
    // What was carried out is not looked at again.
    let again = site.ask("node.deploy", asked).await.good();
    assert_eq!(again.get("warnings"), None);
    worker.assert_well();
}

/// What the machine fetches from the worker.
async fn fetch(worker: &support::Worker, path: &str) -> String {
    http(worker, "GET", path).await
}

async fn http(worker: &support::Worker, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", worker.http.port()))
        .await
        .unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_sees_what_the_machine_fetches_and_how_far_it_is() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", "automated_clean = false");
    let sim = Sim::start(false);
    let id = prepare(&site, &sim).await;
    let checksum = "0".repeat(64);
    let args = [
        "node",
        "deploy",
        "box",
        "--image",
        "disk.img.gz",
        "--checksum",
        &checksum,
        "--wait",
    ];
    let name = mac(1).to_string().replace(':', "-");
    let machine = async {
        // Each script is told, and only so many are.
        until("the machine is waited for", async || {
            let state = site.show("box").await["provision_state"].clone();
            (state == "wait call-back").then_some(())
        })
        .await;
        until("the machine is told to boot the ramdisk", async || {
            let script = fetch(&worker, &format!("/v1/boot/{name}")).await;
            script.contains("kernel http").then_some(())
        })
        .await;
        for file in ["vmlinuz", "initrd"] {
            fetch(&worker, &format!("/boot/{file}?mac={name}")).await;
        }
        let explained = until("the explanation has it", async || {
            let words = site.cli(&["node", "explain", "box"]).await.good();
            words.contains("02:00:00:00:77:01)").then_some(words)
        });
        let explained = explained.await;
        assert!(explained.contains("attempt   step "), "{explained}");
        let mut agent = look_up(&site, 1).await;
        let (step, _) = write(agent.beat(Status::Idle).await);
        // For watchers alone, so it may be lost: told until it was seen for long enough.
        for done in [50, 60] {
            let progress = Progress {
                phase: "download".into(),
                done: done * 1_000_000,
                total: Some(100_000_000),
                trouble: None,
            };
            let status = codec::encode(&Status::Running { step, progress });
            for _ in 0..60 {
                let subject = format!("ib.v1.agent.{id}.progress");
                let told = site.client.publish(subject, status.clone().into());
                told.await.unwrap();
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
        // A loop on the script is told now and then.
        for _ in 0..200 {
            fetch(&worker, &format!("/v1/boot/{name}")).await;
        }
        let error = StepError {
            what: "the disk is on fire".into(),
            retry: Retry::Useless,
        };
        agent.beat(Status::Failed { step, error }).await;
    };
    let (said, ()) = tokio::join!(site.cli(&args), machine);
    assert!(said.err.contains("the disk is on fire"), "{said:?}");
    for line in [
        "box: deploying (boot_ramdisk, step 1 of 7)",
        "box: boot script: ramdisk (02:00:00:00:77:01)",
        "box: kernel (02:00:00:00:77:01)",
        "box: the ramdisk is up, agent test",
        "(write_image, step 3 of 6)",
        "box: download 50 %",
        "box: download 60 %, ",
    ] {
        assert!(said.out.contains(line), "{line}: {}", said.out);
    }
    let events = site
        .ask("event.list", json!({ "node": "box", "last": 1000 }))
        .await
        .good();
    let events = events.as_array().unwrap().iter();
    let fetched = events.filter(|event| event["body"]["kind"] == "netboot");
    let fetched = fetched.count();
    assert!((3..100).contains(&fetched), "{fetched} events");
    let explain = async || site.cli(&["node", "explain", "box"]).await.good();
    let words = explain().await;
    assert!(words.contains("(02:00:00:00:77:01)"), "{words}");
    // They are the last job's, and say nothing of the next one.
    deploy(&site).await;
    let words = explain().await;
    assert!(!words.contains("netboot"), "{words}");
    worker.assert_well();
}

/// It was enrolled with one of its NICs.
#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_makes_a_machine_known_by_all_its_marks() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", "automated_clean = false");
    let sim = Sim::start(false);
    prepare(&site, &sim).await;
    deploy(&site).await;
    look_up(&site, 1).await;
    let shown = until("its marks are in the record", async || {
        let shown = site.show("box").await;
        (shown["serial"] == "SN-1").then_some(shown)
    });
    let shown = shown.await;
    assert_eq!(
        shown["system_uuid"],
        machine(1).system.uuid.unwrap().to_string()
    );
    assert_eq!(shown["macs"], json!([mac(1), mac(101)]));
    worker.assert_well();
}
