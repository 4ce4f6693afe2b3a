//! Jobs of which only so many run at once begin in line, and with their turn.
//! `index::turns` says whose turn it is; the conductor tells the node.
use super::draft::Draft;
use crate::node::{JobKind, Phase};
use crate::time::secs;
use alloc::format;
use alloc::string::String;

/// How often a node in line looks around, should nobody have told it anything.
const LOOK_SECS: u32 = 3600;

impl Draft<'_> {
    /// Where a job of this kind has to begin in line.
    pub(super) fn line_for(&self, kind: JobKind) -> Option<Phase> {
        let now = self.ctx.now;
        self.ctx.policy.max_concurrent(kind)?;
        Some(Phase::InLine {
            since: now,
            until: now.after(secs(LOOK_SECS)),
        })
    }
}

/// The node's turn has come; it begins, in this place.
pub(super) fn comes(draft: &mut Draft<'_>, place: Option<u16>) -> String {
    let waits = draft
        .node
        .job()
        .filter(|job| matches!(job.phase, Phase::InLine { .. }));
    let Some(job) = waits else {
        return "the node is not in line".into();
    };
    if draft.node.is_held() {
        return "maintenance holds the node's job: it stays in line".into();
    }
    let (kind, step) = (job.kind, job.step().clone());
    let place = match (draft.ctx.policy.max_concurrent(kind), place) {
        (None, _) => None,
        (Some(max), Some(place)) if place < max => Some(place),
        // Whoever said so obeys another limit.
        (Some(_), _) => return "the node stays in line".into(),
    };
    let phase = draft.enter(&step);
    let job = draft.job();
    (job.phase, job.place) = (phase, place);
    match place {
        Some(place) => format!("its turn has come, in place {}", place + 1),
        None => "its turn has come".into(),
    }
}

pub(super) fn not_yet(draft: &mut Draft<'_>) -> String {
    let again = draft.ctx.now.after(secs(LOOK_SECS));
    if let Phase::InLine { until, .. } = &mut draft.job().phase {
        *until = again;
    }
    "its turn has not come yet".into()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BOOT, Story, instance};
    use super::super::{Event, Policy, Verb};
    use crate::explain::explain;
    use crate::index::Entry;
    use crate::node::{BmcAct, JobKind, Node};
    use crate::turn::Turn;
    use std::string::String;

    /// A deploy begins in line, as one of at most two.
    fn in_line() -> Story {
        let mut story = Story::available();
        story.policy.max_concurrent_deploy = 2;
        story.ask(Verb::Deploy(instance()))
    }

    fn turn(place: Option<u16>) -> Event {
        Event::Turn { place }
    }

    fn turn_of(node: &Node) -> Option<Turn> {
        Entry::of(node).turn
    }

    fn waits_for(story: &Story) -> String {
        let words = explain(&story.node, story.now, &story.policy);
        words.in_line(Some(3)).waiting_for
    }

    #[test]
    fn a_deploy_beyond_the_limit_waits_in_line_and_says_so() {
        let story = in_line();
        assert_eq!(story.node.state.provision_state(), "deploying");
        assert_eq!(turn_of(&story.node), Some(Turn::Waits(JobKind::Deploy)));
        assert_eq!(
            waits_for(&story),
            "its turn: 2 nodes are deploying at once (max_concurrent_deploy); it is number 3 in line"
        );
        assert_eq!(explain(&story.node, story.now, &story.policy).until, None);
        // Nothing happens to it until then, whatever the clock says.
        let now = story.node.wake_at.unwrap();
        let mut story = story;
        story.now = now;
        let story = story.event(Event::Alarm { last_beat: None });
        assert_eq!(turn_of(&story.node), Some(Turn::Waits(JobKind::Deploy)));
        assert!(story.node.wake_at.unwrap() > now);
        // Its turn, told twice, begins it once.
        let story = story.event(turn(Some(1)));
        assert_eq!(story.acting().1, BmcAct::Netboot);
        assert_eq!(turn_of(&story.node), Some(Turn::Has(JobKind::Deploy, 1)));
        let begun = story.node.clone();
        let story = story.event(turn(Some(0)));
        assert_eq!(story.node, begun);
        assert!(!waits_for(&story).contains("its turn:"));
    }

    #[test]
    fn a_machine_that_is_waited_for_may_get_no_address() {
        let story = in_line().event(turn(Some(0))).bmc_did();
        let words = explain(&story.node, story.now, &story.policy);
        let words = words.no_network_boot(&story.node, Some("dnsmasq of worker w1 on h: gone"));
        assert!(
            words
                .waiting_for
                .ends_with("; but dnsmasq of worker w1 on h: gone"),
            "{}",
            words.waiting_for
        );
    }

    #[test]
    fn a_place_is_kept_to_the_end_of_the_job_and_no_longer() {
        let story = in_line().event(turn(Some(0))).bmc_did();
        assert_eq!(turn_of(&story.node), Some(Turn::Has(JobKind::Deploy, 0)));
        let aborted = story.ask(Verb::Undeploy);
        assert_eq!(turn_of(&aborted.node), None);
        let waiting = in_line().ask(Verb::Undeploy);
        assert_eq!(
            turn_of(&waiting.node),
            None,
            "one in line is let go at once"
        );
    }

    #[test]
    fn a_machine_whose_rebuild_only_waited_in_line_is_left_as_it_is() {
        let active = in_line().event(turn(Some(0))).bmc_did();
        let active = active.boots(BOOT, &["S1"]).agent_did().agent_did();
        let mut story = active.bmc_did().bmc_did().ask(Verb::Rebuild(None));
        assert_eq!(turn_of(&story.node), Some(Turn::Waits(JobKind::Deploy)));
        story.effects.clear();
        let story = story.ask(Verb::Abort).is("deploy failed");
        assert_eq!(story.effects, [], "nobody touches its power");
        assert!(
            story.error().ends_with("the machine is as it was"),
            "{}",
            story.error()
        );
    }

    #[test]
    fn a_turn_beyond_the_limit_is_not_taken() {
        for place in [Some(2), Some(u16::MAX), None] {
            let story = in_line();
            let before = story.node.clone();
            assert_eq!(story.event(turn(place)).node, before, "{place:?}");
        }
        // Where the limit is gone, whoever is in line begins.
        let mut story = in_line();
        story.policy = Policy::default();
        let story = story.event(turn(None));
        assert_eq!(story.acting().1, BmcAct::Netboot);
        assert_eq!(turn_of(&story.node), None);
    }

    #[test]
    fn cleaning_after_a_tear_down_waits_for_its_own_turn() {
        let mut story = Story::available();
        story.policy.max_concurrent_clean = 1;
        story.policy.max_concurrent_deploy = 1;
        let story = story.ask(Verb::Deploy(instance())).event(turn(Some(0)));
        let story = story.bmc_did().ask(Verb::Undeploy).bmc_did();
        assert_eq!(story.node.state.provision_state(), "cleaning");
        assert_eq!(turn_of(&story.node), Some(Turn::Waits(JobKind::Clean)));
        let story = story.event(turn(Some(0)));
        assert_eq!(story.acting().1, BmcAct::Netboot);
    }
}
