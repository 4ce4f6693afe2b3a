//! The life of a change of the BMC's password: its good end, its bad ends, and what a worker that dies leaves.
//! That no order of events loses a password is tried in `histories`.
use super::super::tests::Story;
use super::super::{BmcFault, BmcPatch, Event, Patch, Rejected, Verb};
use super::LATE_SECS;
use crate::explain::explain;
use crate::id::{Actor, Incarnation};
use crate::node::{BmcAct, BmcSecrets, Candidate, PasswordChange, Secret};
use crate::policy::Policy;
use crate::time::secs;
use std::format;
use std::string::String;
use std::vec::Vec;

const NEW: &str = "new-password";

fn set(password: &str) -> Verb {
    Verb::SetPassword(Secret::new(password))
}

fn changing() -> Story {
    let story = Story::available().ask(set(NEW));
    assert_eq!(story.acting().1, BmcAct::SetPassword);
    story
}

fn found(story: &Story, found: Option<Candidate>) -> Event {
    let version = story.node.beside.bmc_secrets.clone().unwrap();
    Event::PasswordFound { version, found }
}

fn passwords(story: &Story) -> Vec<String> {
    let secrets: &BmcSecrets = story.secrets.as_ref().unwrap();
    let all = [Some(&secrets.password), secrets.next.as_ref()];
    let all = all.into_iter().flatten();
    all.map(|password| password.reveal().into()).collect()
}

fn explained(story: &Story) -> Option<String> {
    explain(&story.node, story.now, &Policy::default()).password_change
}

/// An operator wants no more of it.
fn left_open() -> Story {
    let story = left_by_a_dead_worker().ask(Verb::Abort);
    story.bmc_failed(false).is("available")
}

/// The worker that sets it dies, and nobody knows how far it came.
fn left_by_a_dead_worker() -> Story {
    let mut story = changing();
    story.now = story.now.after(secs(60));
    let lost = Event::WorkerLost {
        actor: Actor {
            worker: "w1".parse().unwrap(),
            incarnation: Incarnation::default(),
        },
        until: story.node.wake_at.unwrap(),
        replaced: false,
    };
    story.event(lost)
}

/// To another BMC.
fn moved() -> Verb {
    Verb::set(Patch {
        bmc: Some(BmcPatch::Ipmi {
            address: Some("198.51.100.77".parse().unwrap()),
            username: None,
            password: None,
            cipher_suite: None,
            kg: None,
            ipmi_1_5: None,
        }),
        ..Patch::default()
    })
}

fn past_what_comes_late(mut story: Story) -> Story {
    story.now = story.node.password_change.clone().unwrap().until;
    story
}

#[test]
fn both_passwords_are_on_record_until_the_bmc_was_seen_to_take_the_new_one() {
    let story = changing();
    assert_eq!(passwords(&story), ["hush", NEW]);
    assert!(explained(&story).unwrap().contains("tries both"));
    let printed = explain(&story.node, story.now, &Policy::default()).to_string();
    assert!(printed.contains("password  open since"), "{printed}");
    let story = story.bmc_did().is("available");
    assert_eq!(passwords(&story), [NEW]);
    assert_eq!(
        (story.node.password_change.as_ref(), explained(&story)),
        (None, None)
    );
}

#[test]
fn a_password_that_the_bmc_refuses_leaves_the_old_one_and_the_reason() {
    let story = changing().bmc_failed(true).is("available");
    assert!(
        story
            .error()
            .contains("set_bmc_password: BMC 10.0.0.1: silent"),
        "{}",
        story.error()
    );
    assert_eq!(passwords(&story), ["hush", NEW]);
    let event = found(&story, Some(Candidate::Present));
    let story = story.event(event);
    assert_eq!(passwords(&story), ["hush"]);
    assert_eq!(
        story.because,
        "the BMC has the old password: the change is over"
    );
}

fn before_it_was_told(story: Story, permanent: bool) -> Story {
    let (op, _) = story.acting();
    let fault = BmcFault {
        what: "RAKP 2: unauthorized role".into(),
        permanent,
        accepted: None,
        untold: true,
        let_go: false,
    };
    story.event(Event::Bmc {
        op,
        result: Err(fault),
    })
}

/// Its address or its user is wrong: the login that would end the change cannot come while they are.
#[test]
fn a_password_of_which_no_bmc_can_have_heard_leaves_the_old_one_at_once() {
    let never_told = before_it_was_told(changing(), true);
    let mut in_a_pause = before_it_was_told(changing(), false);
    assert_eq!(passwords(&in_a_pause), ["hush", NEW], "it is tried again");
    let abort = Event::Asked {
        request: "r".parse().unwrap(),
        verb: Verb::Abort,
    };
    in_a_pause.try_event(abort).unwrap();
    for story in [never_told, in_a_pause] {
        let mut story = story.is("available");
        assert_eq!(passwords(&story), ["hush"], "{}", story.because);
        assert_eq!(story.node.password_change, None);
        assert!(
            story.because.ends_with("the old one stays"),
            "{}",
            story.because
        );
        let moved = Event::Asked {
            request: "moved".parse().unwrap(),
            verb: moved(),
        };
        story.try_event(moved).unwrap();
    }
}

/// One try may have told it, so that a later one which did not says nothing.
#[test]
fn a_password_of_which_the_bmc_may_have_heard_once_stays_on_record() {
    let mut story = changing().bmc_failed(false);
    story = story.alarm(None);
    assert_eq!(story.acting().1, BmcAct::SetPassword);
    let story = before_it_was_told(story, true).is("available");
    assert_eq!(passwords(&story), ["hush", NEW], "{}", story.because);
    let story = before_it_was_told(left_by_a_dead_worker(), true).is("available");
    assert_eq!(passwords(&story), ["hush", NEW], "{}", story.because);
}

/// A command of the worker that let go may come late, so whoever is next is not the first.
#[test]
fn a_worker_that_lets_go_when_the_bmc_may_have_heard_leaves_both_passwords() {
    let story = changing().let_go().alarm(None).bmc_did().is("available");
    assert_eq!(passwords(&story), ["hush", NEW], "{}", story.because);
}

/// What a record of before does not say counts as told.
#[test]
fn an_open_change_of_an_older_record_is_not_closed_unasked() {
    let story = changing();
    let mut json = serde_json::to_value(story.node.password_change.as_ref().unwrap()).unwrap();
    json.as_object_mut().unwrap().remove("told").unwrap();
    let change: PasswordChange = serde_json::from_value(json).unwrap();
    assert_eq!(change.told, 1);
}

#[test]
fn a_change_that_nobody_saw_end_is_settled_when_nothing_can_come_late() {
    for (right, left) in [(Candidate::Present, "hush"), (Candidate::Next, NEW)] {
        let story = left_open();
        let early = found(&story, Some(right));
        let story = story.event(early);
        assert_eq!(passwords(&story), ["hush", NEW], "{}", story.because);
        let story = past_what_comes_late(story);
        let late = found(&story, Some(right));
        let story = story.event(late.clone());
        assert_eq!(passwords(&story), [left]);
        // Another login of the same moment says so late.
        let story = story.event(late);
        assert_eq!(story.because, "no change of the BMC's password is open");
    }
}

#[test]
fn what_comes_late_is_waited_for_longer_than_a_session_lives() {
    let story = changing();
    let act = story.node.wake_at.unwrap();
    let until = story.node.password_change.as_ref().unwrap().until;
    assert_eq!(until, act.after(secs(LATE_SECS)));
}

#[test]
fn no_other_password_is_taken_while_it_is_not_known_which_is_right() {
    let give = |password: &str| {
        Verb::set(Patch {
            bmc: Some(BmcPatch::Ipmi {
                address: None,
                username: None,
                password: Some(Secret::new(password)),
                cipher_suite: None,
                kg: None,
                ipmi_1_5: None,
            }),
            ..Patch::default()
        })
    };
    let asks = |verb| Event::Asked {
        request: "another".parse().unwrap(),
        verb,
    };
    let mut story = left_open();
    for verb in [set("third"), give("third")] {
        let refused = story.try_event(asks(verb)).unwrap_err();
        assert!(
            matches!(refused, Rejected::PasswordOpen { .. }),
            "{refused}"
        );
    }
    // Another BMC that lets somebody in with the old one would end the change.
    let refused = story.try_event(asks(moved())).unwrap_err();
    assert!(
        matches!(refused, Rejected::PasswordOpen { .. }),
        "{refused}"
    );
    let deleted = story.try_event(asks(Verb::Delete)).unwrap_err();
    assert!(
        format!("{deleted}").contains("lose both passwords"),
        "{deleted}"
    );
    // Somebody has changed it on the BMC: who says which it is now is believed.
    let event = found(&story, None);
    let mut story = story.event(event);
    assert!(
        explained(&story)
            .unwrap()
            .contains("has refused the old password and the new one")
    );
    let refused = story.try_event(asks(set("third"))).unwrap_err();
    assert!(
        matches!(refused, Rejected::PasswordOpen { .. }),
        "{refused}"
    );
    let story = story.ask(give("hush"));
    assert_eq!(passwords(&story), ["hush"]);
    assert_eq!(story.node.password_change, None);
}

#[test]
fn what_no_bmc_can_be_given_is_refused_before_it_is_told() {
    let mut story = Story::available();
    for (password, why) in [
        ("", "1 to 20 characters"),
        ("one-and-twenty-signs!", "1 to 20 characters"),
        ("with space", "without spaces"),
        ("hush", "has this password already"),
    ] {
        let asked = Event::Asked {
            request: "r".parse().unwrap(),
            verb: set(password),
        };
        let refused = story.try_event(asked).unwrap_err();
        assert!(format!("{refused}").contains(why), "{refused}");
    }
    story.secrets = None;
    let asked = Event::Asked {
        request: "r".parse().unwrap(),
        verb: set(NEW),
    };
    let refused = story.try_event(asked).unwrap_err();
    assert!(format!("{refused}").contains("not known"), "{refused}");
}
