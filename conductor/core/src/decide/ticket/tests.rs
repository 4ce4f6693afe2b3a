//! Situations of tickets: situation, event, outcome. The unnamed ones are in `histories`.
//! Whose signature is right is tried with the worker.
use super::*;
use crate::decide::tests::{BOOT, NEXT_BOOT, Story, inventory};
use crate::decide::{Effect, Event, Rejected};
use crate::explain::explain;
use crate::node::{Ended, MeasuredBoot, Part};
use crate::policy::OnMeasurement;
use ironbeat_common::heartbeat::Status;

fn key(n: u8) -> UserKey {
    UserKey::from_bytes([n; 32])
}

const AGENT: u8 = 0xa0;

impl Story {
    fn fetches(mut self, ticket: u8) -> Self {
        self.try_fetch(ticket).unwrap();
        self
    }

    fn try_fetch(&mut self, ticket: u8) -> Result<(), Rejected> {
        let at = self.now.after(secs(1));
        self.try_event(Event::Script {
            ticket: key(ticket),
            at,
        })
    }

    fn shows(&mut self, boot: BootId, proof: Proof) -> Result<(), Rejected> {
        self.try_event(Event::Booted {
            boot,
            inventory: inventory(&["S1", "S2"]),
            proof,
            measured: MeasuredBoot::default(),
        })
    }

    fn measures(&mut self, proof: Proof, ramdisk: Part) -> Result<(), Rejected> {
        self.try_event(Event::Booted {
            boot: BOOT,
            inventory: inventory(&["S1", "S2"]),
            proof,
            measured: MeasuredBoot::Compared {
                kernel: Part::Served,
                ramdisk,
                unknown: None,
            },
        })
    }

    fn passes(mut self, seconds: u32) -> Self {
        self.now = self.now.after(secs(seconds));
        self
    }

    fn beats(self, boot: BootId) -> Self {
        let status = Status::Idle;
        self.event(Event::Beat { boot, status })
    }

    fn rival(&self) -> Option<String> {
        explain(&self.node, self.now, &self.policy).rival
    }
}

fn shown(ticket: u8) -> Proof {
    Proof::Ticket {
        ticket: key(ticket),
        key: key(AGENT),
    }
}

fn wrong(why: WrongTicket) -> Result<(), Rejected> {
    Err(Rejected::WrongTicket { why })
}

/// A cleaning whose ramdisk has come with ticket 1.
fn welcomed() -> Story {
    let mut story = Story::cleaning().fetches(1);
    story.shows(BOOT, shown(1)).unwrap();
    assert_eq!(story.node.boot, Some(BOOT));
    story
}

#[test]
fn a_ramdisk_is_welcome_with_the_ticket_of_its_script_and_with_nothing_else() {
    let mut story = Story::cleaning();
    assert_eq!(story.shows(BOOT, shown(1)), wrong(WrongTicket::Unknown));
    let mut story = story.fetches(1);
    assert_eq!(
        story.shows(BOOT, Proof::Missing),
        wrong(WrongTicket::Missing)
    );
    assert_eq!(story.shows(BOOT, shown(2)), wrong(WrongTicket::Unknown));
    assert_eq!(story.node.boot, None);
    story.shows(BOOT, shown(1)).unwrap();
    assert_eq!(story.node.boot, Some(BOOT));
    assert!(may_renew(&story.node, BOOT, &key(AGENT)));
    assert!(!may_renew(&story.node, BOOT, &key(1)));
    assert!(!may_renew(&story.node, NEXT_BOOT, &key(AGENT)));
}

#[test]
fn an_answer_that_was_lost_is_given_again_to_the_same_key_alone() {
    let mut story = welcomed();
    let before = story.node.clone();
    story.shows(BOOT, shown(1)).unwrap();
    assert_eq!(story.node, before);
    let other = Proof::Ticket {
        ticket: key(1),
        key: key(9),
    };
    assert_eq!(story.shows(BOOT, other), wrong(WrongTicket::Used));
    assert_eq!(
        story.shows(BOOT, Proof::Missing),
        wrong(WrongTicket::Missing)
    );
    assert_eq!(story.shows(NEXT_BOOT, shown(1)), wrong(WrongTicket::Used));
    assert_eq!(story.node, before);
}

#[test]
fn a_machine_whose_ipxe_gave_up_comes_with_its_second_ticket_and_nobody_is_accused() {
    let mut story = Story::cleaning().fetches(1).passes(60).fetches(2);
    assert!(story.because.contains("is void"), "{}", story.because);
    story.shows(BOOT, shown(2)).unwrap();
    assert_eq!((story.node.boot, story.rival()), (Some(BOOT), None));
}

#[test]
fn a_void_ticket_that_shows_up_is_a_second_machine_and_told_once() {
    let mut story = Story::cleaning().fetches(1).fetches(2);
    story.shows(NEXT_BOOT, shown(1)).unwrap();
    assert_eq!(story.node.boot, None);
    assert!(story.because.starts_with("two machines claim this node"));
    let told = story.rival().unwrap();
    assert!(told.contains("two machines claim this node"), "{told}");
    let before = story.node.clone();
    assert_eq!(story.shows(NEXT_BOOT, shown(1)), wrong(WrongTicket::Void));
    assert_eq!(story.node, before);
    // The machine that fetched last is let in.
    story.shows(BOOT, shown(2)).unwrap();
    assert_eq!(story.node.boot, Some(BOOT));
}

#[test]
fn a_script_that_was_saved_late_by_another_worker_does_not_take_the_place_of_the_later_one() {
    let story = Story::cleaning();
    let early = story.now;
    let mut story = story.fetches(2);
    let late = Event::Script {
        ticket: key(1),
        at: early,
    };
    assert_eq!(story.try_event(late.clone()), Err(Rejected::OldScript));
    story.shows(BOOT, shown(2)).unwrap();
    assert_eq!(story.try_event(late), Err(Rejected::OldScript));
    assert_eq!(story.node.tickets.open, None);
}

#[test]
fn whoever_fetches_a_script_beside_a_ramdisk_that_lives_gets_nothing_for_it() {
    let story = welcomed().fetches(2);
    assert_eq!(story.effects, [Effect::Nudge], "it is asked");
    let mut story = story.beats(BOOT);
    assert!(story.because.starts_with("two machines claim this node"));
    assert!(story.rival().unwrap().contains("while its ramdisk ran"));
    assert_eq!(story.shows(NEXT_BOOT, shown(2)), wrong(WrongTicket::Void));
    assert_eq!(story.node.boot, Some(BOOT));
}

#[test]
fn whoever_looks_up_sooner_than_the_ramdisk_can_say_that_it_lives_waits() {
    let mut story = welcomed().fetches(2);
    assert_eq!(
        story.shows(NEXT_BOOT, shown(2)),
        wrong(WrongTicket::TooEarly)
    );
    let mut story = story.beats(BOOT).passes(60);
    assert_eq!(story.shows(NEXT_BOOT, shown(2)), wrong(WrongTicket::Void));
}

#[test]
fn a_machine_that_starts_over_in_the_middle_of_a_step_gets_a_ticket_and_its_old_login_ends() {
    let mut story = welcomed().fetches(2).passes(20);
    story.shows(NEXT_BOOT, shown(2)).unwrap();
    assert_eq!((story.node.boot, story.rival()), (Some(NEXT_BOOT), None));
    let until = story.now.after(secs(story.policy.agent_login_secs));
    let ended = Ended {
        key: key(AGENT),
        until,
    };
    assert_eq!(story.node.tickets.ended, [ended]);
    let keys = vec![key(AGENT)];
    let ends = Effect::EndLogins { keys: keys.clone() };
    assert!(story.effects.contains(&ends), "{:?}", story.effects);
    let story = story.event(Event::LoginsEnded { keys: keys.clone() });
    assert!(story.node.tickets.ended.is_empty());
    let before = story.node.clone();
    let story = story.event(Event::LoginsEnded { keys });
    assert_eq!((story.node, story.effects), (before, vec![]));
}

#[test]
fn a_ticket_ends_with_the_wait_for_its_ramdisk() {
    // The boot's time is over, and the machine is booted again.
    let mut story = Story::cleaning().fetches(1);
    story = story.alarm(None);
    while story.node.tickets.open.is_some() {
        story = story.alarm(None);
    }
    assert!(story.because.contains("booted again"), "{}", story.because);
    assert!(story.shows(BOOT, shown(1)).is_err());
    // The job is over.
    let story = Story::cleaning().fetches(1);
    let mut story = story.ask(crate::decide::Verb::Abort);
    assert_eq!(story.node.tickets.open, None);
    let refused = story.try_fetch(3);
    assert!(matches!(refused, Err(Rejected::AgentNotWanted { .. })));
}

#[test]
fn an_active_machine_is_not_switched_off_on_a_strangers_word() {
    let story = Story::writing().agent_did().agent_did();
    let mut story = story.bmc_did().bmc_did().is("active");
    for proof in [Proof::Missing, shown(1)] {
        for _ in 0..3 {
            let refused = story.shows(NEXT_BOOT, proof);
            assert!(matches!(refused, Err(Rejected::AgentNotWanted { .. })));
            story = story.passes(60);
        }
    }
    assert_eq!(story.node.astray, None);
}

#[test]
fn without_logins_no_ticket_is_asked_for() {
    let mut story = Story::cleaning();
    story.shows(BOOT, Proof::NotAsked).unwrap();
    assert_eq!(story.node.boot, Some(BOOT));
    assert_eq!(story.node.tickets, Default::default());
    story.shows(BOOT, Proof::NotAsked).unwrap();
}

#[test]
fn what_was_measured_of_a_welcome_boot_is_told_and_refuses_nobody() {
    let mut story = Story::cleaning().fetches(1);
    story.shows(BOOT, shown(1)).unwrap();
    let booted = |story: &Story| explain(&story.node, story.now, &story.policy).measured;
    assert_eq!(story.node.measured_boot, Some(MeasuredBoot::NoTpm));
    assert_eq!(booted(&story), None, "most machines have no TPM");
    let mut story = Story::cleaning().fetches(1);
    story.measures(shown(1), Part::NotMeasured).unwrap();
    assert_eq!(story.node.boot, Some(BOOT));
    let words = "the kernel that was served; a ramdisk that nothing measured";
    assert_eq!(booted(&story).as_deref(), Some(words));
    let mut story = Story::cleaning().fetches(1);
    story.policy.measured_boot = OnMeasurement::Off;
    story.measures(shown(1), Part::Served).unwrap();
    assert_eq!(story.node.measured_boot, None);
}

#[test]
fn a_policy_that_requires_a_measured_boot_lets_in_what_is_served_and_leaves_all_others_as_they_were()
 {
    let mut story = Story::cleaning().fetches(1);
    story.policy.measured_boot = OnMeasurement::Require;
    let before = story.node.clone();
    assert_eq!(
        story.measures(Proof::Missing, Part::Served),
        wrong(WrongTicket::Missing)
    );
    assert_eq!(story.node, before, "a stranger's measurements are nobody's");
    story.measures(shown(1), Part::NotMeasured).unwrap();
    assert_eq!(
        (story.node.boot, &story.node.tickets),
        (None, &before.tickets)
    );
    let words = explain(&story.node, story.now, &story.policy).measured;
    let words = words.unwrap();
    assert!(
        words.contains("nothing measured") && words.contains("measured_boot"),
        "{words}"
    );
    let noted = story.node.clone();
    let again = story.measures(shown(1), Part::NotMeasured).unwrap_err();
    assert!(again.to_string().contains("nothing measured"), "{again}");
    assert_eq!(story.node, noted, "it is written once");
    story.measures(shown(1), Part::Served).unwrap();
    assert_eq!(story.node.boot, Some(BOOT));
    assert!(story.node.measured_boot.is_some_and(|it| it.is_served()));
}
