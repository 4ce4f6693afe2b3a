//! What a kernel is started with.
//! What a boot script makes of it is the conductor's business.

/// As iPXE hands it over.
pub const COMMAND_LINE: &str = "ib.nats=nats://10.77.0.1:4222 ib.prefix=ib.v1 ib.ip=10.77.0.11 ib.mask=255.255.255.0 BOOTIF=01-52-54-00-77-01-0b ib.http=http://10.77.0.1:8081 ib.https=https://10.77.0.1:8443 ib.ntp=10.77.0.1 ib.ca=sha256:00000000000000000000000000000000000000000000000000000000000000ff";
