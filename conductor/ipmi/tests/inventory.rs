//! Sensors, events, inventories, users and controllers behind the BMC, read from OpenIPMI's `ipmi_sim`.
//! `support` starts it.
mod support;

use ironbeat_ipmi::{Bridge, ErrorKind, Health, Protocol, Sdr, SelEvent, SensorType, Transport};
use ironbeat_rack::interop::table_says;
use support::Sim;

/// A threshold sensor and a record that describes it: °C, M = 2, B = -20.
const SENSOR: &str = "sensor_add 0x20 0 0x42 0x01 0x01\n\
    sensor_set_value 0x20 0 0x42 40 0\n\
    sensor_set_threshold 0x20 0 0x42 settable 011000 0 45 40 0 0 0\n\
    sensor_set_event_support 0x20 0 0x42 enable scanning per-state 000111111000000 000111111000000 \
    000111111000000 000111111000000\n";

fn sdr() -> String {
    let mut record = vec![0x00, 0x00, 0x51, 0x01, 0x00];
    record.extend([0x20, 0x00, 0x42, 0x07, 0x01, 0x7f, 0x68, 0x01, 0x01]);
    record.extend([0xc0, 0x0f, 0xc0, 0x0f, 0x38, 0x38]);
    record.extend([0x00, 0x01, 0x00, 0x00, 0x02, 0x00, 0xec, 0xc0, 0x00, 0x00]);
    record.extend([0; 17]);
    record.push(0xc8);
    record.extend(b"CPU Temp");
    record[4] = (record.len() - 5) as u8;
    format!("main_sdr_add 0x20 {}\n", words(&record))
}

fn words(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| format!("0x{byte:02x} "))
        .collect::<String>()
        .trim()
        .to_string()
}

#[tokio::test]
async fn sensors_are_read_with_units_and_thresholds() {
    let sim = Sim::start_with("", &format!("{SENSOR}{}", sdr()));
    let bmc = sim.bmc();
    let sensors = bmc.sensors().await.unwrap();
    let [sensor] = sensors.as_slice() else {
        panic!("one sensor: {sensors:?}");
    };
    assert_eq!(sensor.record.name, "CPU Temp");
    assert_eq!(sensor.record.sensor_type, SensorType(1));
    assert_eq!(sensor.record.unit.to_string(), "°C");
    let reading = sensor.reading.as_ref().unwrap();
    assert_eq!(reading.value, Some(60.0), "{reading:?}");
    assert!(reading.health >= Some(Health::Ok), "{reading:?}");
    let thresholds = bmc.thresholds(&sensor.record).await.unwrap().unwrap();
    assert_eq!(thresholds.upper_non_critical, Some(60.0));
    assert_eq!(thresholds.upper_critical, Some(70.0));
    assert_eq!(thresholds.lower_critical, None);
}

#[tokio::test]
async fn records_longer_than_an_answer_and_many_of_them_are_read() {
    let many: String = (0..40).map(|_| sdr()).collect();
    let sim = Sim::start_with("", &many);
    let records = sim.bmc().sdr_records().await.unwrap();
    assert_eq!(records.len(), 40);
    assert!(
        records
            .iter()
            .all(|record| matches!(record, Sdr::Sensor(s) if s.name == "CPU Temp"))
    );
    let empty = Sim::start();
    assert_eq!(empty.bmc().sdr_records().await.unwrap(), []);
}

#[tokio::test]
async fn the_event_log_is_read_followed_and_cleared() {
    let event = [
        0x00, 0x2f, 0x68, 0x5e, 0x20, 0x00, 0x04, 0x01, 0x42, 0x01, 0x57, 0x5a, 0x50,
    ];
    let add = format!("sel_add 0x20 0x02 {}\n", words(&event));
    let sim = Sim::start_with("", &add.repeat(3));
    let bmc = sim.bmc();
    assert_eq!(bmc.sel_info().await.unwrap().entries, 3);
    let entries = bmc.sel(None).await.unwrap();
    assert_eq!(entries.len(), 3);
    let SelEvent::Sensor {
        sensor_type,
        number: 0x42,
        asserted: true,
        data: [0x57, 0x5a, 0x50],
        ..
    } = entries[0].event
    else {
        panic!("{:?}", entries[0]);
    };
    assert_eq!(sensor_type, SensorType(1));
    let newer = bmc.sel(Some(entries[0].id)).await.unwrap();
    assert_eq!(newer, entries[1..]);
    assert_eq!(bmc.sel(Some(entries[2].id)).await.unwrap(), []);
    bmc.clear_sel().await.unwrap();
    assert_eq!(bmc.sel_info().await.unwrap().entries, 0);
    assert_eq!(bmc.sel(None).await.unwrap(), []);
}

#[tokio::test]
async fn inventories_are_read() {
    let mut product = vec![1u8, 0, 0];
    for word in ["Ironworks", "Server", "P-1", "v2", "S-42", "asset", ""] {
        product.push(0xc0 | word.len() as u8);
        product.extend(word.as_bytes());
    }
    product.push(0xc1);
    while product.len() % 8 != 7 {
        product.push(0);
    }
    product[1] = (product.len() / 8 + 1) as u8;
    let sum = |bytes: &[u8]| bytes.iter().fold(0u8, |sum, b| sum.wrapping_sub(*b));
    product.push(sum(&product));
    let mut fru = vec![1, 0, 0, 0, 1, 0, 0];
    fru.push(sum(&fru));
    fru.extend(product);
    let size = fru.len();
    let sim = Sim::start_with(
        "",
        &format!("mc_add_fru_data 0x20 0 {size} data {}\n", words(&fru)),
    );
    let bmc = sim.bmc();
    assert_eq!(bmc.fru_bytes(0).await.unwrap(), fru);
    let fru = bmc.fru(0).await.unwrap();
    assert!(fru.problems.is_empty() && fru.board.is_none(), "{fru:?}");
    let product = fru.product.unwrap();
    assert_eq!(
        (product.serial.as_str(), product.asset_tag.as_str()),
        ("S-42", "asset")
    );
    assert!(bmc.fru(9).await.unwrap_err().completion().is_some());
}

#[tokio::test]
async fn users_are_listed() {
    let sim = Sim::start();
    let users = sim.bmc().users(1).await.unwrap();
    let seen: Vec<_> = users
        .iter()
        .map(|user| (user.id, user.name.as_str(), user.privilege))
        .collect();
    assert!(seen.contains(&(2, "admin", 4)), "{seen:?}");
    assert!(seen.contains(&(3, "reader", 2)), "{seen:?}");
    // With the tests above.
    let row = "sensors, event log, inventory, users";
    table_says("ipmi_sim 2.0.33", row, "yes");
}

#[tokio::test]
async fn a_controller_behind_the_bmc_answers() {
    let sim = Sim::start_with(
        "",
        "mc_add 0x30 1 no-device-sdrs 0x05 2 3 0x9f 0x1234 0x5678\nmc_enable 0x30\n",
    );
    let bmc = sim.bmc();
    let behind = |address| {
        bmc.behind(Bridge::Single {
            channel: 0,
            address,
        })
    };
    let id = behind(0x30).device_id().await.unwrap();
    assert_eq!(
        (id.manufacturer, id.product, id.firmware),
        (0x1234, 0x5678, (2, 3))
    );
    // The BMC itself still answers, in the same session.
    assert_eq!(bmc.device_id().await.unwrap().manufacturer, 0x1291);
    let error = behind(0x40).device_id().await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::NotPassedOn(_)), "{error}");
    assert_eq!(bmc.device_id().await.unwrap().manufacturer, 0x1291);
}

#[tokio::test]
async fn the_old_protocol_works_when_asked_for() {
    let sim = Sim::start();
    let mut config = sim.login();
    config.protocol = Protocol::Ipmi15;
    let transport = Transport::new();
    let bmc = transport.bmc(config.clone());
    for _ in 0..20 {
        assert!(!bmc.chassis_status().await.unwrap().power_on);
    }
    bmc.close().await;
    assert_eq!(bmc.device_id().await.unwrap().manufacturer, 0x1291);
    config.username = "nobody".into();
    let error = transport.bmc(config).device_id().await.unwrap_err();
    assert!(
        matches!(error.kind, ErrorKind::NoSuchUser { .. }),
        "{error}"
    );
    table_says("ipmi_sim 2.0.33", "IPMI 1.5, on request", "yes");
}
