//! Our provision states beside Ironic's: for each state and event, where a node goes.
//! Ironic's machine is a table; ours is the core, which is asked.
pub mod draw;
pub mod ironic;
pub mod ours;
pub mod reasons;
mod story;

use serde::Serialize;

/// One state and one event that at least one of us knows there.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    pub state: &'static str,
    pub event: &'static str,
    /// None: refused.
    pub ours: Option<&'static str>,
    pub ironic: Option<&'static str>,
    /// Of a difference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
}

pub fn rows() -> Vec<Row> {
    let mut rows = vec![];
    for state in ironic::states() {
        for event in ironic::events() {
            let (ours, ironic) = (ours::next(state, event), ironic::next(state, event));
            let differs = ours != ironic;
            let reason = reasons::of(state, event).filter(|_| differs);
            if ours.is_some() || ironic.is_some() {
                rows.push(Row {
                    state,
                    event,
                    ours,
                    ironic,
                    reason,
                });
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_has_a_reason_and_every_reason_a_difference() {
        let rows = rows();
        let without: Vec<&Row> = rows
            .iter()
            .filter(|row| row.ours != row.ironic && row.reason.is_none())
            .collect();
        assert!(without.is_empty(), "{without:#?}");
        for (state, event, reason) in reasons::REASONS {
            let used = rows.iter().any(|row| {
                row.state == *state
                    && (row.event == *event || *event == "*")
                    && row.reason.is_some()
            });
            assert!(used, "{state} {event}: {reason}");
        }
    }
}
