//! What operators ask of a BMC without changing a node: is it well, what does it say of itself, of its sensors and logs.
//! How bytes travel is the business of `ironbeat_ipmi`; what is wrong, in words, that of `check`.
use super::named::load;
use super::refusal::{ApiError, fail};
use crate::worker::Worker;
use data_encoding::HEXLOWER;
use ironbeat_ipmi::{Bmc, Error, SelEvent, SelTime};
use serde_json::{Value, json};

/// A question to a node's BMC. What goes wrong then is the BMC's fault, not the request's.
async fn ask(
    worker: &Worker,
    node: &str,
    question: impl AsyncFnOnce(&Bmc) -> Result<Value, Error>,
) -> Result<Value, ApiError> {
    let access = worker.logins.of(&load(worker, node).await?).await?;
    let lease = worker.bmcs.handle(&access).await;
    let lease = lease.map_err(|fault| fail(400, fault.what))?;
    question(&lease.bmc).await.map_err(|error| fail(502, error))
}

pub(super) async fn info(worker: &Worker, node: &str) -> Result<Value, ApiError> {
    ask(worker, node, read_info).await
}

pub(super) async fn sensors(worker: &Worker, node: &str) -> Result<Value, ApiError> {
    ask(worker, node, read_sensors).await
}

pub(super) async fn sel(worker: &Worker, node: &str, clear: bool) -> Result<Value, ApiError> {
    ask(worker, node, async |bmc| read_sel(bmc, clear).await).await
}

pub(super) async fn fru(worker: &Worker, node: &str) -> Result<Value, ApiError> {
    ask(worker, node, read_fru).await
}

pub(super) async fn raw(worker: &Worker, node: &str, text: &str) -> Result<Value, ApiError> {
    let (netfn, command, data) = raw_request(text)?;
    ask(worker, node, async |bmc| {
        let answer = bmc.raw(netfn, 0, command, &data).await;
        answer.map(|data| json!({ "data": HEXLOWER.encode(&data) }))
    })
    .await
}

async fn read_info(bmc: &Bmc) -> Result<Value, Error> {
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
        "guid": bmc.system_guid().await.ok().map(|guid| HEXLOWER.encode(&guid)),
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

async fn read_sensors(bmc: &Bmc) -> Result<Value, Error> {
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

async fn read_sel(bmc: &Bmc, clear: bool) -> Result<Value, Error> {
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
                row["data"] = json!(HEXLOWER.encode(data));
            }
            other => row["oem"] = json!(format!("{other:?}")),
        }
        row
    });
    Ok(rows.collect())
}

async fn read_fru(bmc: &Bmc) -> Result<Value, Error> {
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

fn raw_request(text: &str) -> Result<(u8, u8, Vec<u8>), ApiError> {
    let words = text.split_whitespace();
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
