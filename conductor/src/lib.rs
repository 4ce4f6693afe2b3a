//! The conductor: `listen` (bytes to events) → `reconcile` (load, decide, save) → `act` (one arm per effect).
//! Only `reconcile` saves a node, only `clock` reads the time, only `act` touches the world.
pub mod bmc;
pub mod boot_script;
pub mod clock;
pub mod dnsmasq;
pub mod http;
pub mod presence;
pub mod store;
pub mod view;
