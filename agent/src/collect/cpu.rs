//! The processors: model, count, sockets, flags, from `/proc/cpuinfo` and sysfs.
//! What a flag means is left to the conductor.
use super::{Fill, Roots};
use anyhow::{Context, ensure};
use ironbeat_common::inventory::Cpu;
use std::collections::BTreeSet;
use std::path::Path;

/// More processors than any machine has; bounds a broken file.
const MAX_PROCESSORS: usize = 8192;

pub fn read(roots: &Roots) -> anyhow::Result<Fill> {
    let path = roots.proc.join("cpuinfo");
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let mut cpu = parse(&text);
    ensure!(cpu.count > 0, "no processor in {}", path.display());
    cpu.architecture = rustix::system::uname()
        .machine()
        .to_string_lossy()
        .into_owned();
    if cpu.sockets == 0 {
        cpu.sockets = sockets_in_sysfs(&roots.sys);
    }
    if let Some(mhz) = max_mhz(&roots.sys) {
        cpu.mhz = Some(mhz);
    }
    Ok(Box::new(move |inventory| inventory.cpu = cpu))
}

/// Reads x86's and arm64's form of the file. Only the first processor's model and flags are taken: they do not differ.
pub(crate) fn parse(text: &str) -> Cpu {
    let mut cpu = Cpu::default();
    let mut sockets = BTreeSet::new();
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        match key.trim() {
            "processor" if (cpu.count as usize) < MAX_PROCESSORS => cpu.count += 1,
            "model name" if cpu.model.is_empty() => cpu.model = value.to_string(),
            "cpu MHz" if cpu.mhz.is_none() => {
                cpu.mhz = value.split('.').next().and_then(|mhz| mhz.parse().ok())
            }
            "physical id" if sockets.len() < MAX_PROCESSORS => {
                sockets.insert(value.to_string());
            }
            "flags" | "Features" if cpu.flags.is_empty() => {
                cpu.flags = value.split_ascii_whitespace().map(str::to_string).collect();
            }
            _ => {}
        }
    }
    cpu.sockets = sockets.len() as u32;
    cpu
}

/// arm64 names no socket in `/proc/cpuinfo`.
fn sockets_in_sysfs(sys: &Path) -> u32 {
    let Ok(entries) = std::fs::read_dir(sys.join("devices/system/cpu")) else {
        return 0;
    };
    let packages: BTreeSet<String> = entries
        .flatten()
        .take(MAX_PROCESSORS)
        .filter_map(|cpu| {
            std::fs::read_to_string(cpu.path().join("topology/physical_package_id")).ok()
        })
        .map(|id| id.trim().to_string())
        .collect();
    packages.len() as u32
}

/// The highest frequency, if a frequency driver reports it: the present one changes all the time.
fn max_mhz(sys: &Path) -> Option<u32> {
    let path = sys.join("devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq");
    let khz: u32 = std::fs::read_to_string(path).ok()?.trim().parse().ok()?;
    Some(khz / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_common::inventory::Inventory;
    use ironbeat_mutate::good::cpuinfo::{ARM, X86};

    fn tree(cpuinfo: &str) -> (tempfile::TempDir, Roots) {
        let root = tempfile::tempdir().unwrap();
        let roots = Roots::at(root.path().to_str().unwrap());
        std::fs::create_dir_all(&roots.proc).unwrap();
        std::fs::write(roots.proc.join("cpuinfo"), cpuinfo).unwrap();
        (root, roots)
    }

    fn cpu(roots: &Roots) -> Cpu {
        let mut inventory = Inventory::default();
        read(roots).unwrap()(&mut inventory);
        inventory.cpu
    }

    #[test]
    fn two_sockets_of_x86_are_counted() {
        let (_root, roots) = tree(X86);
        let cpu = cpu(&roots);
        assert_eq!((cpu.count, cpu.sockets, cpu.mhz), (2, 2, Some(2793)));
        assert_eq!(cpu.model, "Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz");
        assert_eq!(cpu.flags, ["fpu", "vme", "sha_ni"]);
        assert!(!cpu.architecture.is_empty());
    }

    #[test]
    fn arm_has_its_sockets_in_sysfs() {
        let (_root, roots) = tree(ARM);
        for n in 0..2 {
            let dir = roots
                .sys
                .join(format!("devices/system/cpu/cpu{n}/topology"));
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join("physical_package_id"), "36\n").unwrap();
        }
        let freq = roots.sys.join("devices/system/cpu/cpu0/cpufreq");
        std::fs::create_dir_all(&freq).unwrap();
        std::fs::write(freq.join("cpuinfo_max_freq"), "3000000\n").unwrap();
        let cpu = cpu(&roots);
        assert_eq!((cpu.count, cpu.sockets, cpu.mhz), (2, 1, Some(3000)));
        assert_eq!(cpu.flags, ["fp", "asimd"]);
    }

    #[test]
    fn no_processor_is_a_problem() {
        let (_root, roots) = tree("");
        let error = read(&roots).err().unwrap();
        assert!(error.to_string().starts_with("no processor in "), "{error}");
        let error = read(&Roots::at("/nonexistent")).err().unwrap();
        assert_eq!(error.to_string(), "reading /nonexistent/proc/cpuinfo");
    }

    #[test]
    fn any_bytes_are_survived() {
        ironbeat_mutate::mutants(X86.as_bytes(), 5_000, |bytes| {
            parse(&String::from_utf8_lossy(bytes));
        });
    }
}
