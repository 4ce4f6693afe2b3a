//! The site with its nodes, and beside it a nats-server that lets everybody do everything, with the same streams: what is tried
//! on the one is taken by the other.
//! Who tries what is in `rows`.
use crate::book::{Book, Control, Got};
use crate::ear::Ear;
use crate::eyes::Eyes;
use crate::machine::{self, Agent, Machine, Mark, mac};
use crate::site::{Programs, Site, until};
use crate::web;
use crate::wire::{Act, Pass, Wire};
use anyhow::{Context, Result, bail, ensure};
use ironbeat_common::lookup::LookupReply;
use ironbeat_ops::ENDPOINTS;
use ironbeat_rack::nats::{NatsBinary, NatsServer};
use ironbeat_rack::netns::Netns;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Node n has the machine n, from 1.
pub const NODES: [&str; 3] = ["one", "two", "three"];
/// What was taken and is not answered by then is not answered.
const ANSWER: Duration = Duration::from_millis(300);

pub struct Lab {
    pub site: Site,
    pub open: NatsServer,
    /// Their ids, as [`NODES`].
    pub nodes: Vec<String>,
    pub streams: Vec<String>,
    /// Their configurations.
    configs: Vec<Value>,
    /// Of observer, operator and admin, open from the start.
    pub ears: Vec<Ear>,
    /// All of it is in there.
    pub netns: Arc<Netns>,
    /// Less of what takes long.
    pub short: bool,
    /// Whatever nobody but its holder may learn, by name.
    pub secrets: Vec<(String, String)>,
}

impl Lab {
    /// # Errors
    /// When a part does not come up.
    pub fn start(programs: Programs, short: bool, netns: Arc<Netns>) -> Result<Self> {
        // One more for the real agent.
        let site = Site::start(programs, NODES.len() + 1)?;
        let ears = ["otto", "olga", "admin"].map(|login| Ear::open(&site, login));
        let ears = ears.into_iter().collect::<Result<Vec<_>>>()?;
        let mut nodes = vec![];
        for (n, name) in (1u8..).zip(NODES) {
            let (address, mac) = (
                site.bmcs.address(usize::from(n) - 1).to_string(),
                mac(n).to_string(),
            );
            let (uuid, serial) = (machine::uuid(n).to_string(), machine::serial(n));
            let marks = ["--mac", &mac, "--uuid", &uuid, "--serial", &serial];
            let enroll = [
                "--json", "node", "enroll", "--name", name, "--bmc", &address,
            ];
            let shown = site.cli("admin", &[&enroll[..], &marks].concat())?;
            let shown: Value = serde_json::from_str(&shown).context("read the enrolled node")?;
            nodes.push(
                shown["id"]
                    .as_str()
                    .context("a node has an id")?
                    .to_string(),
            );
            site.cli("admin", &["node", "manage", name, "--wait"])?;
        }
        let (open, configs) = open_server(&site)?;
        let streams: Vec<String> = configs.iter().map(name_of).collect();
        ensure!(
            streams.len() > 3,
            "a site has more streams than {streams:?}"
        );
        let bmc = (
            "the BMC's password".to_string(),
            crate::site::BMC_PASSWORD.to_string(),
        );
        Ok(Self {
            open,
            nodes,
            streams,
            configs,
            ears,
            netns,
            short,
            secrets: vec![bmc],
            site,
        })
    }

    pub fn secret(&mut self, name: &str, secret: impl Into<String>) {
        self.secrets.push((name.into(), secret.into()));
    }

    pub fn bootstrap_pass(&self) -> Result<Pass> {
        Ok(Pass::Token(self.site.key("worker/bootstrap.jwt")?, None))
    }

    /// An endpoint of the API, as the admin.
    ///
    /// # Errors
    /// When it is refused.
    pub fn api(&mut self, endpoint: &str, body: &Value) -> Result<Value> {
        // A connection that says nothing for minutes is not kept by the server.
        self.site.wire("people/admin.creds")?.api(endpoint, body)
    }

    pub fn show(&mut self, node: &str) -> Result<Value> {
        self.api("node.show", &json!({ "node": node }))
    }

    pub fn explain(&mut self, node: &str) -> Result<String> {
        self.site.cli("admin", &["node", "explain", node])
    }

    /// The line of `explain` with these words, as an operator reads it; none: there is none.
    pub fn explained(&mut self, node: &str, words: &str) -> Result<Option<String>> {
        let text = self.explain(node)?;
        let line = text.lines().find(|line| line.contains(words));
        Ok(line.map(|line| format!("explain: {}", line.trim())))
    }

    /// The answer to a lookup by whoever has the bootstrap token.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn looks_up(&mut self, body: &[u8]) -> Result<LookupReply> {
        let mut wire = Wire::login(self.site.nats.address(), &self.bootstrap_pass()?)?;
        machine::ask(&mut wire, "ib.v1.lookup", body)
    }

    /// Waits until a node is in this state.
    ///
    /// # Errors
    /// When it does not get there.
    pub fn is(&mut self, node: &str, state: &str) -> Result<()> {
        until(&format!("{node} is {state}"), || {
            let shown = self.show(node)?;
            Ok((shown["provision_state"] == state).then_some(()))
        })
    }

    /// Until the node waits for its ramdisk.
    ///
    /// # Errors
    /// When it does not.
    pub fn inspects(&mut self, n: u8) -> Result<()> {
        let name = NODES[usize::from(n) - 1];
        self.site.cli("admin", &["node", "inspect", name])?;
        self.is(name, "inspect wait")
    }

    /// Ends what a node does, and lets it be manageable again.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub fn rests(&mut self, n: u8) -> Result<()> {
        let name = NODES[usize::from(n) - 1];
        let busy = self.show(name)?["state"].get("busy").is_some();
        if busy {
            self.site.cli("admin", &["node", "abort", name, "--wait"])?;
        }
        if self.show(name)?["provision_state"] != "manageable" {
            self.site
                .cli("admin", &["node", "manage", name, "--wait"])?;
        }
        Ok(())
    }

    /// The boot script of a NIC.
    ///
    /// # Errors
    /// When there is none.
    pub fn script(&self, mac: &str) -> Result<String> {
        let path = format!("/v1/boot/{mac}");
        until("there is a boot script", || {
            let answer = web::get(self.site.http(), &path)?;
            Ok((answer.status == 200).then_some(answer.body))
        })
    }

    /// The ticket of a node that waits.
    ///
    /// # Errors
    /// When its script has none.
    pub fn ticket(&mut self, n: u8) -> Result<String> {
        let script = self.script(&mac(n).to_string())?;
        let ticket = word(&script, "ib.ticket=").context("the script has a ticket")?;
        self.secret("a ticket", ticket.clone());
        Ok(ticket)
    }

    /// The agent of node n, in the ramdisk of an inspection.
    ///
    /// # Errors
    /// When it is not let in.
    pub fn agent(&mut self, n: u8) -> Result<Agent> {
        self.inspects(n)?;
        let ticket = self.ticket(n)?;
        let agent = Machine::new(n, Mark::All, Some(&ticket))?.welcome(self)?;
        self.secret("an agent's token", agent.jwt.clone());
        Ok(agent)
    }

    pub fn eyes(&self) -> Eyes {
        Eyes::on(&[
            ("nats-server", &self.site.nats_log()),
            ("worker", &self.site.worker_log()),
        ])
    }

    /// The site's streams on the server where all is allowed, whoever has deleted them there.
    ///
    /// # Errors
    /// When one cannot be made.
    fn make_streams(&self) -> Result<()> {
        let mut there = Wire::login(self.open.address(), &Pass::nobody())?;
        for config in &self.configs {
            let subject = format!("$JS.API.STREAM.CREATE.{}", name_of(config));
            let made = there.ask(&subject, config.to_string().as_bytes())?;
            if made.text().contains("\"error\"") {
                bail!("{subject}: {}", made.text());
            }
        }
        Ok(())
    }

    /// Somebody who may has tried it: at this server, where all is allowed.
    ///
    /// # Errors
    /// When it is not taken there.
    pub fn is_taken_where_all_is_allowed(&self, book: &mut Book, act: &Act) -> Result<Control> {
        let taken =
            Wire::login(self.open.address(), &Pass::nobody()).and_then(|mut wire| wire.may(act));
        let what = format!("{} on servers without logins", act.words());
        Ok(book.control(&what, taken)?.0)
    }

    /// Tries each on a connection that the server has let in. Each is taken where all is allowed.
    ///
    /// # Errors
    /// When it is not let in, or a control fails.
    pub fn try_acts(&mut self, book: &mut Book, pass: &Pass, acts: &[Act]) -> Result<()> {
        self.make_streams()?;
        let mut wire = Wire::login(self.site.nats.address(), pass)?;
        for act in acts {
            let control = self.is_taken_where_all_is_allowed(book, act)?;
            let eyes = self.eyes();
            let got = match wire.tries(act, ANSWER)? {
                Ok(came) => Got::Obtained(came),
                Err(_) => Got::Refused,
            };
            let seen = eyes.see(&["Violation", &format!("\"{}\"", act.subject())]);
            book.attempt(&control, &act.words(), got, seen);
        }
        Ok(())
    }

    /// Tries each on a connection of its own that says all of it at once. Each is taken where all is allowed.
    ///
    /// # Errors
    /// When a control fails.
    pub fn blurt_acts(&mut self, book: &mut Book, pass: &Pass, acts: &[Act]) -> Result<()> {
        for act in acts {
            let taken = Wire::blurt(self.open.address(), &Pass::nobody(), act);
            let taken = taken.and_then(|taken| taken.context("it is not taken"));
            let what = format!("{} on servers without logins", act.words());
            let (control, _) = book.control(&what, taken)?;
            let eyes = self.eyes();
            let got = Wire::blurt(self.site.nats.address(), pass, act)?;
            let seen = eyes.see_any(&[
                &["authentication error"],
                &["Authentication"],
                &["Authorization"],
            ]);
            book.attempt(&control, &act.words(), Got::of(got), seen);
        }
        Ok(())
    }

    /// Tries to be let in. `control`: somebody was let in with the same but for what is wrong here.
    ///
    /// # Errors
    /// When there is no server.
    pub fn try_door(
        &mut self,
        book: &mut Book,
        control: &Control,
        tries: &str,
        pass: &Pass,
    ) -> Result<()> {
        let eyes = self.eyes();
        let got = match Wire::open(self.site.nats.address(), pass)? {
            Ok(_) => Got::Obtained("a connection".into()),
            Err(_) => Got::Refused,
        };
        let seen = eyes.see_any(&[
            &["authentication error"],
            &["Authentication"],
            &["Authorization"],
        ]);
        book.attempt(control, tries, got, seen);
        Ok(())
    }

    /// All nodes are there, the streams are, and the worker is well: nothing that was refused was done all the same.
    ///
    /// # Errors
    /// What is not.
    pub fn is_whole(&mut self) -> Result<()> {
        self.site.worker_is_well()?;
        for (id, name) in self.nodes.clone().iter().zip(NODES) {
            let shown = self.show(id)?;
            ensure!(shown["name"] == name, "node {id} is no longer {name}");
        }
        let mut worker = self.site.wire("worker/worker.creds")?;
        for stream in &self.streams {
            let info = worker.ask(&format!("$JS.API.STREAM.INFO.{stream}"), b"")?;
            ensure!(
                info.text().contains("\"state\""),
                "{stream}: {}",
                info.text()
            );
        }
        Ok(())
    }
}

impl Machine {
    /// The worker's answer to its lookup, with all it has.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn looks_up(&self, lab: &mut Lab) -> Result<LookupReply> {
        let body = self.lookup(self.request()?);
        lab.looks_up(&body)
    }

    /// Its login.
    ///
    /// # Errors
    /// When it has to wait.
    pub fn welcome(&self, lab: &mut Lab) -> Result<Agent> {
        match self.looks_up(lab)? {
            LookupReply::Welcome { node, login, .. } => {
                let jwt = login.context("a welcome has a login")?.jwt;
                Ok(Agent {
                    node,
                    jwt,
                    machine: self.clone(),
                })
            }
            LookupReply::Wait { .. } => bail!("it has to wait: {}", lab.site.worker.log().tail()),
        }
    }
}

impl Agent {
    /// # Errors
    /// When the server does not take its login.
    pub fn wire(&self, lab: &Lab) -> Result<Wire> {
        Wire::login(lab.site.nats.address(), &self.pass())
    }
}

pub fn word(script: &str, key: &str) -> Option<String> {
    let (_, rest) = script.split_once(key)?;
    rest.split_whitespace().next().map(Into::into)
}

/// A server without logins, and the configurations of the site's streams.
fn open_server(site: &Site) -> Result<(NatsServer, Vec<Value>)> {
    let open = NatsServer::start_loopback(NatsBinary::At(site.programs.nats_server.clone()))?;
    let login = site.auth().join("jetstream.creds");
    let login = login.to_str().context("the path is text")?;
    site.cli("admin", &["auth", "jetstream", login])?;
    let list = site
        .wire("jetstream.creds")?
        .ask("$JS.API.STREAM.LIST", b"")?;
    let list: Value = serde_json::from_slice(&list.body).context("read the list of streams")?;
    let streams = list["streams"].as_array().context("there are streams")?;
    Ok((
        open,
        streams
            .iter()
            .map(|stream| stream["config"].clone())
            .collect(),
    ))
}

fn name_of(config: &Value) -> String {
    config["name"].as_str().unwrap_or_default().into()
}

/// Every key of every bucket, as a subject.
///
/// # Errors
/// When the worker's login does not read them.
pub fn keys(lab: &Lab) -> Result<Vec<String>> {
    let mut worker = lab.site.wire("worker/worker.creds")?;
    let mut keys = vec![];
    for stream in lab.streams.iter().filter(|name| name.starts_with("KV_")) {
        let body = json!({ "subjects_filter": ">" }).to_string();
        let info = worker.ask(&format!("$JS.API.STREAM.INFO.{stream}"), body.as_bytes())?;
        let info: Value = serde_json::from_slice(&info.body).context("read a stream's subjects")?;
        let subjects = info["state"]["subjects"].as_object();
        keys.extend(subjects.into_iter().flat_map(|all| all.keys().cloned()));
    }
    ensure!(keys.len() > 10, "a site has more keys than {keys:?}");
    Ok(keys)
}

/// Every endpoint of the API, with an empty body.
pub fn endpoints() -> Vec<Act> {
    let all = ENDPOINTS.iter();
    all.map(|it| Act::say(format!("ib.v1.api.{}", it.name), "{}"))
        .collect()
}

/// What machines and workers say to each other about a node.
pub fn of_machines(node: &str) -> Vec<Act> {
    [
        format!("ib.v1.heartbeat.{node}"),
        format!("ib.v1.agent.{node}.log"),
        format!("ib.v1.agent.{node}.progress"),
        format!("ib.v1.agent.{node}.login"),
    ]
    .map(|subject| Act::say(subject, "x"))
    .into()
}

/// What only workers say.
pub fn of_workers(node: &str) -> Vec<Act> {
    [
        format!("ib.v1.nudge.{node}"),
        format!("ib.v1.event.{node}.state"),
        format!("ib.v1.console.{node}.out"),
        "ib.v1.worker.origin".into(),
        "ib.v1.worker.w1.ask".into(),
        "_INBOX.somebody.else".into(),
        "$SYS.REQ.SERVER.PING".into(),
    ]
    .map(|subject| Act::say(subject, "x"))
    .into()
}

/// Everything that JetStream does with the streams of a site; what destroys comes last.
pub fn of_streams(lab: &Lab) -> Vec<Act> {
    let mut acts = vec![
        Act::say("$JS.API.INFO", ""),
        Act::say("$JS.API.STREAM.LIST", ""),
    ];
    for stream in &lab.streams {
        let say = |verb: &str, body: &str| Act::say(format!("$JS.API.{verb}.{stream}"), body);
        let consumer = json!({ "stream_name": stream, "config": { "ack_policy": "none", "deliver_subject": "x" } });
        acts.extend([
            say("STREAM.INFO", ""),
            say("STREAM.MSG.GET", r#"{"seq":1}"#),
            say("CONSUMER.CREATE", &consumer.to_string()),
            say("CONSUMER.LIST", ""),
            say("STREAM.MSG.DELETE", r#"{"seq":1}"#),
            say("STREAM.UPDATE", "{}"),
            say("STREAM.PURGE", ""),
        ]);
    }
    acts
}

/// What ends the streams themselves.
pub fn ends_of_streams(lab: &Lab) -> Vec<Act> {
    let delete = |stream: &String| Act::say(format!("$JS.API.STREAM.DELETE.{stream}"), "");
    lab.streams.iter().map(delete).collect()
}

/// To listen everywhere.
pub fn ears(victim: &str) -> Vec<Act> {
    [
        ">",
        "*.>",
        "ib.>",
        "ib.v1.>",
        "ib.v1.api.>",
        "ib.v1.lookup",
        "ib.v1.heartbeat.*",
        "ib.v1.agent.>",
        "ib.v1.nudge.*",
        "ib.v1.event.>",
        "ib.v1.console.>",
        "ib.v1.worker.>",
        "_INBOX.>",
        "_INBOX.*.*",
        victim,
        "_INBOX.boot.>",
        "$KV.>",
        "$KV.ib.>",
        "$JS.>",
        "$JS.API.>",
        "$JS.EVENT.>",
        "$SRV.>",
        "$SYS.>",
    ]
    .map(|subject| Act::Hear(subject.into()))
    .into()
}

/// To answer in the workers' place.
pub fn thefts() -> Vec<Act> {
    [
        "ib.v1.lookup",
        "ib.v1.heartbeat.*",
        "ib.v1.api.>",
        "ib.v1.api.secrets.key",
    ]
    .map(|subject| Act::Take(subject.into()))
    .into()
}
