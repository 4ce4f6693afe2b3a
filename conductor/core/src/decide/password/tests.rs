//! The life of a change of the BMC's password: its good end, its bad ends, and what a worker that dies leaves.
//! That no order of events loses a password is tried in `histories`.
use super::super::tests::Story;
use super::super::{BmcPatch, Event, Patch, Rejected, Verb};
use super::LATE_SECS;
use crate::explain::explain;
use crate::id::{Actor, Incarnation};
use crate::node::{BmcAct, BmcSecrets, Candidate, Secret};
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

/// The worker that sets it dies, and nobody knows how far it came; an operator wants no more of it.
fn left_open() -> Story {
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
    let story = story.event(lost).ask(Verb::Abort);
    story.bmc_failed(false).is("available")
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
        Verb::Set(Patch {
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
    let moved = Verb::Set(Patch {
        bmc: Some(BmcPatch::Ipmi {
            address: Some("198.51.100.77".parse().unwrap()),
            username: None,
            password: None,
            cipher_suite: None,
            kg: None,
            ipmi_1_5: None,
        }),
        ..Patch::default()
    });
    let refused = story.try_event(asks(moved)).unwrap_err();
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
