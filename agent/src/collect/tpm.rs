//! What the firmware has measured into the TPM, and its event log, as the kernel shows them.
//! Reading the log and comparing it with what was served is the conductor's job.
use super::Roots;
use crate::sysfs;
use ironbeat_common::image::Digest;
use ironbeat_common::measured::{EventLog, MAX_LOG_BYTES, Measurements, PCRS, Pcr};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Where the kernel has the log (`drivers/char/tpm/eventlog/common.c`). Its end is what the EFI stub and others measured after the
/// firmware's log was taken.
const LOG: &str = "kernel/security/tpm0/binary_bios_measurements";

/// None: there is no TPM 2.0.
pub fn read(roots: &Roots) -> Option<Measurements> {
    let tpm = roots.sys.join("class/tpm/tpm0");
    if sysfs::number(&tpm, "tpm_version_major") != Some(2) {
        return None;
    }
    let pcr = |index: u8| {
        let sha256 = sysfs::text(&tpm.join("pcr-sha256"), &index.to_string())?;
        let sha256 = Digest::from_hex(&sha256)?;
        Some(Pcr { index, sha256 })
    };
    let pcrs: Vec<Pcr> = PCRS.into_iter().filter_map(pcr).collect();
    let log = match pcrs.len() {
        0 => EventLog::Missing("the TPM shows no PCRs of SHA-256".into()),
        _ => log(&roots.sys.join(LOG)),
    };
    Some(Measurements { pcrs, log })
}

fn log(path: &Path) -> EventLog {
    let read = || -> io::Result<Vec<u8>> {
        let mut log = Vec::new();
        let most = MAX_LOG_BYTES as u64 + 1;
        File::open(path)?.take(most).read_to_end(&mut log)?;
        Ok(log)
    };
    match read() {
        Ok(log) if log.len() > MAX_LOG_BYTES => {
            EventLog::Missing(format!("it has more than {MAX_LOG_BYTES} bytes"))
        }
        Ok(log) => EventLog::Read(log),
        // The firmware has handed over none.
        Err(error) => EventLog::Missing(format!("{}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tpm_shows_its_registers_and_its_log_within_bounds() {
        let root = tempfile::tempdir().unwrap();
        let roots = Roots::at(root.path().to_str().unwrap());
        assert_eq!(read(&roots), None);
        let put = |path: &str, content: &[u8]| {
            let path = roots.sys.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        };
        let missing = || match read(&roots).unwrap().log {
            EventLog::Missing(why) => why,
            EventLog::Read(log) => panic!("{} bytes", log.len()),
        };
        put("class/tpm/tpm0/tpm_version_major", b"1\n");
        assert_eq!(read(&roots), None);
        put("class/tpm/tpm0/tpm_version_major", b"2\n");
        assert_eq!(missing(), "the TPM shows no PCRs of SHA-256");
        put(
            "class/tpm/tpm0/pcr-sha256/4",
            &[b"AB".repeat(32), b"\n".to_vec()].concat(),
        );
        put("class/tpm/tpm0/pcr-sha256/9", b"nonsense\n");
        assert!(missing().contains("binary_bios_measurements: No such file"));
        put(LOG, &vec![7; MAX_LOG_BYTES + 1]);
        assert_eq!(missing(), "it has more than 65536 bytes");
        put(LOG, &vec![7; MAX_LOG_BYTES]);
        let pcrs = vec![Pcr {
            index: 4,
            sha256: Digest([0xab; 32]),
        }];
        let log = EventLog::Read(vec![7; MAX_LOG_BYTES]);
        assert_eq!(read(&roots), Some(Measurements { pcrs, log }));
    }
}
