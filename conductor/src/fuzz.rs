//! Entrances to the worker's readers of foreign bytes, for `ironbeat-fuzz`. Nothing that ships calls them.
//! Each says whether the bytes were understood; what must hold for whatever was understood is asserted here.
pub use crate::front::fuzz as front;
pub use crate::netboot::dnsmasq::fuzz as dnsmasq;
pub use crate::netboot::http::fuzz as http;
pub use crate::records::fuzz as records;

use crate::config::Config;
use crate::measured::{authenticode, compare, event_log};
use crate::netboot::script::{Facts, Workers, check_command_line, script_for};
use crate::secrets::{DataKey, Envelope, MasterKeys, Wrapped};
use ironbeat_common::image::Digest;
use ironbeat_common::inventory::Inventory;
use ironbeat_common::measured::{EventLog, Measurements, PCRS, Pcr};
use ironbeat_core::boot::Boot;
use ironbeat_core::node::MeasuredBoot;
use ironbeat_core::rules::{RuleSpec, Scope, apply, nobody, trial};
use ironbeat_ops::sealed::SealedText;
use serde::Deserialize;
use std::sync::LazyLock;

/// A worker's configuration.
pub fn config(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| Config::parse(text).is_ok())
}

/// A file of master keys.
pub fn master_keys(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    MasterKeys::parse(text).is_ok_and(|keys| {
        assert!(
            keys.first()
                .is_some_and(|key| keys.ids().contains(&key.id().into()))
        );
        true
    })
}

/// An inspection rule, and a machine that it meets.
pub fn rule(bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Meeting {
        rule: RuleSpec,
        inventory: Inventory,
    }
    let Ok(Meeting { rule, inventory }) = serde_json::from_slice(bytes) else {
        return false;
    };
    if rule.check().is_err() {
        return false;
    }
    let tried = trial(&rule, &inventory, &nobody());
    let scope = rule.scope.unwrap_or(Scope::Inspection);
    let applied = apply(&[rule], scope, &inventory, &nobody());
    match (&tried.outcome, &applied) {
        (Some(tried), applied) => assert_eq!(tried, applied, "a trial says what will be"),
        (None, Ok(outcome)) => assert!(outcome.applied.is_empty(), "it does not apply"),
        (None, Err(_)) => {}
    }
    true
}

/// Where the sealed documents of these targets lie.
const AT: &str = "bmc_secrets.17.x.w-1";
/// A line of a key file. The keys are for these targets, and everybody has them.
pub const MASTER: &str = "ironbeat-master-key:AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=";
/// The bytes of the data key that [`WRAPPED`] is.
pub const KEY: [u8; 32] = [5; 32];
pub const WRAPPED: &str = r#"{"master":"9136c56f57317409","nonce":"AQEBAQEBAQEBAQEB","sealed":"Z1OEjTD0A9AuL7B5h2q/aWh16e5S5aFg0EO0Wb1S/nGMdVidgAcuqK1QtQLZupVo"}"#;
/// A password, sealed with it.
pub const SEALED: &str = r#"{"key":"k1","nonce":"AgICAgICAgICAgIC","sealed":"7CqRdJfytAPnJcp/A8KgD7Mx2kHIkI5TboeXWoYD6mreisJAlbFXXsF/GDYPKixncNN0B5dslmpkWElz/Sp/LrqfjOp+3B9tYNXDkxuxJms="}"#;

static MASTERS: LazyLock<MasterKeys> =
    LazyLock::new(|| MasterKeys::parse(MASTER).expect("it is a key"));
static DATA_KEY: LazyLock<DataKey> = LazyLock::new(|| {
    let wrapped: Wrapped = serde_json::from_str(WRAPPED).expect("it is one");
    DataKey::unwrap("k1", &wrapped, &MASTERS).expect("it was wrapped so")
});

/// A sealed document, or a wrapped key.
pub fn envelope(bytes: &[u8]) -> bool {
    let envelope = Envelope::read(bytes).ok().flatten();
    let opened = envelope.is_some_and(|envelope| DATA_KEY.open(AT, &envelope).is_ok());
    let wrapped: Option<Wrapped> = serde_json::from_slice(bytes).ok();
    let unwrapped = wrapped.is_some_and(|it| DataKey::unwrap("k1", &it, &MASTERS).is_ok());
    opened || unwrapped
}

/// A secret that was sealed on its way, to [`KEY`].
pub fn letter(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let sealed: Result<SealedText, ()> = text.parse();
    sealed.is_ok_and(|sealed| DATA_KEY.open_letter(&sealed).is_some())
}

/// The event log of a TPM, and what is made of it.
pub fn event_log(bytes: &[u8]) -> bool {
    let Ok(events) = event_log::parse(bytes) else {
        return false;
    };
    assert!(events.iter().all(|event| event.data.len() <= bytes.len()));
    let pcr = |index| Pcr {
        index,
        sha256: Digest(event_log::replay(&events, index)),
    };
    let measurements = Measurements {
        pcrs: PCRS.into_iter().map(pcr).collect(),
        log: EventLog::Read(bytes.to_vec()),
    };
    let compared = compare(&measurements, &[], &[]);
    let is_compared = matches!(&compared, MeasuredBoot::Compared { .. });
    assert!(is_compared, "a log contradicts itself: {compared}");
    true
}

/// A kernel that is served.
pub fn program(bytes: &[u8]) -> bool {
    authenticode::sha256(bytes).is_some()
}

/// What goes into a boot script: kernel arguments as they are configured.
pub fn boot_script(bytes: &[u8]) -> bool {
    let lines = |kernel_args: &str| {
        let facts = Facts {
            workers: Workers {
                plain: vec!["http://w1:8081".into()],
                boot: vec!["https://w1:8443".into()],
            },
            nats: vec!["nats://n1:4222".into()],
            prefix: "ib.v1".into(),
            kernel_args: kernel_args.into(),
            ..Facts::default()
        };
        let fits = check_command_line(&facts).is_ok();
        (script_for(Boot::Ramdisk, &facts).lines().count(), fits)
    };
    let (plain, (lines, fits)) = (lines("").0, lines(&String::from_utf8_lossy(bytes)));
    assert_eq!(lines, plain, "an argument became a line");
    fits
}
