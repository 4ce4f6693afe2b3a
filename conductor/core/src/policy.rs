//! The operator's timeouts and limits, which every decision obeys, and between which bounds they make sense.
//! The conductor reads them from its configuration.
use crate::node::{ImageSource, JobKind, RescueSystem};
use alloc::format;
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// Each default is Ironic's where it has one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// A machine that has been silent for this long is lost; it beats at 0.3 to 0.6 of it (Ironic
    /// `ramdisk_heartbeat_timeout`).
    pub heartbeat_timeout_secs: u32,
    /// How long a login of an agent lives; a live agent gets the next one in time.
    pub agent_login_secs: u32,
    /// From power-on to lookup. With [`Policy::max_boots`] it makes up Ironic's `deploy_callback_timeout` of 1800 s.
    pub boot_timeout_secs: u32,
    /// From one sign of a machine on its way to the ramdisk (an address, the boot script, the kernel) to the next; the last
    /// is the lookup, for which drivers have 90 s. Otherwise something else runs on it.
    pub boot_sign_secs: u32,
    /// How often one job boots the ramdisk before it gives up.
    pub max_boots: u32,
    /// How often one step is begun before the job gives up.
    pub max_tries: u32,
    /// The time a worker has for one act, POST excluded: power off and on again, each confirmed within 60 s
    /// (Ironic `power_state_change_timeout`), and room for retransmissions.
    pub bmc_budget_secs: u32,
    /// First pause after a BMC failure; doubled each time, up to [`Policy::bmc_backoff_cap_secs`].
    pub bmc_backoff_secs: u32,
    /// The longest pause after a BMC failure.
    pub bmc_backoff_cap_secs: u32,
    /// The most that any agent step may take.
    pub step_budget_secs: u32,
    /// A step whose progress has not changed for this long has hung, however alive its agent is.
    pub step_stall_secs: u32,
    /// How long inspection waits for LLDP; switches send every 30 s by default.
    pub lldp_wait_secs: u32,
    /// UEFI machines have Secure Boot on, unless `node set --secure-boot` says otherwise: they are given Debian's signed loaders
    /// instead of iPXE, which firmware refuses then (see dnsmasq.md).
    pub secure_boot: bool,
    /// Erase metadata on the way to `available` (Ironic `automated_clean`).
    pub automated_clean: bool,
    /// How long an operating system has to switch off (Ironic `soft_power_off_timeout`).
    pub soft_power_off_secs: u32,
    /// How often every BMC is asked for the power state; 0: never (Ironic `sync_power_state_interval`).
    pub power_sync_secs: u32,
    /// More troubles in a row than this put the node into maintenance (Ironic `power_state_sync_max_retries`).
    pub power_sync_max_retries: u32,
    /// How often a node in maintenance for its power is asked again (Ironic `power_failure_recovery_interval`); each
    /// silence doubles the interval, up to eight times this.
    pub power_recovery_secs: u32,
    /// Put right a power state that nobody ordered; otherwise record it (Ironic's option of this name).
    pub force_power_state_during_sync: bool,
    /// How many nodes deploy at once, whatever the number of workers; more wait in line. 0: any number (Ironic
    /// `max_concurrent_deploy`, where it is 250).
    pub max_concurrent_deploy: u16,
    /// How many nodes are cleaned at once; more wait in line. 0: any number (Ironic `max_concurrent_clean`, where it is
    /// 50).
    pub max_concurrent_clean: u16,
    /// What becomes of other disks that firmware may boot, or whose ids and labels the new system may find, instead of the
    /// deployed disk. `warn`: the node says so. `refuse`: the deploy fails. `neutralise`: they are made harmless, but for boot
    /// code in the first sector, unless cleaning would leave them alone (see operator.md).
    pub disk_collisions: OnCollision,
    /// What becomes of a ramdisk whose firmware did not measure the kernel and the ramdisk that workers serve, or measured something
    /// unknown beside them, as its agent says (see security.md). `off`: nobody looks. `report`: `node show` and `node explain` say it. `require`: it gets none of its
    /// node's steps, and `explain` says why; so no machine without a TPM 2.0 gets any.
    pub measured_boot: OnMeasurement,
    /// Have each deployed instance say once that it runs, unless its deploy says otherwise: by cloud-init's `phone_home`,
    /// against a worker (see operator.md).
    pub confirm_instances: bool,
    /// Take passwords, user data and network data of requests that nobody has sealed, and warn of them. The command line
    /// seals them.
    pub accept_plain_secrets: bool,
    /// The archive of `cargo xtask image --rescue` in the workers' image directories, or its URL: `node rescue` needs it (see operator.md).
    pub rescue_image: String,
    /// Its checksum, `sha256:…`, as that command prints it.
    pub rescue_checksum: String,
    /// A reading that agrees is recorded only when the recorded one is older than this, to save writes.
    pub power_evidence_secs: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            heartbeat_timeout_secs: 300,
            agent_login_secs: 14_400,
            boot_timeout_secs: 900,
            boot_sign_secs: 300,
            max_boots: 2,
            max_tries: 5,
            bmc_budget_secs: 180,
            bmc_backoff_secs: 2,
            bmc_backoff_cap_secs: 60,
            step_budget_secs: 7200,
            step_stall_secs: 600,
            lldp_wait_secs: 32,
            secure_boot: false,
            automated_clean: true,
            soft_power_off_secs: 600,
            power_sync_secs: 120,
            power_sync_max_retries: 3,
            power_recovery_secs: 300,
            force_power_state_during_sync: true,
            max_concurrent_deploy: 0,
            max_concurrent_clean: 0,
            disk_collisions: OnCollision::Warn,
            measured_boot: OnMeasurement::Report,
            confirm_instances: false,
            accept_plain_secrets: true,
            rescue_image: String::new(),
            rescue_checksum: String::new(),
            power_evidence_secs: 900,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(rename_all = "snake_case")]
pub enum OnCollision {
    Warn,
    Refuse,
    Neutralise,
}

/// What becomes of a ramdisk whose measurements are not those of what is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(rename_all = "snake_case")]
pub enum OnMeasurement {
    Off,
    Report,
    Require,
}

const HOUR: u32 = 3600;
const DAY: u32 = 24 * HOUR;
const WEEK: u32 = 7 * DAY;

impl Policy {
    /// How many jobs of a kind run at once; none: any number.
    pub fn max_concurrent(&self, kind: JobKind) -> Option<u16> {
        let max = match kind {
            JobKind::Deploy => self.max_concurrent_deploy,
            JobKind::Clean | JobKind::ManualClean => self.max_concurrent_clean,
            JobKind::Verify
            | JobKind::Inspect
            | JobKind::Adopt
            | JobKind::Delete
            | JobKind::Service
            | JobKind::Rescue
            | JobKind::Unrescue
            | JobKind::Bmc => 0,
        };
        (max > 0).then_some(max)
    }

    /// # Errors
    /// An option that makes no sense, by name, and its bounds.
    pub fn check(&self) -> Result<(), String> {
        // Without `..`: an option that is new gets its bounds here.
        let Policy {
            heartbeat_timeout_secs,
            agent_login_secs,
            boot_timeout_secs,
            boot_sign_secs,
            max_boots,
            max_tries,
            bmc_budget_secs,
            bmc_backoff_secs,
            bmc_backoff_cap_secs,
            step_budget_secs,
            step_stall_secs,
            lldp_wait_secs,
            secure_boot: _,
            automated_clean: _,
            soft_power_off_secs,
            power_sync_secs,
            power_sync_max_retries,
            power_recovery_secs,
            force_power_state_during_sync: _,
            power_evidence_secs,
            max_concurrent_deploy: _,
            max_concurrent_clean: _,
            disk_collisions: _,
            measured_boot: _,
            confirm_instances: _,
            accept_plain_secrets: _,
            rescue_image: _,
            rescue_checksum: _,
        } = *self;
        for (name, value, least, most) in [
            // A beat takes seconds when servers elect a leader; the last one is kept for a day.
            (
                "heartbeat_timeout_secs",
                heartbeat_timeout_secs,
                10,
                12 * HOUR,
            ),
            // A renewal is tried for a fifth of it.
            ("agent_login_secs", agent_login_secs, 60, WEEK),
            // Shorter than the POST of any machine; longer than anybody waits.
            ("boot_timeout_secs", boot_timeout_secs, 30, DAY),
            // Drivers alone may take 90 s.
            ("boot_sign_secs", boot_sign_secs, 10, DAY),
            ("max_boots", max_boots, 1, 100),
            ("max_tries", max_tries, 1, 100),
            // Five seconds of it are kept back, and a login takes some.
            ("bmc_budget_secs", bmc_budget_secs, 20, HOUR),
            (
                "bmc_backoff_secs",
                bmc_backoff_secs,
                0,
                bmc_backoff_cap_secs,
            ),
            ("bmc_backoff_cap_secs", bmc_backoff_cap_secs, 0, DAY),
            ("step_budget_secs", step_budget_secs, 60, WEEK),
            ("step_stall_secs", step_stall_secs, 30, step_budget_secs),
            ("lldp_wait_secs", lldp_wait_secs, 0, HOUR),
            ("soft_power_off_secs", soft_power_off_secs, 1, DAY),
            ("power_sync_secs", power_sync_secs, 0, DAY),
            ("power_sync_max_retries", power_sync_max_retries, 0, 1000),
            ("power_recovery_secs", power_recovery_secs, 1, WEEK),
            ("power_evidence_secs", power_evidence_secs, 0, WEEK),
        ] {
            if value < least || value > most {
                return Err(format!(
                    "policy.{name} = {value}: it must be between {least} and {most}"
                ));
            }
        }
        match (self.rescue_image.as_str(), self.rescue_checksum.as_str()) {
            ("", "") => Ok(()),
            _ => self.rescue_system().map(drop),
        }
    }

    /// Where rescue systems come from.
    ///
    /// # Errors
    /// The options do not say it, or make no sense; by name.
    pub fn rescue_system(&self) -> Result<RescueSystem, String> {
        if self.rescue_image.is_empty() {
            return Err(
                "no rescue system is configured: policy.rescue_image and policy.rescue_checksum of the workers name the archive \
                 that `cargo xtask image --rescue` makes"
                    .into(),
            );
        }
        let source: ImageSource = self
            .rescue_image
            .parse()
            .map_err(|bad| format!("policy.rescue_image: {bad}"))?;
        // The record names it, and a query may be a signature.
        if source != source.without_query() {
            return Err(format!(
                "policy.rescue_image = {source}: it cannot have a query"
            ));
        }
        let checksum = self.rescue_checksum.parse();
        let checksum = checksum.map_err(|bad| format!("policy.rescue_checksum: {bad}"))?;
        Ok(RescueSystem { source, checksum })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_refused_by_name_with_its_bounds() {
        assert_eq!(Policy::default().check(), Ok(()));
        let check = |change: &dyn Fn(&mut Policy), expected: &str| {
            let mut policy = Policy::default();
            change(&mut policy);
            assert_eq!(policy.check().unwrap_err(), expected);
        };
        check(
            &|policy| policy.max_tries = 0,
            "policy.max_tries = 0: it must be between 1 and 100",
        );
        check(
            &|policy| policy.heartbeat_timeout_secs = 1,
            "policy.heartbeat_timeout_secs = 1: it must be between 10 and 43200",
        );
        check(
            &|policy| policy.bmc_backoff_secs = 61,
            "policy.bmc_backoff_secs = 61: it must be between 0 and 60",
        );
        check(
            &|policy| policy.step_stall_secs = 7201,
            "policy.step_stall_secs = 7201: it must be between 30 and 7200",
        );
        let half = "policy.rescue_checksum: \"\" is not a checksum";
        let mut policy = Policy {
            rescue_image: "rescue.cpio.zst".into(),
            ..Policy::default()
        };
        let error = policy.check().unwrap_err();
        assert!(error.starts_with(half), "{error}");
        policy.rescue_checksum = alloc::format!("sha256:{}", "0".repeat(64));
        assert_eq!(policy.check(), Ok(()));
        policy.rescue_image = "http://h/rescue?sig=hush".into();
        let error = policy.check().unwrap_err();
        assert!(
            error.ends_with("it cannot have a query") && !error.contains("hush"),
            "{error}"
        );
    }
}
