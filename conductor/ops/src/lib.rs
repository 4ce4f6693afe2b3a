//! What operators can ask, hear and see: types only, shared by every front and every client.
//! Fronts carry the questions; the core says what they do to a node.
pub mod bmc;
pub mod console;
pub mod handover;
pub mod happening;
pub mod lookup;
pub mod reply;
pub mod request;
pub mod subject;

pub use request::{Decode, ENDPOINTS, Endpoint, Question, Reply, Request, Role};
