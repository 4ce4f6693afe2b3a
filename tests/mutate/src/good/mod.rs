//! Good bytes of what comes from outside, the same for the tests of its readers and for `ironbeat-fuzz`.
//! What is read from them is for the tests to say.
pub mod bmc;
pub mod boot;
pub mod cpuinfo;
pub mod dhcp;
pub mod event_log;
pub mod http;
pub mod image;
pub mod lldp;
pub mod pem;
pub mod smbios;
pub mod sntp;
pub mod wire;
