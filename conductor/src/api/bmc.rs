//! What operators ask of a BMC without changing a node: is it well, what does it say of itself, of its sensors and logs.
//! How bytes travel is `ironbeat_ipmi`'s affair; what is wrong, in words, is `check`'s.
use super::{ApiError, fail, load};
use crate::worker::Worker;
use ironbeat_core::node::BmcAccess;
use ironbeat_ipmi::{Bmc, BmcReset, Error, SelEvent, SelTime};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A node's BMC, or one that no node has yet.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskBmc {
    /// Id or name of a node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// For `bmc.check`: how to reach it, before anybody enrolls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc: Option<BmcAccess>,
    /// For `bmc.sel`: empty the log after it was read.
    #[serde(default)]
    pub clear: bool,
    /// For `bmc.raw`: network function, command and data, hex: `06 01`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
}

pub(super) async fn access(worker: &Worker, ask: &AskBmc) -> Result<BmcAccess, ApiError> {
    match (&ask.node, &ask.bmc) {
        (Some(node), None) => Ok(load(worker, node).await?.bmc),
        (None, Some(bmc)) => Ok(bmc.clone()),
        (Some(_), Some(_)) | (None, None) => {
            Err(fail(400, "give either \"node\" or \"bmc\", one of them"))
        }
    }
}

/// Answers `bmc.<verb>`, all but `bmc.check`.
pub(super) async fn answer(worker: &Worker, verb: &str, ask: &AskBmc) -> Result<Value, ApiError> {
    let access = access(worker, ask).await?;
    let lease = worker.bmcs.handle(&access).await;
    let lease = lease.map_err(|fault| fail(400, fault.what))?;
    let bmc = &lease.bmc;
    let answer = match verb {
        "info" => info(bmc).await,
        "sensors" => sensors(bmc).await,
        "sel" => sel(bmc, ask.clear).await,
        "fru" => fru(bmc).await,
        "reset" => bmc.reset_bmc(BmcReset::Cold).await.map(|()| json!({})),
        "raw" => {
            let (netfn, command, data) = raw_request(ask.raw.as_deref())?;
            let answer = bmc.raw(netfn, 0, command, &data).await;
            answer.map(|data| json!({ "data": hex(&data) }))
        }
        other => return Err(fail(404, format!("no endpoint bmc.{other}"))),
    };
    // The BMC's fault, not the request's.
    answer.map_err(|error| fail(502, error))
}

async fn info(bmc: &Bmc) -> Result<Value, Error> {
    let id = bmc.device_id().await?;
    let chassis = bmc.chassis_status().await?;
    let lan = bmc.lan_parameters(ANSWERING_CHANNEL).await;
    let boot = bmc.boot_flags().await;
    let users = bmc.users(ANSWERING_CHANNEL).await;
    Ok(json!({
        "manufacturer_iana": id.manufacturer,
        "product": id.product,
        "firmware": firmware(id.firmware),
        "ipmi_version": format!("{}.{}", id.ipmi_version & 0x0f, id.ipmi_version >> 4),
        "guid": bmc.system_guid().await.ok().map(|guid| hex(&guid)),
        "power_on": chassis.power_on,
        "power_fault": chassis.power_fault,
        "power_overload": chassis.overload,
        "cooling_fault": chassis.cooling_fault,
        "drive_fault": chassis.drive_fault,
        "intrusion": chassis.intrusion,
        "boot": boot.map_or_else(said, |boot| json!({
            "device": boot.device.map(|device| format!("{device:?}").to_lowercase()),
            "efi": boot.flags.efi, "persistent": boot.flags.persistent, "valid": boot.valid,
        })),
        "lan": lan.map_or_else(said, |lan| json!({
            "address": lan.address, "netmask": lan.netmask, "gateway": lan.gateway,
            "source": lan.source.map(|source| format!("{source:?}").to_lowercase()),
            "mac": lan.mac.map(|mac| mac.map(|byte| format!("{byte:02x}")).join(":")),
            "vlan": lan.vlan,
        })),
        "users": users.map_or_else(said, |users| users.iter().map(|user| json!({
            "id": user.id, "name": user.name, "enabled": user.enabled, "privilege": user.privilege,
        })).collect()),
    }))
}

/// "The channel this request came in on" (IPMI 2.0 §6.3).
pub(super) const ANSWERING_CHANNEL: u8 = 0x0e;

pub(super) fn firmware((major, minor): (u8, u8)) -> String {
    format!("{major}.{minor:02x}")
}

/// What could not be had says why, in its place.
fn said(error: Error) -> Value {
    json!({ "error": error.to_string() })
}

async fn sensors(bmc: &Bmc) -> Result<Value, Error> {
    let mut rows = Vec::new();
    for sensor in bmc.sensors().await? {
        let record = &sensor.record;
        let thresholds = match record.reading_type {
            THRESHOLD => bmc.thresholds(record).await.ok().flatten(),
            _ => None,
        };
        let mut row = json!({
            "name": record.name, "number": record.number,
            "kind": record.sensor_type.to_string(), "unit": record.unit.to_string(),
            "thresholds": thresholds.map(|t| json!({
                "lower_non_recoverable": t.lower_non_recoverable, "lower_critical": t.lower_critical,
                "lower_non_critical": t.lower_non_critical, "upper_non_critical": t.upper_non_critical,
                "upper_critical": t.upper_critical, "upper_non_recoverable": t.upper_non_recoverable,
            })),
        });
        match sensor.reading {
            Ok(reading) => {
                row["value"] = json!(reading.value);
                row["available"] = json!(reading.available);
                row["states"] = json!(reading.states);
                row["health"] = json!(reading.health.map(|h| format!("{h:?}").to_lowercase()));
            }
            Err(error) => row["error"] = json!(error.to_string()),
        }
        rows.push(row);
    }
    Ok(Value::Array(rows))
}

/// Event/reading type of sensors with thresholds (IPMI 2.0 table 42-1).
const THRESHOLD: u8 = 0x01;

async fn sel(bmc: &Bmc, clear: bool) -> Result<Value, Error> {
    let entries = bmc.sel(None).await?;
    if clear {
        bmc.clear_sel().await?;
    }
    let rows = entries.iter().map(|entry| {
        let (time, clock) = match entry.time {
            Some(SelTime::SinceEpoch(secs)) => (Some(secs), "bmc"),
            Some(SelTime::SinceStart(secs)) => (Some(secs), "since the BMC's start"),
            None => (None, "unknown"),
        };
        let mut row = json!({ "id": entry.id, "secs": time, "clock": clock });
        match &entry.event {
            SelEvent::Sensor {
                sensor_type,
                number,
                asserted,
                reading_type,
                data,
                ..
            } => {
                row["kind"] = json!(sensor_type.to_string());
                row["sensor"] = json!(number);
                row["asserted"] = json!(asserted);
                row["reading_type"] = json!(reading_type);
                row["data"] = json!(hex(data));
            }
            other => row["oem"] = json!(format!("{other:?}")),
        }
        row
    });
    Ok(rows.collect())
}

async fn fru(bmc: &Bmc) -> Result<Value, Error> {
    let fru = bmc.fru(0).await?;
    Ok(json!({
        "chassis": fru.chassis.map(|c| json!({ "part": c.part, "serial": c.serial, "custom": c.custom })),
        "board": fru.board.map(|b| json!({
            "manufacturer": b.manufacturer, "product": b.product, "serial": b.serial, "part": b.part,
            "made_at_secs": b.made_at_secs, "custom": b.custom,
        })),
        "product": fru.product.map(|p| json!({
            "manufacturer": p.manufacturer, "product": p.product, "part": p.part, "version": p.version,
            "serial": p.serial, "asset_tag": p.asset_tag, "custom": p.custom,
        })),
        "problems": fru.problems,
    }))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn raw_request(text: Option<&str>) -> Result<(u8, u8, Vec<u8>), ApiError> {
    let words = text.unwrap_or_default().split_whitespace();
    let bytes: Result<Vec<u8>, _> = words
        .map(|word| u8::from_str_radix(word.trim_start_matches("0x"), 16))
        .collect();
    match bytes.as_deref() {
        Ok([netfn, command, data @ ..]) => Ok((*netfn, *command, data.to_vec())),
        Ok(_) | Err(_) => Err(fail(
            400,
            "raw: network function, command and data as hex bytes, \"06 01\"",
        )),
    }
}
