//! The conductor: `listen` (bytes to events) → `reconcile` (load, decide, save) → `act` (one arm per effect).
//! Only `reconcile` saves a node, only `clock` reads the time, only `act` touches the world.
mod act;
mod alarm;
pub mod api;
pub mod bmc;
pub mod boot_script;
pub mod bucket;
pub mod cli;
mod clock;
pub mod config;
pub mod console;
pub mod dnsmasq;
pub mod events;
pub mod http;
pub mod knocks;
mod listen;
pub mod presence;
mod reconcile;
pub mod run;
pub mod seen;
pub mod store;
mod sync;
pub mod view;
mod worker;
