//! The operator's timeouts and limits, which every decision obeys.
//! The conductor reads them from its configuration.
use serde::{Deserialize, Serialize};

/// Each default is Ironic's where it has one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// A machine that has been silent for this long is lost; it beats at 0.3 to 0.6 of it (Ironic
    /// `ramdisk_heartbeat_timeout`).
    pub heartbeat_timeout_secs: u32,
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
    /// A reading that agrees is recorded only when the recorded one is older than this, to save writes.
    pub power_evidence_secs: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            heartbeat_timeout_secs: 300,
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
            automated_clean: true,
            soft_power_off_secs: 600,
            power_sync_secs: 120,
            power_sync_max_retries: 3,
            power_recovery_secs: 300,
            force_power_state_during_sync: true,
            power_evidence_secs: 900,
        }
    }
}
