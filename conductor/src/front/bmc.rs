//! Operators' questions to a BMC beside the node's jobs: what it is and measures, its log, its inventory, raw commands.
//! `ironbeat_ipmi` makes the bytes; `owner` finds the worker that answers.
use super::named::load;
use super::refusal::{ApiError, fail};
use super::translate::{self, Answers};
use crate::bmc::Halt;
use crate::worker::Worker;
use data_encoding::HEXLOWER;
use ironbeat_core::node::{Job, Node};
use ironbeat_ipmi::{Bmc, Error};
use ironbeat_ops::bmc::{BmcFacts, FruInventory, LogEntry, RawAnswer, SensorRow};

/// "The channel this request came in on" (IPMI 2.0 §6.3).
pub(super) const ANSWERING_CHANNEL: u8 = 0x0e;
/// Event/reading type of sensors with thresholds (IPMI 2.0 table 42-1).
const THRESHOLD: u8 = 0x01;

/// A question to a node's BMC. If it fails, the BMC is at fault, not the request.
async fn ask<T>(
    worker: &Worker,
    node: &Node,
    question: impl AsyncFnOnce(&Bmc) -> Result<T, Error>,
) -> Result<T, ApiError> {
    let login = worker.logins.of(node).await?;
    let lease = worker.bmcs.handle(&login).await;
    // While its password is in question, it was asked for that.
    let code = if login.secrets.next.is_some() {
        502
    } else {
        400
    };
    let lease = lease.map_err(|fault| fail(code, fault.what))?;
    question(&lease.bmc).await.map_err(|error| fail(502, error))
}

/// Before a command that changes something: like a job's acts it needs a worker that may act, and it keeps out of a
/// job's way. `node` is the record of this moment. A job that begins while the command is under way does not wait for
/// it: whoever sends a raw command takes that risk.
fn may_change(worker: &Worker, node: &Node) -> Result<(), ApiError> {
    let bmc = node.bmc.address();
    if !worker.presence.may_act() {
        return Err(fail(503, format!("BMC {bmc}: {}", Halt::MayNotAct)));
    }
    match node.job().and_then(Job::bmc_act) {
        None => Ok(()),
        Some((by, act)) => {
            let act = act.name();
            let why = format!("worker {by} is busy with it ({act}): ask again later");
            Err(fail(409, format!("BMC {bmc}: {why}")))
        }
    }
}

pub(super) async fn info(worker: &Worker, node: &str) -> Result<BmcFacts, ApiError> {
    ask(worker, &load(worker, node).await?, read_info).await
}

pub(super) async fn sensors(worker: &Worker, node: &str) -> Result<Vec<SensorRow>, ApiError> {
    ask(worker, &load(worker, node).await?, read_sensors).await
}

pub(super) async fn sel(
    worker: &Worker,
    node: &str,
    clear: bool,
) -> Result<Vec<LogEntry>, ApiError> {
    let record = load(worker, node).await?;
    if clear {
        may_change(worker, &record)?;
    }
    let entries = ask(worker, &record, async |bmc| bmc.sel(None).await).await?;
    if clear {
        // Loaded again: a long log takes a while to read.
        let node = load(worker, node).await?;
        may_change(worker, &node)?;
        ask(worker, &node, async |bmc| bmc.clear_sel().await).await?;
    }
    Ok(entries.into_iter().map(translate::log_entry).collect())
}

pub(super) async fn fru(worker: &Worker, node: &str) -> Result<FruInventory, ApiError> {
    let read = async |bmc: &Bmc| bmc.fru(0).await;
    let fru = ask(worker, &load(worker, node).await?, read).await?;
    Ok(translate::fru(fru))
}

pub(super) async fn raw(worker: &Worker, node: &str, text: &str) -> Result<RawAnswer, ApiError> {
    let (netfn, command, data) = raw_request(text)?;
    let node = load(worker, node).await?;
    may_change(worker, &node)?;
    let send = async |bmc: &Bmc| bmc.raw(netfn, 0, command, &data).await;
    let answer = ask(worker, &node, send).await?;
    Ok(RawAnswer {
        data: HEXLOWER.encode(&answer),
    })
}

async fn read_info(bmc: &Bmc) -> Result<BmcFacts, Error> {
    Ok(translate::facts(Answers {
        id: bmc.device_id().await?,
        chassis: bmc.chassis_status().await?,
        lan: bmc.lan_parameters(ANSWERING_CHANNEL).await,
        boot: bmc.boot_flags().await,
        users: bmc.users(ANSWERING_CHANNEL).await,
        guid: bmc.system_guid().await.ok(),
    }))
}

async fn read_sensors(bmc: &Bmc) -> Result<Vec<SensorRow>, Error> {
    let mut rows = Vec::new();
    for sensor in bmc.sensors().await? {
        let thresholds = match sensor.record.reading_type {
            THRESHOLD => bmc.thresholds(&sensor.record).await.ok().flatten(),
            _ => None,
        };
        rows.push(translate::sensor(sensor, thresholds));
    }
    Ok(rows)
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
