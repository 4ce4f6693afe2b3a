//! What a worker does of its own accord, for as long as it runs: alarms, power sync, forgotten secrets, serial
//! consoles, revoked logins, granted keys, passwords in question.
//! The core decides what each finding means for a node.
pub mod alarm;
pub mod console;
pub mod grants;
pub mod logins;
pub mod password;
pub mod power;
pub mod revoke;
pub mod sweep;
pub mod trouble;
pub mod turn;
