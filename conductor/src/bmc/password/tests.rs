//! A password is set on a BMC that somebody else wrote, and on BMCs that refuse it, cut it, or were given it before.
//! What becomes of the record is tried in the core.
use super::super::tests::{WISH, late, login, patient, quick};
use super::super::{Bmcs, Found, Halt};
use crate::records::logins::BmcLogin;
use ironbeat_bmc_sim::{Counters, Faults, Fleet, Settings};
use ironbeat_core::decide::{BmcFault, BmcReport, Event};
use ironbeat_core::node::{BmcAccess, BmcAct, Candidate, Secret};
use ironbeat_rack::lone_bmc::{PASSWORD, Sim};
use ironbeat_rack::ports::PortLease;
use tokio::sync::mpsc;

const NEW: &str = "sixteen-bytes-it";
const LONG: &str = "sixteen-bytes-and-3";

/// Their word on passwords, too.
fn bmcs() -> (Bmcs, mpsc::Receiver<Found>) {
    let (found, told) = mpsc::channel(8);
    (Bmcs::with(patient(), quick(), found), told)
}

fn access(address: &str, password: &str) -> BmcAccess {
    BmcAccess::Ipmi {
        address: address.parse().unwrap(),
        username: "admin".into(),
        password: Secret::new(password),
        cipher_suite: None,
        kg: None,
        ipmi_1_5: false,
    }
}

/// The change from one password to another is open.
fn changing(address: &str, from: &str, to: &str) -> BmcLogin {
    let mut login = login(&access(address, from));
    login.secrets.next = Some(Secret::new(to));
    login
}

async fn set(bmcs: &Bmcs, login: &BmcLogin) -> Result<BmcReport, BmcFault> {
    let act = BmcAct::SetPassword;
    let result = bmcs.perform(login, act, WISH, late(), &|| None).await;
    if let Err(fault) = &result {
        for secret in [PASSWORD, NEW, LONG] {
            assert!(!fault.what.contains(secret), "{fault:?}");
        }
        assert!(
            fault.what.contains(&login.address().to_string()),
            "{fault:?}"
        );
    }
    result
}

/// Whether the BMC accepts it, by a login of its own.
async fn opens(address: &str, password: &str) -> bool {
    let read = bmcs()
        .0
        .read_power(&login(&access(address, password)))
        .await;
    read.is_ok()
}

struct Simulated {
    fleet: Fleet,
    _port: PortLease,
}

impl Simulated {
    fn ailing(faults: Faults) -> Self {
        let port = PortLease::take().unwrap();
        let fleet = Fleet::single(port.port(), Settings::default()).unwrap();
        fleet.with(0, |bmc, _| bmc.faults = faults);
        Self { fleet, _port: port }
    }

    fn address(&self) -> String {
        self.fleet.address(0).to_string()
    }

    fn count(&self) -> Counters {
        self.fleet.with(0, |bmc, _| bmc.counters())
    }
}

#[tokio::test]
async fn a_password_is_set_and_proven_on_a_bmc_of_others() {
    let sim = Sim::start(true);
    let (bmcs, _told) = bmcs();
    let report = set(&bmcs, &changing(&sim.address(), PASSWORD, NEW)).await;
    assert!(report.unwrap().power_on);
    assert!(opens(&sim.address(), NEW).await && !opens(&sim.address(), PASSWORD).await);
    // This one cuts a longer one, and says that all is well.
    let fault = set(&bmcs, &changing(&sim.address(), NEW, LONG)).await;
    let fault = fault.unwrap_err();
    let said = "it has kept 16 characters of it; the old one is set again";
    assert!(fault.permanent && fault.what.contains(said), "{fault:?}");
    assert!(opens(&sim.address(), NEW).await);
}

#[tokio::test]
async fn a_password_that_an_earlier_try_has_set_is_not_set_again() {
    let sim = Simulated::ailing(Faults::default());
    let change = changing(&sim.address(), PASSWORD, NEW);
    for _ in 0..2 {
        // Another worker: it knows of no session.
        set(&bmcs().0, &change).await.unwrap();
    }
    assert_eq!(sim.count().passwords, 1);
}

/// The session was opened with the old password, and its BMC goes on answering over it.
#[tokio::test]
async fn a_session_that_has_outlived_its_password_proves_nothing() {
    let sim = Simulated::ailing(Faults::default());
    let (here, _told) = bmcs();
    let old = login(&access(&sim.address(), PASSWORD));
    let lease = here.handle(&old).await.unwrap();
    lease.bmc.chassis_status().await.unwrap();
    let change = changing(&sim.address(), PASSWORD, NEW);
    set(&bmcs().0, &change).await.unwrap();
    lease.bmc.chassis_status().await.unwrap();
    for _ in 0..2 {
        let found = match here.ask_password(&change).await.unwrap() {
            Some(Event::PasswordFound { found, .. }) => found,
            other => panic!("{other:?}"),
        };
        assert_eq!(found, Some(Candidate::Next));
        here.read_power(&change).await.unwrap();
    }
}

#[tokio::test]
async fn a_refusal_is_reported_and_the_old_password_stays() {
    let sim = Simulated::ailing(Faults {
        refuses_password: true,
        ..Faults::default()
    });
    let fault = set(&bmcs().0, &changing(&sim.address(), PASSWORD, NEW)).await;
    let fault = fault.unwrap_err();
    assert!(
        fault.permanent && fault.what.contains("it refuses the password"),
        "{fault:?}"
    );
    assert!(!fault.untold, "{fault:?}");
    assert!(opens(&sim.address(), PASSWORD).await);
}

/// It says that all is well.
#[tokio::test]
async fn a_password_that_the_bmc_cuts_is_reported_and_taken_back() {
    for (keeps, said) in [
        (
            16,
            "then refuses it: it has kept 16 characters of it; the old one is set again",
        ),
        // Over the session of before, as nobody can know what was kept.
        (10, "then refuses it; the old one is set again"),
    ] {
        let sim = Simulated::ailing(Faults {
            keeps_of_password: Some(keeps),
            ..Faults::default()
        });
        let fault = set(&bmcs().0, &changing(&sim.address(), PASSWORD, LONG)).await;
        let fault = fault.unwrap_err();
        assert!(fault.permanent && fault.what.contains(said), "{fault:?}");
        assert!(opens(&sim.address(), PASSWORD).await);
        assert_eq!(sim.count().passwords, 2);
    }
}

#[tokio::test]
async fn whoever_logs_in_while_a_change_is_open_gets_in_and_tells_which_password_is_right() {
    let sim = Simulated::ailing(Faults::default());
    let at = sim.address();
    for (change, right) in [
        (changing(&at, PASSWORD, NEW), Some(Candidate::Present)),
        (changing(&at, NEW, PASSWORD), Some(Candidate::Next)),
        (changing(&at, NEW, &format!("{PASSWORD}-and-more")), None),
    ] {
        let (bmcs, mut told) = bmcs();
        let read = bmcs.read_power(&change).await;
        match right {
            Some(_) => assert!(!read.unwrap().power_on),
            None => assert!(read.unwrap_err().what.contains("wrong password")),
        }
        let version = change.version.clone().unwrap();
        let found = Event::PasswordFound {
            version,
            found: right,
        };
        assert_eq!(told.try_recv().unwrap(), (change.node, found));
    }
    // A worker died after a BMC had cut what it was given.
    sim.fleet.with(0, |bmc, _| {
        bmc.settings.users[0].password = LONG.as_bytes()[..16].to_vec()
    });
    let (bmcs, mut told) = bmcs();
    bmcs.read_power(&changing(&at, PASSWORD, LONG))
        .await
        .unwrap();
    let (_, event) = told.try_recv().unwrap();
    let cut = Some(Candidate::NextCut);
    assert!(matches!(event, Event::PasswordFound { found, .. } if found == cut));
}

#[tokio::test]
async fn a_bmc_that_cannot_be_asked_says_nothing_about_its_password() {
    let sim = Simulated::ailing(Faults {
        table_full: true,
        ..Faults::default()
    });
    let (bmcs, mut told) = bmcs();
    let fault = bmcs
        .read_power(&changing(&sim.address(), PASSWORD, NEW))
        .await;
    assert!(!fault.unwrap_err().permanent);
    assert!(told.try_recv().is_err());
    let fault = set(&bmcs, &changing(&sim.address(), PASSWORD, NEW)).await;
    assert!(fault.unwrap_err().untold);
}

#[tokio::test]
async fn a_worker_that_may_not_act_sets_nothing() {
    let sim = Simulated::ailing(Faults::default());
    let change = changing(&sim.address(), PASSWORD, NEW);
    // It loses the node once it is logged in.
    let fence = || (sim.count().logins > 0).then_some(Halt::MayNotAct);
    let bmcs = bmcs().0;
    let act = bmcs.perform(&change, BmcAct::SetPassword, WISH, late(), &fence);
    let fault = act.await.unwrap_err();
    assert!(
        !fault.permanent && fault.what.contains("lost touch"),
        "{fault:?}"
    );
    assert!(fault.untold, "{fault:?}");
    assert_eq!(sim.count().passwords, 0);
}
