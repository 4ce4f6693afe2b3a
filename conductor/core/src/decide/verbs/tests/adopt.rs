//! Machines that serve their owner when they become known: taken over as they are.
use super::super::super::tests::{Story, instance};
use super::super::super::{Event, Verb};
use super::refused;
use crate::boot::{Boot, boot_for};
use crate::node::BmcAct;

fn adopting() -> Story {
    Story::new()
        .ask(Verb::Manage)
        .bmc_did()
        .ask(Verb::Adopt(instance()))
}

#[test]
fn a_machine_is_adopted_by_one_look_at_its_bmc() {
    let story = adopting().is("adopting");
    assert_eq!(story.node.state.target_provision_state(), Some("active"));
    assert_eq!(
        story.acting().1,
        BmcAct::Check,
        "power and boot device are left alone"
    );
    let story = story.bmc_did().is("active");
    assert_eq!(boot_for(&story.node), Boot::Disk);
    let taken = story.node.instance.as_ref().expect("it serves an instance");
    assert_eq!(taken.hostname.as_deref(), Some("web1"));
    story.ask(Verb::Rebuild(None)).is("deploying");
}

#[test]
fn an_adopted_system_is_not_waited_for_to_confirm() {
    let mut story = Story::new().ask(Verb::Manage).bmc_did();
    story.policy.confirm_instances = true;
    let story = story.ask(Verb::Adopt(instance())).bmc_did().is("active");
    assert_eq!(story.node.instance.unwrap().confirm, None);
}

#[test]
fn an_adoption_that_failed_is_tried_again_or_given_up() {
    let failed = || adopting().bmc_failed(true).is("adopt failed");
    assert_eq!(failed().node.state.target_provision_state(), Some("active"));
    failed().ask(Verb::Adopt(instance())).bmc_did().is("active");
    let story = failed().ask(Verb::Manage).is("manageable");
    assert_eq!(story.node.instance, None, "it serves nobody");
    assert_eq!(story.node.beside.instance_data, None);
    let mut story = failed();
    assert_eq!(
        refused(&mut story, Verb::Provide),
        "cannot provide a node that is adopt failed"
    );
}

#[test]
fn a_node_that_could_not_be_adopted_can_be_deleted() {
    let story = adopting().bmc_failed(true);
    let request = "r".parse().unwrap();
    let (op, worker) = ("op".parse().unwrap(), "w1".parse().unwrap());
    let ctx = super::ctx(&story, &op, &worker);
    let event = Event::Asked {
        request,
        verb: Verb::Delete,
    };
    assert_eq!(
        super::super::super::decide(Some(&story.node), &event, ctx)
            .unwrap()
            .node,
        None
    );
}
