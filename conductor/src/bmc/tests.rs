//! Each act against a BMC that somebody else wrote, and against BMCs that are dead, deaf, lying or mad.
//! Bytes on the wire are judged in `ironbeat-ipmi`.
use super::*;
use ironbeat_core::decide::Accepted;
use ironbeat_core::node::{CipherSuite, Secret};
use ironbeat_rack::lone_bmc::{PASSWORD, Sim};
use std::net::UdpSocket;

pub(super) const WISH: BootWish = BootWish {
    mode: BootMode::Bios,
};

/// The simulator may still be starting, and the machine may be busy.
pub(super) fn patient() -> Timing {
    Timing {
        first_timeout: Duration::from_millis(300),
        tries: 12,
        ..Timing::default()
    }
}

pub(super) fn quick() -> Patience {
    Patience {
        confirm: Duration::from_secs(60),
        look_first: Duration::from_millis(1),
        look_last: Duration::from_millis(5),
        repeat: Duration::from_millis(20),
        cycle: Duration::from_millis(5),
        restart: Duration::from_secs(60),
        goes_down: Duration::ZERO,
    }
}

fn bmcs() -> Bmcs {
    with(patient(), quick())
}

fn with(timing: Timing, patience: Patience) -> Bmcs {
    Bmcs::with(timing, patience, mpsc::channel(1).0)
}

/// As the record of some node has it.
pub(super) fn login(access: &BmcAccess) -> BmcLogin {
    let (endpoint, secrets) = access.clone().split();
    BmcLogin {
        node: NodeId::from_bytes([1; 16]),
        version: Some("w1-1".parse().unwrap()),
        endpoint,
        secrets,
    }
}

pub(super) fn late() -> Instant {
    Instant::now() + Duration::from_secs(600)
}

/// How a worker reaches it.
trait Reached {
    fn access_as(&self, user: &str, password: &str, suite: Option<CipherSuite>) -> BmcAccess;

    fn access(&self) -> BmcAccess {
        self.access_as("admin", PASSWORD, None)
    }
}

impl Reached for Sim {
    fn access_as(&self, user: &str, password: &str, suite: Option<CipherSuite>) -> BmcAccess {
        BmcAccess::Ipmi {
            address: self.address().parse().unwrap(),
            username: user.into(),
            password: Secret::new(password),
            cipher_suite: suite,
            kg: None,
            ipmi_1_5: false,
        }
    }
}

async fn perform(bmcs: &Bmcs, access: &BmcAccess, act: BmcAct) -> Result<BmcReport, BmcFault> {
    let login = login(access);
    let result = bmcs.perform(&login, act, WISH, late(), &|| None).await;
    if let Err(fault) = &result {
        assert!(!fault.what.contains(PASSWORD), "{fault:?}");
        assert!(
            fault.what.contains(&access.address().to_string()),
            "{fault:?}"
        );
    }
    result
}

#[tokio::test]
async fn every_act_does_what_it_says_and_no_more() {
    for (act, on, told, on_after) in [
        (BmcAct::Check, false, &[][..], false),
        (BmcAct::Check, true, &[], true),
        (
            BmcAct::Netboot,
            true,
            &["power 0", "boot pxe", "power 1"],
            true,
        ),
        (BmcAct::Netboot, false, &["boot pxe", "power 1"], true),
        (BmcAct::EnsureOn, false, &["power 1"], true),
        (BmcAct::EnsureOn, true, &[], true),
        (BmcAct::BootDisk, false, &["boot default", "power 1"], true),
        // Done again: the report of the first time was lost.
        (BmcAct::BootDisk, true, &["boot default"], true),
        (leave(1), true, &["power 0"], false),
        (leave(60), false, &[], false),
        (BmcAct::PowerOff, true, &["power 0"], false),
        (BmcAct::PowerOff, false, &[], false),
    ] {
        let (sim, bmcs) = (Sim::start(on), bmcs());
        let report = perform(&bmcs, &sim.access(), act).await.unwrap();
        assert_eq!(report.power_on, on_after, "{act:?}");
        assert_eq!(
            (sim.commands(), sim.is_on()),
            (owned(told), on_after),
            "{act:?}"
        );
        bmcs.close().await;
        // The handles are gone, not the ability.
        let report = perform(&bmcs, &sim.access(), BmcAct::Check).await;
        assert_eq!(report.unwrap().power_on, on_after, "{act:?}");
    }
}

fn leave(patience_secs: u32) -> BmcAct {
    BmcAct::LeaveRamdisk { patience_secs }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| word.to_string()).collect()
}

#[tokio::test]
async fn a_slow_machine_gets_time_and_a_deaf_bmc_a_second_command() {
    let bmcs = bmcs();
    let sim = Sim::start(true);
    sim.write("late", "7");
    let report = perform(&bmcs, &sim.access(), BmcAct::PowerOff).await;
    assert!(!report.unwrap().power_on && !sim.is_on());
    sim.write("deaf", "2");
    let report = perform(&bmcs, &sim.access(), BmcAct::EnsureOn).await;
    assert!(report.unwrap().power_on && sim.is_on());
    assert_eq!(sim.commands(), owned(&["power 0", "power 1"]));
}

#[tokio::test]
async fn a_machine_that_never_obeys_is_reported() {
    let patience = Patience {
        confirm: Duration::from_millis(100),
        ..quick()
    };
    let (sim, bmcs) = (Sim::start(true), with(patient(), patience));
    sim.write("deaf", "1000000");
    let fault = perform(&bmcs, &sim.access(), BmcAct::Netboot).await;
    let fault = fault.unwrap_err();
    let said = "power off: it does not report off";
    assert!(!fault.permanent && fault.what.contains(said), "{fault:?}");
    // The steps after the power-off were left alone.
    assert_eq!(sim.commands(), owned(&["power 0"]));
}

#[tokio::test]
async fn refusals_are_permanent_and_each_says_why() {
    let (sim, bmcs) = (Sim::start(false), bmcs());
    for (access, why) in [
        (
            sim.access_as("admin", "hush", None),
            "wrong password for user \"admin\"",
        ),
        (
            sim.access_as("nobody", PASSWORD, None),
            "knows no user \"nobody\"",
        ),
        (
            sim.access_as("admin", PASSWORD, Some(CipherSuite::Seventeen)),
            "none of the cipher suites 17",
        ),
    ] {
        let fault = perform(&bmcs, &access, BmcAct::Netboot).await.unwrap_err();
        assert!(
            fault.permanent && fault.what.contains(why),
            "{why}: {fault:?}"
        );
        assert!(!fault.what.contains("hush"), "{fault:?}");
    }
    assert_eq!(sim.commands(), owned(&[]));
    // New credentials take the place of the old ones.
    perform(&bmcs, &sim.access(), BmcAct::Check).await.unwrap();
    assert_eq!(bmcs.lock().len(), 1);
}

#[tokio::test]
async fn an_act_stops_when_its_permit_ends() {
    let (sim, bmcs) = (Sim::start(true), bmcs());
    let fault = bmcs
        .perform(
            &login(&sim.access()),
            BmcAct::Netboot,
            WISH,
            late(),
            &|| Some(Halt::MayNotAct),
        )
        .await
        .unwrap_err();
    assert!(fault.what.contains("lost touch"), "{fault:?}");
    let fault = bmcs
        .perform(
            &login(&sim.access()),
            BmcAct::Netboot,
            WISH,
            Instant::now(),
            &|| None,
        )
        .await
        .unwrap_err();
    assert!(
        !fault.let_go && fault.what.contains("time for this act is over"),
        "{fault:?}"
    );
    assert_eq!(sim.commands(), owned(&[]));
    // Between two commands: the machine is off, and a worker that lost the node does not boot it.
    let fence = || (!sim.commands().is_empty()).then_some(Halt::MayNotAct);
    let fault = bmcs
        .perform(&login(&sim.access()), BmcAct::Netboot, WISH, late(), &fence)
        .await
        .unwrap_err();
    assert!(
        !fault.permanent
            && fault.let_go
            && fault.what.contains("lost touch")
            && fault.what.contains(&sim.address()),
        "{fault:?}"
    );
    assert_eq!(sim.commands(), owned(&["power 0"]));
}

/// The fence comes down while the client waits for a dead BMC, and cuts its patience short.
#[tokio::test]
async fn an_act_stops_in_the_middle_of_a_command() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let endless = Timing {
        tries: 1_000_000,
        ..Timing::default()
    };
    let bmcs = with(endless, Patience::default());
    let access = access(silent.local_addr().unwrap());
    let fence = || {
        silent.set_nonblocking(true).unwrap();
        silent.recv(&mut [0; 512]).ok().map(|_| Halt::MayNotAct)
    };
    let fault = bmcs
        .perform(&login(&access), BmcAct::EnsureOn, WISH, late(), &fence)
        .await
        .unwrap_err();
    let said = "read the power state: stopped, because this worker stops, lost touch";
    assert!(fault.what.contains(said), "{fault:?}");
    let soon = Instant::now() + Duration::from_millis(300);
    let fault = bmcs
        .perform(&login(&access), BmcAct::Check, WISH, soon, &|| None)
        .await
        .unwrap_err();
    let said = "ask for the device id: stopped, because the time";
    assert!(!fault.permanent && fault.what.contains(said), "{fault:?}");
}

fn access(address: std::net::SocketAddr) -> BmcAccess {
    BmcAccess::Ipmi {
        address: address.into(),
        username: "admin".into(),
        password: Secret::new(PASSWORD),
        cipher_suite: None,
        kg: None,
        ipmi_1_5: false,
    }
}

fn hasty() -> Timing {
    Timing {
        first_timeout: Duration::from_millis(20),
        min_timeout: Duration::from_millis(20),
        max_timeout: Duration::from_millis(40),
        tries: 3,
        ..Timing::default()
    }
}

#[tokio::test]
async fn a_dead_bmc_is_worth_another_try_and_is_used_when_it_returns() {
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
    let bmcs = with(hasty(), quick());
    let access = access(nobody.local_addr().unwrap());
    let fault = perform(&bmcs, &access, BmcAct::Check).await.unwrap_err();
    assert!(
        !fault.permanent && fault.what.contains("no answer"),
        "{fault:?}"
    );

    let mut sim = Sim::start(false);
    while perform(&bmcs, &sim.access(), BmcAct::Check).await.is_err() {}
    sim.kill();
    let fault = perform(&bmcs, &sim.access(), BmcAct::Netboot).await;
    let fault = fault.unwrap_err();
    assert!(
        !fault.permanent && fault.what.contains("no answer"),
        "{fault:?}"
    );
}

/// Answers each datagram with noise, or with the request itself, damaged.
#[tokio::test]
async fn a_mad_bmc_is_only_a_fault() {
    #[expect(
        clippy::disallowed_methods,
        reason = "a new seed for each run; it is printed"
    )]
    let seed = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .subsec_nanos();
    println!("seed {seed}");
    let mut state = u64::from(seed) | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    let mad = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = mad.local_addr().unwrap();
    let rave = tokio::spawn(async move {
        let mut buffer = [0; 2000];
        while let Ok((length, from)) = mad.recv_from(&mut buffer).await {
            for _ in 0..8 {
                let mut answer = buffer[..length].to_vec();
                match random() % 4 {
                    0 => answer.iter_mut().for_each(|byte| *byte = random()),
                    1 => answer.truncate(usize::from(random()) % (length + 1)),
                    2 => answer.extend((0..random()).map(|n| n ^ 0x5a)),
                    _ => {}
                }
                // Makes a request for a session an answer to one, with noise in it.
                if let Some(kind) = answer.get_mut(5) {
                    *kind = kind.wrapping_add(random() % 2);
                }
                for _ in 0..random() % 4 {
                    let at = usize::from(random()) % answer.len().max(1);
                    if let Some(byte) = answer.get_mut(at) {
                        *byte = random();
                    }
                }
                let _ = mad.send_to(&answer, from).await;
            }
        }
    });
    let bmcs = with(hasty(), quick());
    for act in [BmcAct::Check, BmcAct::Netboot, BmcAct::PowerOff].repeat(20) {
        let result = perform(&bmcs, &access(address), act).await;
        assert!(result.is_err(), "{act:?}: {result:?}");
    }
    rave.abort();
    assert!(rave.await.unwrap_err().is_cancelled());
}

#[tokio::test]
async fn handles_are_bounded() {
    let bmcs = with(hasty(), quick());
    for n in 0..MAX_HANDLES + 10 {
        let [_, a, b, c] = u32::try_from(n).unwrap().to_be_bytes();
        let access = access(([127, a, b, c], 623).into());
        bmcs.handle(&login(&access)).await.unwrap();
    }
    assert_eq!(bmcs.lock().len(), MAX_HANDLES);
    assert!(!bmcs.lock().contains_key(&"127.0.0.0".parse().unwrap()));
}

mod simulated {
    //! Acts that a chassis script cannot play: a BMC with its own idea of time, and of what it heard.
    use super::*;
    use ironbeat_bmc_sim::{BootFlags, Counters, Faults, Fleet, PowerFault, Settings};
    use ironbeat_core::node::BootDevice;
    use ironbeat_rack::ports::PortLease;

    struct Simulated {
        fleet: Fleet,
        _port: PortLease,
    }

    fn start(settings: Settings) -> Simulated {
        let port = PortLease::take().unwrap();
        let fleet = Fleet::single(port.port(), settings).unwrap();
        Simulated { fleet, _port: port }
    }

    fn machine(powered_on: bool) -> Simulated {
        start(Settings {
            powered_on,
            ..Settings::default()
        })
    }

    impl Simulated {
        fn access(&self) -> BmcAccess {
            access_to(&self.fleet.address(0).to_string())
        }

        /// Down, up, cycle, reset, diag, soft.
        fn commands(&self) -> [u64; 6] {
            self.count().control
        }

        fn count(&self) -> Counters {
            self.fleet.with(0, |bmc, _| bmc.counters())
        }

        fn ails(&self, change: impl FnOnce(&mut Faults)) {
            self.fleet.with(0, |bmc, _| change(&mut bmc.faults));
        }
    }

    fn access_to(address: &str) -> BmcAccess {
        BmcAccess::Ipmi {
            address: address.parse().unwrap(),
            username: "admin".into(),
            password: Secret::new(PASSWORD),
            cipher_suite: None,
            kg: None,
            ipmi_1_5: false,
        }
    }

    /// A BMC is given up after two seconds: this machine may be busy.
    fn steady() -> Timing {
        Timing {
            first_timeout: Duration::from_millis(100),
            max_timeout: Duration::from_millis(100),
            tries: 20,
            ..Timing::default()
        }
    }

    /// Waits for something that nothing announces.
    async fn until(mut holds: impl FnMut() -> bool) {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn a_once_only_act_is_done_once_and_only_while_the_machine_is_on() {
        for (act, told) in [
            (BmcAct::Cycle, [0, 0, 1, 0, 0, 0]),
            (BmcAct::Reset, [0, 0, 0, 1, 0, 0]),
            (BmcAct::Diag, [0, 0, 0, 0, 1, 0]),
        ] {
            let (sim, bmcs) = (machine(true), bmcs());
            let report = perform(&bmcs, &sim.access(), act).await.unwrap();
            assert!(report.power_on, "{act:?}");
            assert_eq!(sim.commands(), told, "{act:?}");

            let sim = machine(false);
            let fault = perform(&bmcs, &sim.access(), act).await.unwrap_err();
            assert!(fault.permanent && fault.what.contains("the machine is off"));
            assert_eq!(sim.commands(), [0; 6], "{act:?}");
        }
    }

    #[tokio::test]
    async fn a_soft_power_off_works_or_is_forced_or_fails() {
        let soft = |then_hard| BmcAct::SoftOff {
            patience_secs: 1,
            then_hard,
        };
        let (sim, bmcs) = (machine(true), bmcs());
        let report = perform(&bmcs, &sim.access(), soft(false)).await;
        assert!(!report.unwrap().power_on);
        assert_eq!(sim.commands(), [0, 0, 0, 0, 0, 1]);

        let deaf = machine(true);
        deaf.fleet
            .with(0, |bmc, _| bmc.faults.power = PowerFault::IgnoresSoft);
        let fault = perform(&bmcs, &deaf.access(), soft(false))
            .await
            .unwrap_err();
        let said = "asked to switch off, and still runs after 1 s";
        assert!(fault.permanent && fault.what.contains(said), "{fault:?}");
        let report = perform(&bmcs, &deaf.access(), soft(true)).await.unwrap();
        assert!(!report.power_on);
        assert_eq!(deaf.commands(), [1, 0, 0, 0, 0, 2]);
    }

    #[tokio::test]
    async fn a_bmc_restarts_once_and_gets_time_to_answer() {
        let (sim, bmcs) = (machine(true), bmcs());
        let report = perform(&bmcs, &sim.access(), BmcAct::ResetBmc)
            .await
            .unwrap();
        // It answers, so it is up again, and the machine went on.
        assert!(report.power_on);
        assert_eq!((sim.count().restarts, sim.commands()), (1, [0; 6]));

        let never = start(Settings {
            restart: Duration::from_secs(3600),
            ..Settings::default()
        });
        let patience = Patience {
            restart: Duration::from_millis(100),
            ..quick()
        };
        let bmcs = with(steady(), patience);
        let fault = perform(&bmcs, &never.access(), BmcAct::ResetBmc)
            .await
            .unwrap_err();
        let said = "restart: it does not answer after";
        assert!(!fault.permanent && fault.what.contains(said), "{fault:?}");
        assert_eq!(never.count().restarts, 1);
    }

    /// It was told to restart, says that it will, and goes on for a while as if nothing were.
    #[tokio::test]
    async fn a_bmc_that_shuts_down_slowly_has_restarted_when_it_was_silent() {
        let patience = Patience {
            goes_down: Duration::from_secs(3600),
            ..quick()
        };
        let (sim, bmcs) = (machine(true), with(steady(), patience));
        sim.ails(|faults| faults.restarts_late = true);
        let access = sim.access();
        let mut act = std::pin::pin!(perform(&bmcs, &access, BmcAct::ResetBmc));
        tokio::select! {
            early = &mut act => panic!("an answer from before it went down counts: {early:?}"),
            () = until(|| sim.count().power_reads >= 2) => {}
        }
        sim.ails(|faults| faults.silent = true);
        let before = sim.count();
        // More than anybody sends who still hopes for an answer to one question.
        let asked_in_vain = before.datagrams + 60;
        tokio::select! {
            early = &mut act => panic!("it does not answer: {early:?}"),
            () = until(|| sim.count().datagrams > asked_in_vain) => {}
        }
        sim.ails(|faults| faults.silent = false);
        assert!(act.await.unwrap().power_on);
        assert_eq!((sim.count().restarts, sim.commands()), (1, [0; 6]));
    }

    /// Some never fall silent for long enough to be seen.
    #[tokio::test]
    async fn a_bmc_that_goes_on_answering_counts_as_restarted_in_the_end() {
        let patience = Patience {
            goes_down: Duration::from_millis(20),
            ..quick()
        };
        let (sim, bmcs) = (machine(true), with(steady(), patience));
        sim.ails(|faults| faults.restarts_late = true);
        let report = perform(&bmcs, &sim.access(), BmcAct::ResetBmc).await;
        assert!(report.unwrap().power_on);
        assert_eq!(sim.count().restarts, 1);
    }

    #[tokio::test]
    async fn a_boot_device_is_set_without_touching_the_power() {
        let (sim, bmcs) = (machine(true), bmcs());
        let act = BmcAct::SetBootDevice {
            device: BootDevice::Bios,
            persistent: true,
        };
        let report = perform(&bmcs, &sim.access(), act).await.unwrap();
        assert!(report.power_on);
        let lease = bmcs.handle(&login(&sim.access())).await.unwrap();
        let flags = lease.bmc.boot_flags().await.unwrap();
        assert_eq!(flags.device, Some(ironbeat_ipmi::BootDevice::Bios));
        assert!(flags.flags.persistent);
        assert_eq!(sim.commands(), [0; 6]);
    }

    /// A ramdisk that dies, or a kernel that is loaded in part, starts the machine again, and nobody sets the boot device.
    #[tokio::test]
    async fn a_machine_boots_from_the_network_at_each_start_until_it_is_told_to_boot_its_disk() {
        const PXE: u8 = 1;
        const DISK: u8 = 2;
        let (sim, bmcs) = (machine(false), bmcs());
        let starts = || {
            let starts = sim.fleet.with(0, |bmc, now| bmc.starts(now));
            let device = |flags: BootFlags| flags.is_valid().then(|| flags.device());
            starts.into_iter().map(device).collect::<Vec<_>>()
        };
        let mut expected = vec![];
        for (boots, device) in [(BmcAct::Netboot, PXE), (BmcAct::BootDisk, DISK)] {
            perform(&bmcs, &sim.access(), BmcAct::PowerOff)
                .await
                .unwrap();
            for act in [boots, BmcAct::Reset, BmcAct::Reset] {
                perform(&bmcs, &sim.access(), act).await.unwrap();
                expected.push(Some(device));
                until(|| starts().len() >= expected.len()).await;
                assert_eq!(starts(), expected, "{act:?}");
            }
        }
    }

    /// The BMC accepts the command and dies: only the command is known.
    #[tokio::test]
    async fn a_command_without_a_witness_is_reported_as_one() {
        let patience = Patience {
            confirm: Duration::from_millis(200),
            look_first: Duration::from_millis(100),
            ..quick()
        };
        let (sim, bmcs) = (machine(false), with(steady(), patience));
        sim.ails(|faults| faults.power = PowerFault::Ignores);
        let access = sim.access();
        let silence = async {
            until(|| sim.commands()[1] > 0).await;
            sim.ails(|faults| faults.silent = true);
            std::future::pending::<()>().await
        };
        let fault = tokio::select! {
            result = perform(&bmcs, &access, BmcAct::EnsureOn) => result.unwrap_err(),
            () = silence => unreachable!("it is silent for ever"),
        };
        assert_eq!(fault.accepted, Some(Accepted::PowerOn), "{fault:?}");
    }

    #[tokio::test]
    async fn an_unused_session_is_given_back() {
        let (sim, bmcs) = (machine(true), bmcs());
        let sessions = || sim.fleet.with(0, |bmc, _| bmc.active_sessions());
        let lease = bmcs.handle(&login(&sim.access())).await.unwrap();
        lease.bmc.chassis_status().await.unwrap();
        assert_eq!(sessions(), 1);
        let idle = |bmcs: &Bmcs| {
            for handle in bmcs.lock().values_mut() {
                handle.used = Instant::now().checked_sub(IDLE).unwrap();
            }
        };
        idle(&bmcs);
        bmcs.close_idle().await;
        assert_eq!(sessions(), 1, "somebody still has it");
        drop(lease);
        idle(&bmcs);
        bmcs.close_idle().await;
        assert_eq!(sessions(), 0);
        assert!(
            bmcs.read_power(&login(&sim.access()))
                .await
                .unwrap()
                .power_on
        );
        assert_eq!(sessions(), 1);
    }
}
