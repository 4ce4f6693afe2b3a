//! A second machine that claims a node: it asks for the node's boot script, and looks up with the ticket a little later.
//! It is let in only when its ticket is the present one; then it is silent, and the node's own machine gets its turn again.
use crate::agent::key_of;
use crate::front::Job;
use crate::{Happens, World};
use ironbeat_common::id::BootId;
use ironbeat_common::login::UserKey;
use ironbeat_core::decide::Proof;

impl World {
    pub(crate) fn rival(&mut self, machine: usize) {
        let ticket = self.new_ticket();
        let Some(to) = self.any_worker() else { return };
        let node = self.machines[machine].node;
        self.tally.rivals[0] += 1;
        self.note("rival", machine, || "asks for the script".into());
        let job = Job::RivalScript {
            machine,
            node,
            ticket,
        };
        self.after(1, Happens::Comes { to, job });
    }

    /// Its script came.
    pub(crate) fn rival_boots(&mut self, machine: usize, ticket: UserKey) {
        let ms = self.rng.between(1, 120_000);
        self.after(ms, Happens::RivalComes { machine, ticket });
    }

    pub(crate) fn rival_comes(&mut self, machine: usize, ticket: UserKey) {
        let Some(to) = self.any_worker() else { return };
        self.tally.rivals[1] += 1;
        let mut boot = [0xbad_u16.to_be_bytes()[0]; 16];
        boot[8..].copy_from_slice(&self.tickets.to_be_bytes());
        boot[0] = machine as u8;
        let boot = BootId::from_bytes(boot);
        self.note("rival", machine, || format!("looks up, {boot}"));
        let job = Job::LookUp {
            machine,
            // Nobody is told.
            epoch: u64::MAX,
            number: 0,
            boot,
            inventory: Box::new(self.machines[machine].inventory()),
            proof: Proof::Ticket {
                ticket,
                key: key_of(boot),
            },
        };
        self.after(1, Happens::Comes { to, job });
    }
}
