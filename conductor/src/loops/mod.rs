//! What a worker does of its own accord, for as long as it runs: alarms, power sync, serial consoles.
//! What each finding means for a node is decided in the core.
pub mod alarm;
pub mod console;
pub mod power;
