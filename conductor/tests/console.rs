//! Serial consoles: real workers, a real NATS server, and simulated BMCs whose serial port says hello and echoes.
//! `ironbeat-ipmi` tests the same against `ipmi_sim`.
mod support;

use async_nats::{Message, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use ironbeat_bmc_sim::{Fleet, Settings};
use ironbeat_common::id::NodeId;
use ironbeat_core::id::WorkerId;
use ironbeat_ipmi::{BmcConfig, Secret, Transport};
use ironbeat_ops::console::{Attach, MAX_INPUT_BYTES, Part, header, subject, subject_by};
use ironbeat_rack::ports::PortLease;
use rustix::process::Signal;
use serde_json::json;
use std::process::Stdio;
use support::{SOON, Site, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

const PASSWORD: &str = "Rack-pw-1";
const QUIET: &str = "power_sync_secs = 0";

struct Machine {
    fleet: Fleet,
    node: NodeId,
    _port: PortLease,
}

impl Machine {
    async fn enroll(site: &Site) -> Self {
        let port = PortLease::take().unwrap();
        let settings = Settings {
            restart: std::time::Duration::from_millis(200),
            ..Settings::default()
        };
        let fleet = Fleet::single(port.port(), settings).unwrap();
        let bmc = json!({
            "protocol": "ipmi", "address": fleet.address(0).to_string(),
            "username": "admin", "password": PASSWORD,
        });
        let id = site.enroll(json!({ "name": "box", "bmc": bmc })).await;
        let machine = Self {
            fleet,
            node: id.parse().unwrap(),
            _port: port,
        };
        until("every worker knows the node", async || {
            let answer = machine.ask(site, "probe").await?;
            header_of(&answer, "Nats-Service-Error")
                .is_none()
                .then_some(())
        })
        .await;
        site.client
            .publish(machine.subject_by(Part::Detach, "probe"), "probe".into())
            .await
            .unwrap();
        machine
    }

    fn subject(&self, part: Part) -> String {
        subject("ib.v1", &self.node, part)
    }

    fn subject_by(&self, part: Part, asker: &str) -> String {
        subject_by("ib.v1", &self.node, part, asker)
    }

    /// None: nobody answers.
    async fn ask(&self, site: &Site, asker: &str) -> Option<Message> {
        self.ask_for(site, Part::Attach, asker, asker, None).await
    }

    async fn ask_for(
        &self,
        site: &Site,
        part: Part,
        asker: &str,
        watcher: &str,
        before: Option<WorkerId>,
    ) -> Option<Message> {
        let attach = Attach {
            watcher: watcher.into(),
            before,
        };
        let body = serde_json::to_vec(&attach).unwrap();
        let request = async_nats::Request::new()
            .payload(body.into())
            .timeout(Some(SOON / 4));
        let subject = self.subject_by(part, asker);
        site.client.send_request(subject, request).await.ok()
    }

    async fn output(&self, site: &Site) -> Screen {
        let output = site
            .client
            .subscribe(self.subject(Part::Out))
            .await
            .unwrap();
        site.client.flush().await.unwrap();
        Screen {
            output,
            text: String::new(),
        }
    }

    async fn types(&self, site: &Site, text: &str) {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        site.client
            .publish(self.subject(Part::In), bytes)
            .await
            .unwrap();
    }
}

fn header_of<'m>(message: &'m Message, name: &str) -> Option<&'m str> {
    let headers = message.headers.as_ref()?;
    headers.get(name).map(|value| value.as_str())
}

fn attached(answer: &Message) {
    assert_eq!(header_of(answer, "Nats-Service-Error"), None);
    assert_eq!(header_of(answer, header::TROUBLE), None);
}

struct Screen {
    output: Subscriber,
    text: String,
}

impl Screen {
    async fn shows(&mut self, what: &str) {
        while !self.text.contains(what) {
            let next = tokio::time::timeout(SOON, self.output.next()).await;
            let Ok(Some(message)) = next else {
                panic!("{what:?} is not shown: {:?}", self.text);
            };
            self.text += &String::from_utf8_lossy(&message.payload);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_watchers_share_one_console_and_the_last_one_ends_it() {
    let site = Site::start().await;
    let (mut one, mut two) = (site.worker("w1", QUIET), site.worker("w2", QUIET));
    let machine = Machine::enroll(&site).await;
    let mut screen = machine.output(&site).await;
    attached(&machine.ask(&site, "ann").await.unwrap());
    let answer = machine.ask(&site, "bob").await.unwrap();
    attached(&answer);
    assert_eq!(header_of(&answer, header::WATCHERS), Some("2"));
    machine.types(&site, "from ann\r").await;
    screen.shows("from ann").await;
    // A late watcher sees what was before.
    let late = machine.ask(&site, "carol").await.unwrap();
    let text = String::from_utf8_lossy(&late.payload);
    assert!(
        text.contains("console ready") && text.contains("from ann"),
        "{text}"
    );
    site.client
        .publish(machine.subject(Part::Break), Bytes::new())
        .await
        .unwrap();
    screen.shows("[break]").await;
    for watcher in ["ann", "bob", "carol"] {
        site.client
            .publish(machine.subject_by(Part::Detach, watcher), watcher.into())
            .await
            .unwrap();
    }
    until("the BMC's console is free", async || {
        let sessions = machine.fleet.with(0, |bmc, _| bmc.active_sessions());
        (sessions == 0).then_some(())
    })
    .await;
    for worker in [&mut one, &mut two] {
        worker.assert_well();
        assert!(!worker.printed().contains(PASSWORD));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_shows_types_and_ends() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", QUIET);
    let _machine = Machine::enroll(&site).await;
    let mut terminal = Command::new(env!("CARGO_BIN_EXE_ironbeat"))
        .args(["node", "console", "box"])
        .env("IRONBEAT_NATS", site.nats.url())
        .env("IRONBEAT_AUTH", "none")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut keys = terminal.stdin.take().unwrap();
    let mut shown = terminal.stdout.take().unwrap();
    keys.write_all(b"uname ~ -a\r").await.unwrap();
    // The test reads what the terminal shows: the same output on the subject may come earlier.
    let mut text = String::new();
    while !(text.contains("console ready") && text.contains("uname ~ -a")) {
        let mut buffer = [0; 1024];
        let read = tokio::time::timeout(SOON, shown.read(&mut buffer)).await;
        let Ok(Ok(count @ 1..)) = read else {
            panic!("it is not shown: {text:?}");
        };
        text += &String::from_utf8_lossy(&buffer[..count]);
    }
    let none = site.cli(&["node", "console", "box", "--history"]).await;
    assert!(none.bad().contains("`console.record`"));
    let js = async_nats::jetstream::new(site.client.clone());
    let kept = js.get_stream("IB_CONSOLES").await.unwrap();
    assert_eq!(kept.cached_info().state.messages, 0);
    keys.write_all(b"~.").await.unwrap();
    let output = tokio::time::timeout(SOON, terminal.wait_with_output()).await;
    let output = output.expect("it ends").unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(
        told.contains("through worker w1") && told.contains("detached"),
        "{told}"
    );
    worker.assert_well();
}

/// A server that is gone takes no farewell.
#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_without_a_connection_says_so_and_ends_on_a_signal() {
    let mut site = Site::start().await;
    let _worker = site.worker("w1", QUIET);
    let _machine = Machine::enroll(&site).await;
    let mut terminal = site.start_cli(&["node", "console", "box", "--watch"]);
    terminal
        .wait_for_log("serial console of box", SOON)
        .unwrap();
    let mut events = site.start_cli(&["events", "--follow"]);
    events.wait_for_log("enrolled", SOON).unwrap();
    site.nats.kill();
    let lost = "the connection to NATS is lost";
    terminal.wait_for_log(lost, SOON).unwrap();
    events.wait_for_log(lost, SOON).unwrap();
    terminal.signal(Signal::TERM).unwrap();
    let status = terminal.wait_exit(SOON).unwrap();
    let said = terminal.log().text();
    assert!(status.success() && said.contains("[detached]"), "{said}");
    site.nats.start().unwrap();
    events.wait_for_log("was lost and is back", SOON).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_console_that_somebody_else_has_is_taken_over_only_on_request() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", QUIET);
    let machine = Machine::enroll(&site).await;
    until("our own is closed", async || {
        let sessions = machine.fleet.with(0, |bmc, _| bmc.active_sessions());
        (sessions == 0).then_some(())
    })
    .await;
    let login = BmcConfig::new(machine.fleet.address(0), "admin", Secret::new(PASSWORD));
    let other = Transport::new().bmc(login);
    let mut theirs = other.console(false).await.unwrap();
    let said = site.cli(&["node", "console", "box"]).await.bad();
    assert!(
        said.contains("somebody else has its serial console"),
        "{said}"
    );
    let take = machine.ask_for(&site, Part::Take, "ann", "ann", None);
    attached(&take.await.unwrap());
    // They read its end, once they notice.
    let mut shown = Vec::new();
    let end = tokio::time::timeout(SOON, theirs.read_to_end(&mut shown));
    end.await.unwrap().unwrap();
    assert!(theirs.close().await.is_err());
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_console_outlives_its_bmcs_restart() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", QUIET);
    let machine = Machine::enroll(&site).await;
    let mut screen = machine.output(&site).await;
    attached(&machine.ask(&site, "ann").await.unwrap());
    machine.types(&site, "before\r").await;
    screen.shows("before").await;
    machine.fleet.with(0, |bmc, now| bmc.restart(now));
    let renewing = async {
        loop {
            machine.ask(&site, "ann").await;
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    };
    tokio::select! {
        () = renewing => {}
        () = screen.shows("the serial console is back") => {}
    }
    assert!(screen.text.contains("[ironbeat "), "{}", screen.text);
    machine.types(&site, "still here\r").await;
    screen.shows("still here").await;
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_worker_takes_over_the_console_of_a_dead_one() {
    let site = Site::start().await;
    let mut workers = vec![site.worker("w1", QUIET), site.worker("w2", QUIET)];
    let machine = Machine::enroll(&site).await;
    let mut screen = machine.output(&site).await;
    let answer = machine.ask(&site, "ann").await.unwrap();
    attached(&answer);
    let served: WorkerId = header_of(&answer, header::WORKER).unwrap().parse().unwrap();
    let at = usize::from(served.as_str() == "w2");
    workers.remove(at).process.kill();
    // Its SOL session is still the BMC's only one.
    until("the other one serves it", async || {
        let before = Some(served.clone());
        let answer = machine.ask_for(&site, Part::Take, "ann", "ann", before);
        let answer = answer.await?;
        let by = header_of(&answer, header::WORKER)?;
        let well = header_of(&answer, header::TROUBLE).is_none();
        (by != served.as_str() && well).then_some(())
    })
    .await;
    machine.types(&site, "after its death\r").await;
    screen.shows("after its death").await;
    workers[0].assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consoles_output_is_recorded_where_that_is_configured() {
    let site = Site::start().await;
    let config = format!("{QUIET}\n[console]\nrecord = true\nrecord_mib = 16");
    let mut worker = site.worker("w1", &config);
    let machine = Machine::enroll(&site).await;
    let said = site.cli(&["node", "console", "box", "--history"]).await;
    assert!(said.ok, "{said:?}");
    // From now on nobody watches, and it is still recorded.
    site.cli(&["node", "manage", "box", "--wait"]).await.good();
    until("it is attached", async || {
        let sessions = machine.fleet.with(0, |bmc, _| bmc.active_sessions());
        (sessions > 1).then_some(())
    })
    .await;
    machine.types(&site, "kept\r").await;
    until("it is in the record", async || {
        let text = site
            .cli(&["node", "console", "box", "--history"])
            .await
            .good();
        (text.contains("console ready") && text.contains("kept")).then_some(())
    })
    .await;
    worker.assert_well();
}

/// Each waits for a BMC that does not answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_requests_to_watch_is_refused_and_others_are_served() {
    const FLOOD: usize = 500;
    let site = Site::start().await;
    let mut worker = site.worker("w1", QUIET);
    let dead = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let bmc = json!({
        "protocol": "ipmi", "address": dead.local_addr().unwrap().to_string(),
        "username": "admin", "password": PASSWORD,
    });
    let node = site.enroll(json!({ "name": "box", "bmc": bmc })).await;
    let node: NodeId = node.parse().unwrap();
    let inbox = site.client.new_inbox();
    let mut answers = site.client.subscribe(inbox.clone()).await.unwrap();
    let body = Bytes::from(json!({ "watcher": "w" }).to_string());
    let attach = subject_by("ib.v1", &node, Part::Attach, "eve");
    for _ in 0..FLOOD {
        let (subject, inbox) = (attach.clone(), inbox.clone());
        let sent = site.client.publish_with_reply(subject, inbox, body.clone());
        sent.await.unwrap();
    }
    let mut served = 0;
    let why = loop {
        let answer = tokio::time::timeout(SOON, answers.next()).await;
        let answer = answer.unwrap().unwrap();
        match header_of(&answer, "Nats-Service-Error") {
            Some(why) => break why.to_owned(),
            None => served += 1,
        }
        assert!(served < FLOOD, "nothing was refused");
    };
    assert!(why.contains("ask again"), "{why}");
    let of_ann = subject_by("ib.v1", &node, Part::Attach, "ann");
    let reply = site.send(&of_ann, None, body).await;
    assert_eq!(reply.error(), None);
    let long = json!({ "watcher": "w", "x": "x".repeat(1 << 19) }).to_string();
    let why = site.send(&of_ann, None, long.into()).await.refused(400);
    assert!(why.contains("at most"), "{why}");
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_on_a_consoles_subjects_does_no_harm() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", QUIET);
    let machine = Machine::enroll(&site).await;
    let attach = machine.subject_by(Part::Attach, "me");
    for body in [
        "",
        "{}",
        "\"x\"",
        "{\"watcher\":\"\"}",
        "{\"watcher\":\"a\",\"x\":1}",
        "{\"watcher\":\"a\",\"take_over\":true}",
    ] {
        let reply = site.send(&attach, None, body.into()).await;
        reply.refused(400);
    }
    let long = json!({ "watcher": "x".repeat(1000) }).to_string();
    site.send(&attach, None, long.into()).await.refused(400);
    for watcher in 0..32 {
        let name = format!("w{watcher}");
        attached(&machine.ask(&site, &name).await.unwrap());
    }
    let answer = machine.ask(&site, "one-too-many").await.unwrap();
    let why = header_of(&answer, "Nats-Service-Error").unwrap();
    assert!(why.contains("too many watchers"), "{why}");
    let nobody = NodeId::from_bytes([0x55; 16]);
    let body = json!({ "watcher": "a" }).to_string();
    let subject = subject_by("ib.v1", &nobody, Part::Attach, "me");
    site.send(&subject, None, body.into()).await.refused(404);
    for name in [
        "in",
        "break",
        "detach",
        "detach.me",
        "out",
        "attach",
        "attach.me",
        "take.me",
    ] {
        for node in [
            "nonsense",
            "0",
            &nobody.to_string(),
            &machine.node.to_string(),
        ] {
            let subject = format!("ib.v1.console.{node}.{name}");
            for body in [vec![], vec![0xff; 10], vec![0x7e; MAX_INPUT_BYTES + 1]] {
                site.client
                    .publish(subject.clone(), body.into())
                    .await
                    .unwrap();
            }
        }
    }
    let mut screen = machine.output(&site).await;
    machine.types(&site, "well\r").await;
    screen.shows("well").await;
    worker.assert_well();
}
