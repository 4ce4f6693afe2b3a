//! A stolen login of a worker: it reads and writes all records, and leaves nothing in JetStream that servers go on doing after its
//! end. What it can leave is seen by `ironbeat auth strangers`, which the tests of the conductor try.
use crate::book::Book;
use crate::lab::{self, Lab};
use crate::wire::{Act, Pass};
use anyhow::Result;
use serde_json::json;

pub fn plays(lab: &mut Lab, book: &mut Book) -> Result<()> {
    book.turn("a stolen worker's login");
    let pass = Pass::of(&lab.site.creds("worker/worker.creds")?);
    let ears = json!({
        "name": "EARS", "subjects": ["ib.v1.api.>"], "storage": "memory", "no_ack": true,
        "republish": { "src": "ib.v1.api.>", "dest": "_INBOX.boot.api.>" },
    });
    let ear = json!({ "stream_name": "IB_SEEN", "config": { "ack_policy": "none", "deliver_subject": "$KV.ib.revoked" } });
    let mut acts = vec![
        Act::say("$JS.API.STREAM.LIST", ""),
        Act::say("$JS.API.STREAM.CREATE.EARS", &ears.to_string()),
        Act::say("$JS.API.CONSUMER.CREATE.IB_SEEN", &ear.to_string()),
    ];
    for stream in &lab.streams {
        let republish =
            json!({ "name": stream, "republish": { "src": ">", "dest": "_INBOX.boot.>" } });
        acts.push(Act::say(
            format!("$JS.API.STREAM.UPDATE.{stream}"),
            &republish.to_string(),
        ));
        acts.push(Act::say(format!("$JS.API.STREAM.PURGE.{stream}"), ""));
    }
    acts.extend(lab::ends_of_streams(lab));
    lab.try_acts(book, &pass, &acts)?;
    lab.is_whole()
}
