//! The conductor: `front` (bytes to events) → `drive` (load, decide, save, act) → `records`, `bmc`; `loops` beside them.
//! Only `drive::reconcile` saves a node, only `clock` reads the time, only `drive::act` touches the world.
pub mod backup;
pub mod bmc;
mod bucket;
pub mod clock;
pub mod config;
mod confirm;
pub mod discovery;
pub mod drive;
mod fnv;
pub mod front;
#[doc(hidden)]
pub mod fuzz;
mod login;
pub mod loops;
pub mod measured;
pub mod netboot;
pub mod records;
pub mod run;
pub mod secrets;
mod seldom;
mod strangers;
pub mod tickets;
mod worker;
