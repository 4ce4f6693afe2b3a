//! Logins as situation, event, outcome.
//! `handshake` and the tests against other BMCs in `tests/` try what each attempt sends.
use super::*;
use crate::secret::Secret;
use std::net::SocketAddr;
use std::time::Duration;

const TRIES: u32 = 5;
/// How long each attempt takes.
const STEP: Duration = Duration::from_secs(1);
const NEW: Known = Known {
    suite: None,
    greet: false,
};

fn config() -> BmcConfig {
    let address = SocketAddr::from(([10, 0, 0, 1], 623));
    BmcConfig::new(address, "admin", Secret::new("Rack-pw-1"))
}

fn only(suite: Suite) -> BmcConfig {
    BmcConfig {
        suite: Some(suite),
        ..config()
    }
}

fn ipmi_15() -> BmcConfig {
    BmcConfig {
        protocol: Protocol::Ipmi15,
        ..config()
    }
}

fn with_tries(tries: u32) -> BmcConfig {
    let mut config = config();
    config.timing.tries = tries;
    config
}

fn known(suite: Suite, greet: bool) -> Known {
    Known {
        suite: Some(suite),
        greet,
    }
}

fn seventeen(tries: u32) -> Next {
    let suite = Some(Suite::Seventeen);
    Next::Try { suite, tries }
}

fn three(tries: u32) -> Next {
    let suite = Some(Suite::Three);
    Next::Try { suite, tries }
}

fn greeted(ipmi_v2: bool) -> Event {
    Event::Greeted(Some(AuthCapabilities {
        channel: 1,
        ipmi_v2,
        ipmi_v1_5: true,
        auth_types: 0x04,
        kg_needed: false,
        anonymous: false,
        oem: 0,
    }))
}

const NOT_GREETED: Event = Event::Greeted(None);

/// As an attempt reports it; how many tries and how long is for the whole login to say.
fn silence() -> Event {
    Event::Failed(unreachable(1, 0))
}

fn unreachable(tries: u32, steps: u32) -> ErrorKind {
    ErrorKind::Unreachable {
        tries,
        waited: STEP * steps,
    }
}

fn noise() -> Event {
    Event::Failed(ErrorKind::Malformed("noise"))
}

fn refused(suite: Suite) -> Event {
    Event::Failed(ErrorKind::CipherRefused(suite.number().to_string()))
}

fn lost() -> Event {
    Event::Failed(ErrorKind::SessionLost)
}

fn too_low() -> ErrorKind {
    ErrorKind::PrivilegeTooLow {
        user: "admin".into(),
        privilege: "ADMINISTRATOR",
    }
}

fn wrong_password() -> ErrorKind {
    ErrorKind::WrongPassword {
        user: "admin".into(),
    }
}

/// What is known at first; what to do first; every event, and what to do next; what is known in the end.
fn check(
    config: &BmcConfig,
    before: Known,
    first: Next,
    history: Vec<(Event, Next)>,
    after: Known,
) {
    let mut now = Instant::now();
    let (mut login, next) = Login::begin(config, before, now);
    assert_eq!(next, first);
    for (number, (event, expected)) in history.into_iter().enumerate() {
        now += STEP;
        let next = login.on(event.clone(), now);
        assert_eq!(next, expected, "event {number}: {event:?}");
    }
    assert_eq!(login.known(), after);
}

#[test]
fn a_bmc_that_accepts_the_first_suite_is_remembered_with_it() {
    let history = vec![(Event::Entered, Next::Done)];
    let after = known(Suite::Seventeen, false);
    check(&config(), NEW, seventeen(2), history, after);
}

#[test]
fn suite_17_is_tried_first_and_3_when_it_is_refused() {
    let history = vec![
        (refused(Suite::Seventeen), three(2)),
        (Event::Entered, Next::Done),
    ];
    let after = known(Suite::Three, false);
    check(&config(), NEW, seventeen(2), history, after);
    // And 3 alone from then on.
    let history = vec![(Event::Entered, Next::Done)];
    check(&config(), after, three(2), history, after);
}

#[test]
fn a_suite_that_is_asked_for_is_the_only_one() {
    for suite in [Suite::Seventeen, Suite::Three] {
        let first = Next::Try {
            suite: Some(suite),
            tries: 2,
        };
        let error = ErrorKind::CipherRefused(suite.number().to_string());
        let history = vec![(refused(suite), Next::GiveUp(error))];
        check(&only(suite), NEW, first, history, NEW);
    }
}

#[test]
fn a_bmc_that_refuses_all_suites_is_forgotten() {
    let error = ErrorKind::CipherRefused("17 and 3".into());
    let history = vec![
        (refused(Suite::Seventeen), three(2)),
        (refused(Suite::Three), Next::GiveUp(error)),
    ];
    let before = known(Suite::Seventeen, false);
    check(&config(), before, seventeen(2), history, NEW);
}

#[test]
fn a_privilege_that_one_suite_refuses_may_be_had_with_the_other() {
    let history = vec![
        (Event::Failed(too_low()), three(2)),
        (Event::Failed(too_low()), Next::GiveUp(too_low())),
    ];
    check(&config(), NEW, seventeen(2), history, NEW);
}

#[test]
fn a_wrong_password_is_final() {
    let before = known(Suite::Seventeen, false);
    let history = vec![(
        Event::Failed(wrong_password()),
        Next::GiveUp(wrong_password()),
    )];
    check(&config(), before, seventeen(2), history, before);
}

#[test]
fn silence_and_noise_are_followed_by_a_greeting_and_all_tries() {
    for nothing in [silence(), noise()] {
        let history = vec![
            (nothing, Next::Greet),
            (greeted(true), seventeen(TRIES)),
            (Event::Entered, Next::Done),
        ];
        let after = known(Suite::Seventeen, true);
        check(&config(), NEW, seventeen(2), history, after);
    }
}

#[test]
fn a_bmc_that_needed_a_greeting_gets_it_first_next_time() {
    let before = known(Suite::Seventeen, true);
    let history = vec![
        (greeted(true), seventeen(TRIES)),
        (Event::Entered, Next::Done),
    ];
    check(&config(), before, Next::Greet, history, before);
    // It no longer answers, and no longer needs it.
    let history = vec![(NOT_GREETED, seventeen(2)), (Event::Entered, Next::Done)];
    let after = known(Suite::Seventeen, false);
    check(&config(), before, Next::Greet, history, after);
}

#[test]
fn a_bmc_that_answers_nothing_gets_the_remaining_tries_and_is_given_up() {
    let history = vec![
        (silence(), Next::Greet),
        (NOT_GREETED, seventeen(3)),
        (silence(), Next::GiveUp(unreachable(TRIES, 3))),
    ];
    check(&config(), NEW, seventeen(2), history, NEW);
    // No tries remain.
    let history = vec![
        (silence(), Next::Greet),
        (NOT_GREETED, Next::GiveUp(unreachable(2, 2))),
    ];
    check(&with_tries(2), NEW, seventeen(2), history, NEW);
}

#[test]
fn noise_alone_is_reported_as_such() {
    let noise_error = ErrorKind::Malformed("noise");
    let history = vec![
        (noise(), Next::Greet),
        (NOT_GREETED, seventeen(3)),
        (noise(), Next::GiveUp(noise_error)),
    ];
    check(&config(), NEW, seventeen(2), history, NEW);
}

#[test]
fn a_bmc_without_ipmi_2_says_so() {
    let history = vec![
        (silence(), Next::Greet),
        (greeted(false), Next::GiveUp(ErrorKind::NoRmcpPlus)),
    ];
    check(&config(), NEW, seventeen(2), history, NEW);
}

#[test]
fn a_bmc_that_drops_requests_for_a_suite_is_tried_with_the_next() {
    let history = vec![
        (silence(), Next::Greet),
        (greeted(true), seventeen(TRIES)),
        (silence(), three(TRIES)),
        (Event::Entered, Next::Done),
    ];
    let after = known(Suite::Three, true);
    check(&config(), NEW, seventeen(2), history, after);
    let history = vec![
        (silence(), Next::Greet),
        (greeted(true), seventeen(TRIES)),
        (silence(), three(TRIES)),
        (silence(), Next::GiveUp(unreachable(TRIES, 3))),
    ];
    check(&config(), NEW, seventeen(2), history, NEW);
}

#[test]
fn a_refusal_says_more_than_silence() {
    let history = vec![
        (silence(), Next::Greet),
        (greeted(true), seventeen(TRIES)),
        (Event::Failed(too_low()), three(TRIES)),
        (silence(), Next::GiveUp(too_low())),
    ];
    check(&config(), NEW, seventeen(2), history, NEW);
}

#[test]
fn a_login_that_is_lost_halfway_is_repeated_twice() {
    let history = vec![
        (lost(), seventeen(2)),
        (lost(), seventeen(2)),
        (lost(), Next::GiveUp(ErrorKind::SessionLost)),
    ];
    check(&config(), NEW, seventeen(2), history, NEW);
    // And as often again once it is greeted.
    let history = vec![
        (lost(), seventeen(2)),
        (silence(), Next::Greet),
        (greeted(true), seventeen(TRIES)),
        (lost(), seventeen(TRIES)),
        (lost(), seventeen(TRIES)),
        (lost(), Next::GiveUp(ErrorKind::SessionLost)),
    ];
    check(&config(), NEW, seventeen(2), history, NEW);
}

#[test]
fn ipmi_1_5_is_one_login_without_suite_or_greeting() {
    let first = || Next::Try {
        suite: None,
        tries: TRIES,
    };
    for (event, expected) in [
        (Event::Entered, Next::Done),
        (silence(), Next::GiveUp(unreachable(TRIES, 1))),
        (noise(), Next::GiveUp(ErrorKind::Malformed("noise"))),
        (lost(), first()),
        (
            Event::Failed(wrong_password()),
            Next::GiveUp(wrong_password()),
        ),
        (Event::Failed(too_low()), Next::GiveUp(too_low())),
    ] {
        check(&ipmi_15(), NEW, first(), vec![(event, expected)], NEW);
    }
}

#[test]
fn every_history_ends() {
    let events = || {
        [
            silence(),
            noise(),
            lost(),
            refused(Suite::Three),
            Event::Failed(too_low()),
            Event::Failed(wrong_password()),
            Event::Entered,
        ]
    };
    let answers = || [NOT_GREETED, greeted(true), greeted(false)];
    let mut mutator = ironbeat_mutate::Mutator::seeded("login");
    for _ in 0..2_000 {
        let now = Instant::now();
        let config = [config(), only(Suite::Three), ipmi_15(), with_tries(1)];
        let before = [NEW, known(Suite::Three, true)];
        let (config, before) = (&config[mutator.below(4)], before[mutator.below(2)]);
        let (mut login, mut next) = Login::begin(config, before, now);
        let mut steps = 0;
        loop {
            next = match next {
                Next::Greet => login.on(answers()[mutator.below(3)].clone(), now),
                Next::Try { tries, .. } => {
                    assert!((1..=TRIES).contains(&tries), "{tries}");
                    login.on(events()[mutator.below(7)].clone(), now)
                }
                Next::Done | Next::GiveUp(_) => break,
            };
            steps += 1;
            // Per suite two times three logins and a greeting, and one more greeting.
            assert!(steps <= 2 * 7 + 1, "{steps}");
        }
    }
}
