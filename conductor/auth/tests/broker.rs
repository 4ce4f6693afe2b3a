//! Real nats-servers, old and new, enforce the roles: every role is tried on every endpoint and on what belongs to others.
//! What a role is for is in `roles`; that workers and agents use theirs is tried where those are.
mod support;

use ironbeat_auth::agent::Mint;
use ironbeat_auth::creds::Creds;
use ironbeat_auth::grant::Grant;
use ironbeat_auth::jwt::{self, Claims};
use ironbeat_auth::revoke::{FOR_GOOD, List, revise, update_subject};
use ironbeat_auth::roles::Role;
use ironbeat_auth::site::Site;
use ironbeat_auth::streams;
use ironbeat_ops::ENDPOINTS;
use ironbeat_rack::logins::now;
use ironbeat_rack::nats::NatsBinary;
use nkeys::KeyPair;
use serde_json::json;
use support::{Wire, server};

const NODE: &str = "6a1f8a0e-0000-4000-8000-000000000001";
const OTHER: &str = "6a1f8a0e-0000-4000-8000-000000000002";
/// The key of somebody else.
const ANOTHERS: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";

/// A login of a role under the name of [`NODE`].
fn login(site: &Site, role: Role) -> Creds {
    site.login(role, NODE, now(), None).unwrap()
}

fn all(roles: &[Role]) -> impl Fn(Role) -> bool + '_ {
    move |role| roles.contains(&role)
}

use Role::{Admin, Agent, Bootstrap, Front, Jetstream, Observer, Operator, Worker};

#[test]
fn the_broker_allows_each_role_its_endpoints_and_refuses_it_the_rest() {
    for binary in NatsBinary::supported() {
        let site = Site::new("ib.v1");
        let server = server(binary, &site);
        for role in Role::ALL {
            let mut wire = Wire::login(&server, &login(&site, role)).unwrap();
            for endpoint in ENDPOINTS {
                let may = role.person().is_some_and(|rank| endpoint.role <= rank);
                let subject = format!("ib.v1.api.{}", endpoint.name);
                assert_eq!(wire.may_say(&subject), may, "{role}: {subject}");
            }
        }
    }
}

#[test]
fn the_broker_refuses_what_belongs_to_others() {
    let people = [Admin, Operator, Observer];
    let nobody = [];
    let say: &[(&str, &[Role])] = &[
        ("ib.v1.lookup", &[Bootstrap]),
        (&format!("ib.v1.heartbeat.{NODE}"), &[Agent]),
        (&format!("ib.v1.heartbeat.{OTHER}"), &nobody),
        (&format!("ib.v1.agent.{NODE}.log"), &[Agent]),
        (&format!("ib.v1.agent.{NODE}.login"), &[Agent]),
        (&format!("ib.v1.agent.{OTHER}.log"), &nobody),
        (&format!("ib.v1.nudge.{NODE}"), &[Worker]),
        (&format!("ib.v1.event.{NODE}.state"), &[Worker]),
        ("ib.v1.worker.w1.ask", &[Worker]),
        ("ib.v1.worker.origin", &[Worker]),
        (&format!("ib.v1.console.{NODE}.attach"), &nobody),
        (&format!("ib.v1.console.{NODE}.attach.{ANOTHERS}"), &nobody),
        (&format!("ib.v1.console.{NODE}.detach.{ANOTHERS}"), &nobody),
        (&format!("ib.v1.console.{NODE}.take.{ANOTHERS}"), &nobody),
        (&format!("ib.v1.console.{NODE}.in"), &[Admin, Operator]),
        (&format!("ib.v1.console.{NODE}.break"), &[Admin, Operator]),
        (&format!("ib.v1.console.{NODE}.out"), &[Worker]),
        ("ib.v1.api.no.such", &nobody),
        ("ib.v1", &nobody),
        ("ib.v2.lookup", &nobody),
        ("$KV.ib.node.00.x", &[Worker]),
        ("$KV.ib_workers.w1", &[Worker]),
        ("$KV.ib_lookups.x", &[Worker]),
        ("$KV.another.x", &nobody),
        ("$JS.API.INFO", &[Jetstream]),
        ("$JS.API.STREAM.INFO.KV_ib", &[Worker, Jetstream]),
        ("$JS.API.STREAM.CREATE.KV_ib", &[Worker, Jetstream]),
        ("$JS.API.STREAM.CREATE.EARS", &[Jetstream]),
        ("$JS.API.STREAM.UPDATE.KV_ib", &[Jetstream]),
        ("$JS.API.STREAM.PURGE.KV_ib", &[Jetstream]),
        ("$JS.API.STREAM.DELETE.KV_ib", &[Jetstream]),
        ("$JS.API.STREAM.MSG.GET.IB_SEEN", &[Worker, Jetstream]),
        ("$JS.API.STREAM.MSG.DELETE.KV_ib", &[Worker, Jetstream]),
        ("$JS.API.STREAM.MSG.DELETE.IB_EVENTS", &[Jetstream]),
        ("$JS.API.CONSUMER.CREATE.KV_ib", &[Worker, Jetstream]),
        ("$JS.API.CONSUMER.CREATE.IB_SEEN", &[Jetstream]),
        ("$JS.API.CONSUMER.DURABLE.CREATE.KV_ib.ear", &[Jetstream]),
        (
            "$JS.API.CONSUMER.MSG.NEXT.IB_EVENTS.x",
            &[Worker, Jetstream],
        ),
        ("$JS.API.DIRECT.GET.KV_ib", &[Jetstream]),
        ("$SYS.REQ.SERVER.PING", &nobody),
        ("$SRV.PING", &people),
        ("$SRV.INFO.ironbeat", &people),
        ("$SRV.ELSE", &nobody),
        ("_INBOX.UAAA.reply", &[Front]),
        ("_INBOX.boot.reply", &[Front]),
        ("anything", &nobody),
    ];
    let hear: &[(&str, &[Role])] = &[
        (">", &nobody),
        ("*", &nobody),
        ("*.>", &nobody),
        ("ib.>", &nobody),
        ("ib.v1.>", &people),
        ("ib.v1.lookup", &[Admin, Operator, Observer, Front]),
        (
            &format!("ib.v1.nudge.{NODE}"),
            &[Admin, Operator, Observer, Agent],
        ),
        (&format!("ib.v1.nudge.{OTHER}"), &people),
        ("ib.v1.nudge.*", &people),
        ("ib.v1.event.>", &people),
        ("ib.v1.api.>", &[Admin, Front]),
        ("ib.v1.api.node.enroll", &[Admin, Front]),
        ("ib.v1.worker.w1.ask", &[Front]),
        (&format!("ib.v1.console.{NODE}.in"), &[Admin, Front]),
        (
            &format!("ib.v1.console.{NODE}.out"),
            &[Admin, Operator, Observer, Front],
        ),
        ("_INBOX.>", &nobody),
        ("_INBOX.*.x", &nobody),
        ("_INBOX.UAAA.>", &nobody),
        ("_INBOX.boot.>", &[Bootstrap]),
        ("$KV.>", &nobody),
        ("$KV.ib.>", &nobody),
        ("$JS.>", &nobody),
        ("$JS.API.>", &nobody),
        ("$JS.EVENT.>", &nobody),
        ("$SYS.>", &nobody),
        ("$SRV.PING", &[Front]),
    ];
    for binary in NatsBinary::supported() {
        let site = Site::new("ib.v1");
        let server = server(binary, &site);
        for role in Role::ALL {
            let creds = login(&site, role);
            let mut wire = Wire::login(&server, &creds).unwrap();
            for (subject, who) in say {
                assert_eq!(
                    wire.may_say(subject),
                    all(who)(role),
                    "{role} says {subject}"
                );
            }
            for (subject, who) in hear {
                assert_eq!(
                    wire.may_hear(subject),
                    all(who)(role),
                    "{role} hears {subject}"
                );
            }
            let own = format!("_INBOX.{}.>", creds.key.public_key());
            assert_eq!(
                wire.may_hear(&own),
                role != Bootstrap,
                "{role} hears itself"
            );
            for (part, who) in [
                ("attach", &people[..]),
                ("detach", &people),
                ("take", &[Admin, Operator]),
            ] {
                let own = format!("ib.v1.console.{NODE}.{part}.{}", creds.key.public_key());
                assert_eq!(wire.may_say(&own), all(who)(role), "{role} says {own}");
            }
            assert!(
                !wire.may_say(&format!("$JS.API.STREAM.INFO.KV_ib.{role}")) || role == Jetstream
            );
            for subject in ["ib.v1.lookup", "ib.v1.api.node.enroll", "ib.v1.heartbeat.*"] {
                let takes = wire.may_take(subject, "conductor");
                assert_eq!(
                    takes,
                    role == Front,
                    "{role} takes {subject} from the workers"
                );
            }
        }
    }
}

/// What a thief could change in a stream, its servers would go on doing when the thief's login has ended.
#[test]
fn a_worker_makes_its_streams_and_cannot_change_one_that_is_there() {
    for binary in NatsBinary::supported() {
        let site = Site::new("ib.v1");
        let server = server(binary, &site);
        let creds = login(&site, Worker);
        let mut wire = Wire::login(&server, &creds).unwrap();
        let inbox = format!("{}.x", creds.inbox());
        wire.send(&format!("SUB {inbox} 1"));
        let mut create = |config: &serde_json::Value| {
            let body = config.to_string();
            let name = config["name"].as_str().unwrap();
            let (subject, size) = (format!("$JS.API.STREAM.CREATE.{name}"), body.len());
            wire.send(&format!("PUB {subject} {inbox} {size}\r\n{body}"));
            wire.message()
        };
        for (name, subject) in streams::all("ib.v1") {
            let plain = json!({
                "name": name, "subjects": [subject], "storage": "file", "retention": "limits",
                "discard": "old", "num_replicas": 1,
            });
            let made = create(&plain);
            assert!(!made.contains("\"error\""), "{name}: {made}");
            for (field, value) in [
                ("republish", json!({ "src": ">", "dest": "_INBOX.boot.>" })),
                ("subjects", json!([subject, "ib.v1.api.>"])),
                ("sources", json!([{ "name": "EARS" }])),
                ("max_msgs", json!(7)),
            ] {
                let mut changed = plain.clone();
                changed[field] = value;
                let said = create(&changed);
                assert!(said.contains("10058"), "{name} with {field}: {said}");
            }
        }
    }
}

#[test]
fn who_may_hear_everything_hears_no_question_and_no_keystroke() {
    for binary in NatsBinary::supported() {
        let site = Site::new("ib.v1");
        let server = server(binary, &site);
        for role in [Observer, Operator, Admin] {
            let mut ear = Wire::login(&server, &login(&site, role)).unwrap();
            ear.send("SUB ib.v1.> 1");
            assert_eq!(ear.settle().unwrap(), Vec::<String>::new());
            let mut admin = Wire::login(&server, &login(&site, Admin)).unwrap();
            admin.send("PUB ib.v1.api.node.enroll 6\r\nsecret");
            admin.send(&format!("PUB ib.v1.console.{NODE}.in 6\r\nsecret"));
            admin.settle().unwrap();
            let mut worker = Wire::login(&server, &login(&site, Worker)).unwrap();
            worker.send("PUB ib.v1.worker.w.ask 6\r\nsecret");
            worker.send(&format!("PUB ib.v1.event.{NODE}.x 4\r\nlast"));
            worker.settle().unwrap();
            // What one connection has sent before is heard before: the admin's has settled.
            let mut heard = vec![];
            loop {
                heard.push(ear.message());
                if heard.last().is_some_and(|body| body == "last") {
                    break;
                }
            }
            let secrets = heard.iter().filter(|body| *body == "secret").count();
            assert_eq!(
                secrets,
                if role == Admin { 2 } else { 0 },
                "{role}: {heard:?}"
            );
        }
    }
}

#[test]
fn a_stolen_minting_key_can_only_make_agents() {
    for binary in NatsBinary::supported() {
        let site = Site::new("ib.v1");
        let server = server(binary, &site);
        let stolen = site.key(Agent);
        let key = KeyPair::new_user();
        let claims = |name: &str, nats: serde_json::Value| {
            let claims = Claims {
                jti: String::new(),
                iat: now(),
                iss: String::new(),
                exp: None,
                name: name.into(),
                sub: key.public_key(),
                nats,
            };
            jwt::sign(claims, stolen).unwrap()
        };
        let user = json!({ "type": "user", "version": 2, "issuer_account": site.account });
        // With permissions of its own, or for another account, it is nobody.
        let with = |more: serde_json::Value| {
            let mut nats = user.clone();
            let fields = nats.as_object_mut().unwrap();
            fields.extend(more.as_object().unwrap().clone());
            nats
        };
        for more in [
            json!({ "pub": { "allow": [">"] }, "sub": { "allow": [">"] } }),
            json!({ "subs": -1, "data": -1, "payload": -1 }),
            json!({ "bearer_token": true }),
            json!({ "issuer_account": site.system.public_key() }),
            json!({ "issuer_account": "" }),
        ] {
            let refused = Wire::open(&server, &claims(NODE, with(more.clone())), Some(&key));
            assert!(refused.is_err(), "{more}");
        }
        // Whatever it calls itself, it is an agent: the worst that it can be is an agent of all nodes.
        for name in [
            NODE,
            "*",
            ">",
            "a.>",
            "",
            "x y",
            "{{name()}}",
            "*.* $KV.ib.>",
        ] {
            let Ok(mut wire) = Wire::open(&server, &claims(name, user.clone()), Some(&key)) else {
                continue;
            };
            for subject in [
                "ib.v1.lookup",
                "ib.v1.api.node.list",
                "ib.v1.event.a.b",
                "$KV.ib.x",
                "$JS.API.INFO",
                "_INBOX.x.y",
                "$SYS.REQ.SERVER.PING",
            ] {
                assert!(!wire.may_say(subject), "{name:?}: {subject}");
            }
            for subject in [
                ">",
                "ib.v1.>",
                "ib.v1.api.>",
                "_INBOX.>",
                "$KV.>",
                "ib.v1.heartbeat.*",
            ] {
                assert!(!wire.may_hear(subject), "{name:?}: {subject}");
            }
        }
    }
}

#[test]
fn a_stolen_bootstrap_token_may_only_look_up() {
    for binary in NatsBinary::supported() {
        let site = Site::new("ib.v1");
        let server = server(binary, &site);
        let token = site.bootstrap_jwt(now()).unwrap();
        let mut wire = Wire::open(&server, &token, None).unwrap();
        assert!(wire.may_say("ib.v1.lookup"));
        assert!(wire.may_hear("_INBOX.boot.>"));
        for subject in [
            "ib.v1.api.node.list",
            &format!("ib.v1.heartbeat.{NODE}"),
            "_INBOX.boot.x",
            "$JS.API.INFO",
        ] {
            assert!(!wire.may_say(subject), "{subject}");
        }
        for subject in [">", "_INBOX.>", "ib.v1.lookup", "ib.v1.>"] {
            assert!(!wire.may_hear(subject), "{subject}");
        }
        // The largest inventory is taken; more ends the connection.
        wire.send(&format!(
            "PUB ib.v1.lookup 204800\r\n{}",
            "x".repeat(204_800)
        ));
        assert_eq!(wire.settle().unwrap(), Vec::<String>::new());
        wire.send(&format!(
            "PUB ib.v1.lookup 300000\r\n{}",
            "x".repeat(300_000)
        ));
        let why = wire.settle().unwrap_err();
        assert!(why.contains("Maximum Payload"), "{why}");
        // It listens in few places.
        let mut wire = Wire::open(&server, &token, None).unwrap();
        for n in 0..4 {
            wire.send(&format!("SUB _INBOX.boot.{n} {n}"));
        }
        assert_eq!(wire.settle().unwrap(), Vec::<String>::new());
        wire.send("SUB _INBOX.boot.5 5");
        let why = format!("{:?}", wire.settle());
        assert!(why.contains("maximum subscriptions"), "{why}");
    }
}

#[test]
fn a_token_without_its_key_or_after_its_time_is_worth_nothing() {
    for binary in NatsBinary::supported() {
        let site = Site::new("ib.v1");
        let server = server(binary, &site);
        let mint = Mint::new(site.key(Agent).clone(), site.account.clone());
        let (key, other) = (KeyPair::new_user(), KeyPair::new_user());
        let until = |until: i64| mint.login(NODE, &key.public_key(), now(), until).unwrap();
        let good = until(now() + 3_600);
        assert!(Wire::open(&server, &good, Some(&key)).is_ok());
        assert!(
            Wire::open(&server, &good, Some(&other)).is_err(),
            "another key"
        );
        assert!(Wire::open(&server, &good, None).is_err(), "no key");
        assert!(
            Wire::open(&server, &until(now() - 1), Some(&key)).is_err(),
            "expired"
        );
        assert!(Wire::open(&server, "", None).is_err(), "nobody");
        // A connection ends with its token.
        let mut short = Wire::open(&server, &until(now() + 2), Some(&key)).unwrap();
        let why = short.closed();
        assert!(why.contains("User Authentication Expired"), "{why}");
        // Keys of another site of the same name.
        let foreign = login(&Site::new("ib.v1"), Worker);
        assert!(Wire::login(&server, &foreign).is_err());
    }
}

/// Hands the servers another version of the account. What they say.
fn push(wire: &mut Wire, site: &Site, revoker: &Creds, token: &str) -> String {
    let inbox = format!("_INBOX.{}.1", revoker.key.public_key());
    let (update, bytes) = (update_subject(&site.account), token.len());
    wire.send(&format!(
        "SUB {inbox} 1\r\nPUB {update} {inbox} {bytes}\r\n{token}"
    ));
    let said = wire.message();
    wire.send("UNSUB 1");
    wire.settle().unwrap();
    said
}

/// The key of one worker for agents is taken out: what it signed is dropped, and nobody else is.
#[test]
fn a_signing_key_is_put_in_and_taken_out_with_all_that_it_signed() {
    for binary in NatsBinary::supported() {
        let site = Site::new("ib.v1");
        let mut server = server(binary, &site);
        let key = KeyPair::new_account();
        let mint = Mint::new(key.clone(), site.account.clone());
        let agent = KeyPair::new_user();
        let token = mint.login(NODE, &agent.public_key(), now(), now() + 3_600);
        let token = token.unwrap();
        assert!(Wire::open(&server, &token, Some(&agent)).is_err());

        let revoker =
            ironbeat_auth::site::revoker(&site.system, &site.account, now(), None).unwrap();
        let mut wire = Wire::login(&server, &revoker).unwrap();
        let grant = Grant::sign(Agent, &key.public_key(), "ib.v1", None, now(), &site.signer);
        let grants = [Grant::read_of(&grant.unwrap(), &site.signer).unwrap().nats];
        let mut present = site.account_jwt(now()).unwrap();
        let mut revise_and_push = |list: &List| {
            let revised = revise(&present, list, &grants, now() + 2, &site.signer);
            present = revised.unwrap().expect("it is another account");
            let said = push(&mut wire, &site, &revoker, &present);
            assert!(said.contains("\"code\":200"), "{said}");
        };
        revise_and_push(&List::default());
        let mut dropped = Wire::open(&server, &token, Some(&agent)).unwrap();
        assert!(dropped.may_say(&format!("ib.v1.heartbeat.{NODE}")));
        assert!(!dropped.may_say(&format!("ib.v1.heartbeat.{OTHER}")));
        assert!(!dropped.may_say("ib.v1.lookup"));
        let mut stays: Vec<Wire> = [Agent, Worker, Admin, Bootstrap]
            .map(|role| Wire::login(&server, &login(&site, role)).unwrap())
            .into();

        revise_and_push(&ended(&key));
        // Its limits are those of no key, which are zero: that is what old servers complain of, if they say anything.
        dropped.closed();
        for wire in &mut stays {
            assert_eq!(wire.settle().unwrap(), Vec::<String>::new());
        }
        // The key goes on signing, and signs for nobody.
        let again = mint.login(NODE, &agent.public_key(), now(), now() + 3_600);
        assert!(Wire::open(&server, &again.unwrap(), Some(&agent)).is_err());
        server.restart().unwrap();
        assert!(Wire::open(&server, &token, Some(&agent)).is_err());
        assert!(Wire::login(&server, &login(&site, Agent)).is_ok());
    }
}

fn ended(key: &KeyPair) -> List {
    let mut list = List::default();
    list.revoked.insert(key.public_key(), FOR_GOOD);
    list
}

/// A login of anybody is ended with the key that signed it: that of boot scripts, which has no key of its own, too.
#[test]
fn bootstrap_logins_of_the_next_key_work_beside_those_of_the_last_until_it_is_taken_out() {
    for binary in NatsBinary::supported() {
        let site = Site::new("ib.v1");
        let server = server(binary, &site);
        let next = KeyPair::new_account();
        let old = site.bootstrap_jwt(now()).unwrap();
        let new =
            ironbeat_auth::site::login(&next, &site.account, Bootstrap, "bootstrap", now(), None);
        let new = new.unwrap().jwt;
        let revoker =
            ironbeat_auth::site::revoker(&site.system, &site.account, now(), None).unwrap();
        let mut wire = Wire::login(&server, &revoker).unwrap();
        let key = next.public_key();
        let grant = Grant::sign(Bootstrap, &key, "ib.v1", None, now(), &site.signer);
        let grants = [Grant::read_of(&grant.unwrap(), &site.signer).unwrap().nats];
        let present = site.account_jwt(now()).unwrap();
        let none = List::default();
        let both = revise(&present, &none, &grants, now() + 2, &site.signer);
        let both = both.unwrap().unwrap();
        push(&mut wire, &site, &revoker, &both);
        let mut dropped = Wire::open(&server, &old, None).unwrap();
        let mut stays = Wire::open(&server, &new, None).unwrap();
        assert!(dropped.may_say("ib.v1.lookup") && stays.may_say("ib.v1.lookup"));
        assert!(!stays.may_say("ib.v1.api.node.list"));
        let ended = ended(site.key(Bootstrap));
        let one = revise(&both, &ended, &grants, now() + 3, &site.signer);
        push(&mut wire, &site, &revoker, &one.unwrap().unwrap());
        dropped.closed();
        assert!(Wire::open(&server, &old, None).is_err());
        assert!(stays.may_say("ib.v1.lookup"));
    }
}

#[test]
fn a_revoked_user_is_dropped_at_once_and_stays_out() {
    for binary in NatsBinary::supported() {
        let site = Site::new("ib.v1");
        let mut server = server(binary, &site);
        let (bad, good) = (login(&site, Agent), login(&site, Observer));
        let mut dropped = Wire::login(&server, &bad).unwrap();
        let mut stays = Wire::login(&server, &good).unwrap();
        let revoker =
            ironbeat_auth::site::revoker(&site.system, &site.account, now(), None).unwrap();
        let mut wire = Wire::login(&server, &revoker).unwrap();
        for subject in [
            "$SYS.REQ.SERVER.PING",
            "$SYS.REQ.CLAIMS.UPDATE",
            "$SYS.REQ.CLAIMS.DELETE",
        ] {
            assert!(!wire.may_say(subject), "{subject}");
        }
        assert!(!wire.may_hear("$SYS.>"));
        let mut push = |token: &str| push(&mut wire, &site, &revoker, token);
        let present = site.account_jwt(now()).unwrap();
        let revoked = ended(&bad.key);
        // Who has only the login cannot sign: a key of the account is not the operator's. Old servers say that they take
        // it, and do not believe it.
        let mut forged: Claims<serde_json::Value> = jwt::read(&present).unwrap();
        forged.nats["revocations"] = json!({ (good.key.public_key()): now() + 60 });
        forged.iat = now() + 1;
        push(&jwt::sign(forged, site.key(Agent)).unwrap());
        assert!(Wire::login(&server, &good).is_ok());
        let revised = revise(&present, &revoked, &[], now() + 2, &site.signer);
        let said = push(&revised.unwrap().unwrap());
        assert!(said.contains("\"code\":200"), "{said}");
        let why = dropped.closed();
        assert!(why.contains("User Authentication Revoked"), "{why}");
        assert!(Wire::login(&server, &bad).is_err());
        assert_eq!(stays.settle().unwrap(), Vec::<String>::new());
        // An older account, from a slower worker, would be taken: whoever pushes has to look again afterwards.
        push(&present);
        assert!(Wire::login(&server, &bad).is_ok());
        let revised = revise(&present, &revoked, &[], now() + 3, &site.signer);
        push(&revised.unwrap().unwrap());
        assert!(Wire::login(&server, &bad).is_err());
        // What the configuration says is older too.
        server.restart().unwrap();
        assert!(Wire::login(&server, &bad).is_err());
        assert!(Wire::login(&server, &good).is_ok());
    }
}
