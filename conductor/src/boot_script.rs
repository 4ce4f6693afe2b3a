//! iPXE scripts: a pure function of what a machine shall boot and where it can get it.
//! What it shall boot is `ironbeat_common::boot`; serving the script is `http`'s affair.
use ironbeat_common::boot::Boot;
use std::fmt::Write as _;

/// How often a machine goes round all workers before it reboots and starts over; the pauses grow from 1 to 10 s.
const ROUNDS: u32 = 10;

/// What a boot script says beside what to boot.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Base URLs of live workers, the one that answers first.
    pub workers: Vec<String>,
    /// NATS servers for the agent.
    pub nats: Vec<String>,
    pub prefix: String,
    /// More kernel arguments, from the configuration.
    pub kernel_args: String,
}

/// The first script, the same for every machine: asks each worker in turn for this machine's own.
pub fn entry_script(workers: &[String]) -> String {
    let mut script = String::from("#!ipxe\nset tries:int32 0\n:again\n");
    for url in workers {
        // The NIC that iPXE has configured last is the one that it booted from.
        writeln!(
            script,
            "chain --replace --autofree {url}/v1/boot/${{netX/mac:hexhyp}} ||"
        )
        .expect("a String grows");
    }
    pause_and_repeat(&mut script);
    script
}

fn pause_and_repeat(script: &mut String) {
    let lines = [
        "inc tries",
        &format!("iseq ${{tries}} {ROUNDS} && reboot ||"),
        "echo ironbeat: no conductor answered, try ${tries}",
        "sleep ${tries}",
        "goto again",
    ];
    for line in lines {
        writeln!(script, "{line}").expect("a String grows");
    }
}

pub fn script_for(boot: Boot, facts: &Facts) -> String {
    match boot {
        Boot::Ramdisk => ramdisk(facts),
        Boot::Disk => disk(),
    }
}

fn ramdisk(facts: &Facts) -> String {
    let arguments = [
        "initrd=initrd".to_string(),
        "BOOTIF=01-${netX/mac:hexhyp}".into(),
        "ib.mac=${netX/mac}".into(),
        "ib.ip=${netX/ip}".into(),
        "ib.mask=${netX/netmask}".into(),
        "ib.gw=${netX/gateway}".into(),
        "ib.dns=${netX/dns}".into(),
        format!("ib.nats={}", facts.nats.join(",")),
        format!("ib.prefix={}", facts.prefix),
        facts.kernel_args.clone(),
    ]
    .join(" ");
    let mut script = String::from("#!ipxe\nset tries:int32 0\n:again\n");
    for (n, url) in facts.workers.iter().enumerate() {
        let next = format!("next{n}");
        for line in [
            "imgfree".into(),
            format!(
                "kernel {url}/boot/vmlinuz {} || goto {next}",
                arguments.trim()
            ),
            format!("initrd --name initrd {url}/boot/initrd || goto {next}"),
            format!("boot || goto {next}"),
            format!(":{next}"),
        ] {
            writeln!(script, "{line}").expect("a String grows");
        }
    }
    pause_and_repeat(&mut script);
    script
}

/// Under UEFI a failure status makes the firmware go on to its next entry; status 0 would end its boot loop. Under
/// BIOS the first disk is booted directly, as some firmware does not go on at all.
fn disk() -> String {
    "#!ipxe\niseq ${platform} efi && exit 1 ||\nsanboot --no-describe --drive 0x80 || exit 1\n"
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            workers: vec!["http://w1".into(), "http://w2".into()],
            nats: vec!["nats://n:4222".into()],
            prefix: "ib.v1".into(),
            kernel_args: "console=ttyS0".into(),
        }
    }

    #[test]
    fn a_machine_asks_every_worker_in_turn() {
        assert_eq!(
            entry_script(&facts().workers),
            "#!ipxe\nset tries:int32 0\n:again\n\
             chain --replace --autofree http://w1/v1/boot/${netX/mac:hexhyp} ||\n\
             chain --replace --autofree http://w2/v1/boot/${netX/mac:hexhyp} ||\n\
             inc tries\niseq ${tries} 10 && reboot ||\necho ironbeat: no conductor answered, try ${tries}\n\
             sleep ${tries}\ngoto again\n"
        );
    }

    #[test]
    fn the_ramdisk_is_fetched_from_any_worker() {
        let script = script_for(Boot::Ramdisk, &facts());
        for line in [
            "kernel http://w1/boot/vmlinuz initrd=initrd BOOTIF=01-${netX/mac:hexhyp} ib.mac=${netX/mac} \
             ib.ip=${netX/ip} ib.mask=${netX/netmask} ib.gw=${netX/gateway} ib.dns=${netX/dns} \
             ib.nats=nats://n:4222 ib.prefix=ib.v1 console=ttyS0 || goto next0",
            "initrd --name initrd http://w2/boot/initrd || goto next1",
            ":next1",
        ] {
            assert!(
                script.lines().any(|have| have == line),
                "{line:?} in\n{script}"
            );
        }
    }

    #[test]
    fn a_machine_that_is_to_boot_its_disk_leaves_ipxe_with_a_failure() {
        assert!(script_for(Boot::Disk, &facts()).contains("efi && exit 1"));
    }
}
