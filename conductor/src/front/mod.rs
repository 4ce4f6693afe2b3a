//! Where questions come in: NATS today, REST later. A front translates and decides nothing.
//! `ironbeat_common` and `ironbeat_ops` have what agents and operators say.
mod agent;
mod allocation;
mod answer;
mod bmc;
mod body;
mod check;
mod defaults;
mod discover;
mod foresee;
pub mod fuzz;
mod gate;
mod identify;
mod image;
mod kept;
mod login;
mod named;
pub mod nats;
mod operator;
mod owner;
mod past;
mod refusal;
mod rule;
mod sealed;
mod shared;
mod translate;
