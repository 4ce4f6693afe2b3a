//! Where questions come in: NATS today, REST later. A front translates and decides nothing.
//! What agents and operators say is in `ironbeat_common` and `ironbeat_ops`.
mod agent;
mod answer;
mod bmc;
mod body;
mod check;
mod named;
pub mod nats;
mod operator;
mod owner;
mod refusal;
mod told;
