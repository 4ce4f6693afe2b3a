//! Which events the core's changes give.
//! `ironbeat_ops::happening` tests their form in JSON.
use super::announce;
use crate::records::tests::node;
use ironbeat_core::decide::{
    BmcFault, BmcReport, Ctx, Event, Patch, Policy, PowerVerb, Verb, decide,
};
use ironbeat_core::id::Incarnation;
use ironbeat_core::node::{Node, Phase, Power, PowerSource, Rest, State};
use ironbeat_core::time::Time;
use ironbeat_ops::happening::What;
use std::time::Duration;

/// One node, its clock, and the kinds of its last events in order.
struct Story {
    node: Node,
    now: Time,
    told: Vec<What>,
    count: u32,
}

impl Story {
    /// At rest, verified, and known to be off.
    fn manageable() -> Self {
        let now = Time::from_unix_ms(1_800_000_000_000);
        let mut node = node(1);
        node.state = State::Resting(Rest::Manageable);
        node.power = Some(Power {
            on: false,
            at: now,
            source: PowerSource::Bmc,
        });
        Self {
            node,
            now,
            told: vec![],
            count: 0,
        }
    }

    fn event(mut self, event: &Event) -> Self {
        self.count += 1;
        self.now = self.now.after(Duration::from_secs(1));
        let (op, worker) = (format!("op{}", self.count), "w1".parse().unwrap());
        let ctx = Ctx {
            now: self.now,
            op: &op.parse().unwrap(),
            worker: &worker,
            incarnation: Incarnation::default(),
            policy: &Policy::default(),
            inventory: None,
            secrets: None,
            instance_data: None,
            notes: None,
            rules: None,
        };
        let decision = decide(Some(&self.node), event, ctx).unwrap();
        let because = &decision.because;
        let after = decision.node.unwrap();
        let told = announce(Some(&self.node), Some(&after), because, self.now, &worker);
        for happening in &told {
            assert_eq!(
                (happening.node, &happening.name, happening.at),
                (self.node.id, &after.name, self.now)
            );
            assert_eq!(happening.worker, worker);
        }
        self.told = told.into_iter().map(|happening| happening.what).collect();
        self.node = after;
        self
    }

    fn ask(self, verb: Verb) -> Self {
        let request = format!("r{}", self.count).parse().unwrap();
        self.event(&Event::Asked { request, verb })
    }

    fn bmc(self, result: Result<BmcReport, BmcFault>) -> Self {
        let op = match self.node.job().map(|job| &job.phase) {
            Some(Phase::Acting { op, .. }) => op.clone(),
            other => panic!("nobody acts: {other:?}"),
        };
        self.event(&Event::Bmc { op, result })
    }

    fn kinds(&self) -> Vec<String> {
        let kind = |what: &What| serde_json::to_value(what).unwrap()["kind"].clone();
        let kinds = self.told.iter().map(kind);
        kinds.map(|kind| kind.as_str().unwrap().into()).collect()
    }
}

fn on(power_on: bool) -> Result<BmcReport, BmcFault> {
    Ok(BmcReport { power_on })
}

fn refused() -> Result<BmcReport, BmcFault> {
    Err(BmcFault {
        what: "BMC 10.0.0.1: wrong password".into(),
        permanent: true,
        accepted: None,
        untold: false,
        let_go: false,
    })
}

#[test]
fn a_change_of_power_has_a_begin_and_an_end() {
    let story = Story::manageable().ask(Verb::Power(PowerVerb::On));
    assert_eq!(story.kinds(), ["step", "power_set.start"]);
    let What::PowerSetStart(change) = &story.told[1] else {
        panic!("{:?}", story.told)
    };
    assert_eq!(
        (change.from, change.to, change.target.as_deref()),
        (Some(false), Some(false), Some("power on"))
    );
    let story = story.bmc(on(true));
    assert_eq!(story.kinds(), ["step", "power_set.end"]);
    let What::PowerSetEnd(change) = &story.told[1] else {
        panic!("{:?}", story.told)
    };
    assert_eq!(
        (change.from, change.to, change.target.as_deref()),
        (Some(false), Some(true), Some("power on"))
    );
    assert_eq!(change.error, None);
}

/// Off, then on: what lies between is neither a begin nor an end.
#[test]
fn a_reboot_is_one_change() {
    let story = Story::manageable().ask(Verb::Power(PowerVerb::Reboot));
    assert_eq!(story.kinds(), ["step", "power_set.start"]);
    let story = story.bmc(on(false));
    assert_eq!(story.kinds(), ["step"]);
    let story = story.bmc(on(true));
    assert_eq!(story.kinds(), ["step", "power_set.end"]);
}

#[test]
fn a_failed_change_of_power_says_why_and_repeats_no_old_error() {
    let story = Story::manageable().ask(Verb::Power(PowerVerb::On));
    let story = story.bmc(refused());
    assert_eq!(story.kinds(), ["step", "power_set.error"]);
    let (What::Step(step), What::PowerSetError(change)) = (&story.told[0], &story.told[1]) else {
        panic!("{:?}", story.told)
    };
    assert!(change.error.is_some());
    assert_eq!(step.error, change.error);
    let story = story.ask(Verb::set(Patch {
        name: "box".parse().ok(),
        ..Patch::default()
    }));
    assert!(story.node.bmc_error.is_some());
    let [What::Step(step)] = story.told.as_slice() else {
        panic!("{:?}", story.told)
    };
    assert_eq!(step.error, None);
}

/// The policy has the power sync record what it sees, not correct it.
#[test]
fn a_power_state_that_nobody_ordered_is_corrected() {
    let mut after = Story::manageable().node;
    let power = |on| {
        let (at, source) = (Time::from_unix_ms(0), PowerSource::Bmc);
        Some(Power { on, at, source })
    };
    let mut before = after.clone();
    let mut check = |from: Option<bool>, to: bool, expected: &[&str]| {
        before.power = from.and_then(power);
        after.power = power(to);
        let (at, worker) = (Time::from_unix_ms(1), "w1".parse().unwrap());
        let told = announce(Some(&before), Some(&after), "the BMC says so", at, &worker);
        let kinds: Vec<_> = told.iter().map(|happening| happening.kind()).collect();
        assert_eq!(kinds, expected, "{from:?} {to}");
    };
    check(None, true, &["step"]);
    check(Some(true), true, &["step"]);
    check(
        Some(true),
        false,
        &["step", "power_state_corrected.success"],
    );
    check(
        Some(false),
        true,
        &["step", "power_state_corrected.success"],
    );
}

/// A job of another kind reports nothing of what it finds or does to the power.
#[test]
fn a_job_that_is_not_about_power_reports_no_change_of_it() {
    let mut story = Story::manageable();
    story.node.state = State::Resting(Rest::Enroll);
    for (expected, next) in [
        (("enroll", "verifying", Some("check_bmc")), None),
        (("verifying", "manageable", None), Some(on(true))),
    ] {
        story = match next {
            None => story.ask(Verb::Manage),
            Some(result) => story.bmc(result),
        };
        let [What::State(change)] = story.told.as_slice() else {
            panic!("{:?}", story.told)
        };
        let found = (
            change.from.as_str(),
            change.to.as_str(),
            change.step.as_deref(),
        );
        assert_eq!(found, expected);
    }
    assert!(story.node.power.unwrap().on);
}

#[test]
fn a_change_of_power_that_takes_the_place_of_another_has_a_begin_of_its_own() {
    let soft = PowerVerb::SoftOff {
        timeout_secs: None,
        then_hard: false,
    };
    let mut story = Story::manageable();
    story.node.power = None;
    let story = story
        .ask(Verb::Power(soft))
        .ask(Verb::Power(PowerVerb::Off));
    assert_eq!(story.kinds(), ["step"]);
    let story = story.bmc(refused());
    assert_eq!(story.kinds(), ["step", "power_set.start"]);
    let What::PowerSetStart(change) = &story.told[1] else {
        panic!("{:?}", story.told)
    };
    assert_eq!(change.target.as_deref(), Some("power off"));
    assert_eq!(story.bmc(on(false)).kinds(), ["step", "power_set.end"]);
}
