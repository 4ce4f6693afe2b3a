//! Translates the IPMI client's types to those of `ironbeat_ops::bmc`.
//! `bmc` does the asking.
use data_encoding::HEXLOWER;
use ironbeat_common::id::Mac;
use ironbeat_core::node::BootDevice;
use ironbeat_ipmi as ipmi;
use ironbeat_ops::bmc::{
    AddressSource, BmcFacts, BootSelection, FruBoard, FruChassis, FruInventory, FruProduct, Health,
    LanParameters, LogClock, LogEntry, LogEvent, OemEvent, Part, Reading, SensorRow, Thresholds,
    User,
};

/// A BMC's answers about itself, part by part.
pub(super) struct Answers {
    pub id: ipmi::DeviceId,
    pub guid: Option<[u8; 16]>,
    pub chassis: ipmi::ChassisStatus,
    pub boot: Result<ipmi::BootSelection, ipmi::Error>,
    pub lan: Result<ipmi::LanParameters, ipmi::Error>,
    pub users: Result<Vec<ipmi::User>, ipmi::Error>,
}

pub(super) fn facts(answers: Answers) -> BmcFacts {
    let Answers {
        id,
        guid,
        chassis,
        boot,
        lan,
        users,
    } = answers;
    BmcFacts {
        manufacturer_iana: id.manufacturer,
        product: id.product,
        firmware: firmware(id.firmware),
        ipmi_version: format!("{}.{}", id.ipmi_version & 0x0f, id.ipmi_version >> 4),
        guid: guid.map(|guid| HEXLOWER.encode(&guid)),
        power_on: chassis.power_on,
        power_fault: chassis.power_fault,
        power_overload: chassis.overload,
        cooling_fault: chassis.cooling_fault,
        drive_fault: chassis.drive_fault,
        intrusion: chassis.intrusion,
        boot: part(boot, |boot| BootSelection {
            device: boot.device.map(boot_device),
            efi: boot.flags.efi,
            persistent: boot.flags.persistent,
            valid: boot.valid,
        }),
        lan: part(lan, |lan| LanParameters {
            address: lan.address,
            netmask: lan.netmask,
            gateway: lan.gateway,
            source: lan.source.map(address_source),
            mac: lan.mac.map(Mac::from_bytes),
            vlan: lan.vlan,
        }),
        users: part(users, |users| users.into_iter().map(user).collect()),
    }
}

pub(super) fn firmware((major, minor): (u8, u8)) -> String {
    format!("{major}.{minor:02x}")
}

/// A part that is missing says why, in its place.
fn part<A, B>(answer: Result<A, ipmi::Error>, translate: impl FnOnce(A) -> B) -> Part<B> {
    match answer {
        Ok(answer) => Part::Given(translate(answer)),
        Err(error) => Part::Missing {
            error: error.to_string(),
        },
    }
}

fn boot_device(device: ipmi::BootDevice) -> BootDevice {
    match device {
        ipmi::BootDevice::None => BootDevice::None,
        ipmi::BootDevice::Pxe => BootDevice::Pxe,
        ipmi::BootDevice::Disk => BootDevice::Disk,
        ipmi::BootDevice::Safe => BootDevice::Safe,
        ipmi::BootDevice::Cdrom => BootDevice::Cdrom,
        ipmi::BootDevice::Bios => BootDevice::Bios,
    }
}

fn address_source(source: ipmi::AddressSource) -> AddressSource {
    match source {
        ipmi::AddressSource::Unspecified => AddressSource::Unspecified,
        ipmi::AddressSource::Static => AddressSource::Static,
        ipmi::AddressSource::Dhcp => AddressSource::Dhcp,
        ipmi::AddressSource::Bios => AddressSource::Bios,
        ipmi::AddressSource::Other => AddressSource::Other,
    }
}

fn user(user: ipmi::User) -> User {
    User {
        id: user.id,
        name: user.name,
        enabled: user.enabled,
        privilege: user.privilege,
    }
}

pub(super) fn sensor(sensor: ipmi::Sensor, thresholds: Option<ipmi::Thresholds>) -> SensorRow {
    let record = sensor.record;
    SensorRow {
        name: record.name,
        number: record.number,
        kind: record.sensor_type.to_string(),
        unit: record.unit.to_string(),
        thresholds: thresholds.map(|t| Thresholds {
            lower_non_recoverable: t.lower_non_recoverable,
            lower_critical: t.lower_critical,
            lower_non_critical: t.lower_non_critical,
            upper_non_critical: t.upper_non_critical,
            upper_critical: t.upper_critical,
            upper_non_recoverable: t.upper_non_recoverable,
        }),
        reading: part(sensor.reading, |reading| Reading {
            value: reading.value,
            available: reading.available,
            states: reading.states,
            health: reading.health.map(health),
        }),
    }
}

fn health(health: ipmi::Health) -> Health {
    match health {
        ipmi::Health::Ok => Health::Ok,
        ipmi::Health::NonCritical => Health::NonCritical,
        ipmi::Health::Critical => Health::Critical,
        ipmi::Health::NonRecoverable => Health::NonRecoverable,
    }
}

pub(super) fn log_entry(entry: ipmi::SelEntry) -> LogEntry {
    let (secs, clock) = match entry.time {
        Some(ipmi::SelTime::SinceEpoch(secs)) => (Some(secs), LogClock::Bmc),
        Some(ipmi::SelTime::SinceStart(secs)) => (Some(secs), LogClock::SinceStart),
        None => (None, LogClock::Unknown),
    };
    let oem = |record_type, manufacturer_iana, data: &[u8]| LogEvent::Oem {
        oem: OemEvent {
            record_type,
            manufacturer_iana,
            data: HEXLOWER.encode(data),
        },
    };
    let event = match entry.event {
        ipmi::SelEvent::Sensor {
            generator: _,
            sensor_type,
            number,
            asserted,
            reading_type,
            data,
        } => LogEvent::Sensor {
            kind: sensor_type.to_string(),
            sensor: number,
            asserted,
            reading_type,
            data: HEXLOWER.encode(&data),
        },
        ipmi::SelEvent::OemTimed {
            kind,
            manufacturer,
            data,
        } => oem(kind, Some(manufacturer), &data),
        ipmi::SelEvent::Oem { kind, data } => oem(kind, None, &data),
    };
    LogEntry {
        id: entry.id,
        secs,
        clock,
        event,
    }
}

pub(super) fn fru(fru: ipmi::Fru) -> FruInventory {
    FruInventory {
        chassis: fru.chassis.map(|chassis| FruChassis {
            part: chassis.part,
            serial: chassis.serial,
            custom: chassis.custom,
        }),
        board: fru.board.map(|board| FruBoard {
            manufacturer: board.manufacturer,
            product: board.product,
            serial: board.serial,
            part: board.part,
            made_at_secs: board.made_at_secs,
            custom: board.custom,
        }),
        product: fru.product.map(|product| FruProduct {
            manufacturer: product.manufacturer,
            product: product.product,
            part: product.part,
            version: product.version,
            serial: product.serial,
            asset_tag: product.asset_tag,
            custom: product.custom,
        }),
        problems: fru.problems.into_iter().map(Into::into).collect(),
    }
}
