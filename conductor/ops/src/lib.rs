//! What operators can ask, hear and see: types only, shared by every front and every client.
//! Fronts carry the questions; the core says what they do to a node.
pub mod bmc;
pub mod console;
pub mod handover;
pub mod happening;
pub mod history;
pub mod lookup;
pub mod policy;
pub mod reply;
pub mod request;
pub mod sealed;
pub mod subject;

/// The code of a refusal by a worker that does nothing at present, as HTTP has it for a request sent to the wrong server.
/// Nothing was done, and another worker may do it.
pub const ASK_ANOTHER: usize = 421;

pub use request::{Decode, ENDPOINTS, Endpoint, Question, Reply, Request, Role};
