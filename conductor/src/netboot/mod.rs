//! What a machine needs to boot from the network: scripts, kernel, ramdisk and images over HTTP; DHCP and TFTP by dnsmasq.
//! The core decides what a machine boots.
pub mod boots;
pub mod budget;
pub mod dnsmasq;
pub mod files;
pub mod http;
pub mod leases;
pub mod mirrors;
pub mod script;
pub mod stage;
pub mod whose;
