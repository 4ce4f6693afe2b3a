//! What Ironic would notify of a change: its names of events, and its payloads as far as we have what they say.
//! It reads no clock and touches nothing. Ironic: `conductor/task_manager.py`, `objects/node.py` (NodePayload 1.16), `objects/notification.py`.
use ironbeat_core::decide::{Event, Verb};
use ironbeat_core::id::WorkerId;
use ironbeat_core::node::{BmcEndpoint, Node, State};
use ironbeat_core::time::Time;
use ironbeat_ops::happening::{PowerChange, What};
use serde_json::{Map, Value, json};

/// One notification, as Ironic's would be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Notification {
    /// `baremetal.node.provision_set.start`.
    pub event_type: String,
    pub body: Value,
}

/// Ironic's states "that can be changed without external request" (`common/states.py`); holds are none of them.
const UNSTABLE: [&str; 14] = [
    "deploying",
    "wait call-back",
    "cleaning",
    "clean wait",
    "verifying",
    "deleting",
    "inspecting",
    "inspect wait",
    "adopting",
    "rescuing",
    "rescue wait",
    "unrescuing",
    "servicing",
    "service wait",
];

/// How the core begins the error of a job that an operator has ended.
const ABORTED: &str = "aborted by the operator";

/// A change of a node's record.
#[derive(Clone, Copy)]
pub struct Change<'a> {
    pub before: Option<&'a Node>,
    pub after: Option<&'a Node>,
    pub event: &'a Event,
    pub at: Time,
    pub worker: &'a WorkerId,
}

/// In the order in which Ironic would send them. `told`: what we tell of the same change.
pub fn notifications<'a>(
    change: Change<'_>,
    told: impl Iterator<Item = &'a What>,
) -> Vec<Notification> {
    match (change.before, change.after) {
        (None, None) => vec![],
        (None, Some(node)) => change.begun_and_ended(node, node, "create", "NodeCRUDPayload"),
        (Some(node), None) => change.begun_and_ended(node, node, "delete", "NodeCRUDPayload"),
        (Some(before), Some(after)) => {
            let mut all = Vec::new();
            if is_set(change.event) {
                all.extend(change.begun_and_ended(after, after, "update", "NodeCRUDPayload"));
            }
            if before.maintenance != after.maintenance {
                let action = "maintenance_set";
                all.extend(change.begun_and_ended(before, after, action, "NodePayload"));
            }
            all.extend(change.provision(before, after));
            all.extend(told.filter_map(|what| change.power(after, what)));
            all
        }
    }
}

fn is_set(event: &Event) -> bool {
    matches!(
        event,
        Event::Asked {
            verb: Verb::Set(_),
            ..
        }
    )
}

impl Change<'_> {
    /// What we do at once and Ironic in two steps.
    fn begun_and_ended(
        &self,
        before: &Node,
        after: &Node,
        action: &str,
        payload: &str,
    ) -> Vec<Notification> {
        let further = |node: &Node| match payload {
            "NodeCRUDPayload" => described(node),
            _ => Map::new(),
        };
        let start = self.of(before, action, "start", payload, further(before));
        let end = self.of(after, action, "end", payload, further(after));
        vec![start, end]
    }

    fn provision(&self, before: &Node, after: &Node) -> Option<Notification> {
        let state = |node: &Node| node.state.provision_state();
        let (from, to) = (state(before), state(after));
        if from == to {
            return None;
        }
        let aborted = matches!(
            self.event,
            Event::Asked {
                verb: Verb::Abort,
                ..
            }
        );
        let error = after.last_error.as_ref();
        let is_new = error.is_some() && after.last_error != before.last_error;
        let rests_failed = matches!(&after.state, State::Resting(rest) if rest.is_failure());
        // While it tidies up, it has not failed yet.
        let ends = UNSTABLE.contains(&from) && !UNSTABLE.contains(&to);
        // The error of an abort says so, and stays while the job tidies up.
        let aborted = aborted || error.is_some_and(|error| error.what.contains(ABORTED));
        let failed = !aborted && ends && (is_new || rests_failed);
        let (status, event) = match (UNSTABLE.contains(&from), UNSTABLE.contains(&to)) {
            _ if failed => ("error", "fail"),
            (false, true) => ("start", self.verb().unwrap_or("resume")),
            (true, false) if aborted => ("end", "abort"),
            (true, false) if to.ends_with("hold") => ("end", "hold"),
            (true, false) => ("end", "done"),
            (true, true) if to.ends_with("wait") || to == "wait call-back" => ("success", "wait"),
            (true, true) => ("success", self.verb().unwrap_or("resume")),
            (false, false) => ("success", self.verb().unwrap_or("done")),
        };
        let mut further = Map::new();
        further.insert("event".into(), event.into());
        further.insert("previous_provision_state".into(), from.into());
        let target = before.target_provision_state();
        further.insert("previous_target_provision_state".into(), target.into());
        further.insert("instance_info".into(), instance_info(after));
        further.insert("driver_internal_info".into(), json!({}));
        let payload = "NodeSetProvisionStatePayload";
        Some(self.of(after, "provision_set", status, payload, further))
    }

    /// Ironic's name of the event that a verb is.
    fn verb(&self) -> Option<&'static str> {
        match self.event {
            Event::Asked { verb, .. } => match verb {
                Verb::Undeploy => Some("delete"),
                verb => Some(verb.name()),
            },
            Event::Enrolled(_)
            | Event::Seen { .. }
            | Event::Script { .. }
            | Event::Booted { .. }
            | Event::LoginsEnded { .. }
            | Event::Identified { .. }
            | Event::Confirmed { .. }
            | Event::Beat { .. }
            | Event::Bmc { .. }
            | Event::Alarm { .. }
            | Event::WorkerLost { .. }
            | Event::Turn { .. }
            | Event::PowerRead { .. }
            | Event::PasswordFound { .. } => None,
        }
    }

    fn power(&self, node: &Node, what: &What) -> Option<Notification> {
        let set = |change: &PowerChange, status| {
            let mut further = Map::new();
            further.insert("to_power".into(), change.target.clone().into());
            let payload = "NodeSetPowerStatePayload";
            Some(self.of(node, "power_set", status, payload, further))
        };
        match what {
            What::PowerSetStart(change) => set(change, "start"),
            What::PowerSetEnd(change) => set(change, "end"),
            What::PowerSetError(change) => set(change, "error"),
            What::PowerStateCorrected(change) => {
                let mut further = Map::new();
                let from = change.from.map(power_state);
                further.insert("from_power".into(), from.into());
                let (action, payload) = ("power_state_corrected", "NodeCorrectedPowerStatePayload");
                Some(self.of(node, action, "success", payload, further))
            }
            What::Enrolled
            | What::Deleted
            | What::State(_)
            | What::Step(_)
            | What::Refused { .. }
            | What::Lookup { .. }
            | What::Nudge(_)
            | What::Netboot { .. }
            | What::Lease { .. } => None,
        }
    }

    fn of(
        &self,
        node: &Node,
        action: &str,
        status: &str,
        payload: &str,
        further: Map<String, Value>,
    ) -> Notification {
        let event_type = format!("baremetal.node.{action}.{status}");
        let mut data = self.data(node);
        data.extend(further);
        let body = json!({
            "priority": if status == "error" { "error" } else { "info" },
            "event_type": event_type,
            "publisher_id": format!("ironic-conductor.{}", self.worker.as_str()),
            "timestamp": self.at,
            "payload": {
                "ironic_object.namespace": "ironic",
                "ironic_object.name": payload,
                "ironic_object.version": version(payload),
                "ironic_object.data": data,
            },
        });
        Notification { event_type, body }
    }

    /// Fields of Ironic's NodePayload; what we do not have is left out.
    fn data(&self, node: &Node) -> Map<String, Value> {
        let maintenance = node.maintenance.as_ref();
        let (protected, retired) = (node.protected.as_ref(), node.retired.as_ref());
        let job = node.job();
        let step = job.map(|job| json!({ "step": job.step().name() }));
        let allocation = node.allocation.as_ref().map(ToString::to_string);
        let data = json!({
            "uuid": node.id,
            "name": node.name,
            "driver": match &node.bmc { BmcEndpoint::Ipmi { .. } => "ipmi" },
            "provision_state": node.state.provision_state(),
            "target_provision_state": node.target_provision_state(),
            "provision_updated_at": node.since,
            "updated_at": self.at,
            "power_state": node.power.as_ref().map(|power| power_state(power.on)),
            "target_power_state": job.and_then(|job| job.target_power_state()),
            "maintenance": maintenance.is_some(),
            "maintenance_reason": maintenance.map(|it| &it.reason),
            "fault": maintenance.and_then(|it| it.fault),
            "last_error": node.last_error.as_ref().map(|error| &error.what),
            "deploy_step": step,
            "instance_uuid": allocation,
            "resource_class": node.resource_class,
            "owner": node.owner,
            "lessee": node.lessee,
            "traits": node.traits,
            "protected": protected.is_some(),
            "protected_reason": protected.map(|it| &it.reason),
            "retired": retired.is_some(),
            "retired_reason": retired.map(|it| &it.reason),
            "boot_mode": node.boot_mode.or(node.found_boot_mode),
            "secure_boot": node.secure_boot,
        });
        match data {
            Value::Object(data) => data,
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => unreachable!("it was just written as an object"),
        }
    }
}

fn version(payload: &str) -> &'static str {
    match payload {
        "NodeSetProvisionStatePayload" => "1.17",
        "NodeCRUDPayload" => "1.14",
        _ => "1.16",
    }
}

fn power_state(on: bool) -> &'static str {
    match on {
        true => "power on",
        false => "power off",
    }
}

fn described(node: &Node) -> Map<String, Value> {
    let BmcEndpoint::Ipmi {
        address, username, ..
    } = &node.bmc;
    let mut further = Map::new();
    let driver_info = json!({
        "ipmi_address": address.to_string(),
        "ipmi_username": username,
        "ipmi_password": "******",
    });
    further.insert("driver_info".into(), driver_info);
    further.insert("instance_info".into(), instance_info(node));
    further.insert("chassis_uuid".into(), Value::Null);
    further
}

fn instance_info(node: &Node) -> Value {
    match &node.instance {
        None => json!({}),
        // Its query, which may be a signature, is not shown.
        Some(instance) => json!({
            "image_source": instance.image.source.to_string(),
            "image_checksum": instance.image.checksum,
        }),
    }
}

#[cfg(test)]
mod tests;
