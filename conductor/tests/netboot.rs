//! Machines obey their boot scripts: QEMU's SeaBIOS and OVMF, Debian's iPXE, a real dnsmasq, our HTTP server.
//! What the scripts say is judged beside `boot_script`; whole deployments are the rack tests' affair.
use ironbeat::boot_script::entry_script;
use ironbeat::http::{self, BootAnswers};
use ironbeat_common::boot::Boot;
use ironbeat_tests::layout::{BOOT_PORT, GATEWAY};
use ironbeat_tests::machine::boot_sector;
use ironbeat_tests::machine::spec::{BootDevice, BootFlags, DiskContent, NicRom, NodeSpec};
use ironbeat_tests::netns::Netns;
use ironbeat_tests::process::{find_program, run_ok};
use ironbeat_tests::rack::{Rack, RackSpec};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::sync::oneshot;

/// A POST with network boot takes 2–8 s on an idle machine; far more on a loaded one.
const BOOT: Duration = Duration::from_secs(300);
const TOOL: Duration = Duration::from_secs(30);

/// Our HTTP server in a namespace: its sockets are made on a thread that lives there.
struct Worker {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    fetched: Arc<Mutex<Vec<String>>>,
}

impl Worker {
    fn start(netns: &Arc<Netns>, dir: &Path, boot: Boot, workers: Vec<String>) -> Self {
        let fetched = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&fetched);
        let answers = BootAnswers {
            listen: SocketAddr::from((GATEWAY, BOOT_PORT)),
            boot_dir: dir.into(),
            image_dir: dir.into(),
            nats: vec![format!("nats://{GATEWAY}:4222")],
            prefix: "ib.v1".into(),
            kernel_args: String::new(),
            boot_of: Arc::new(move |_| boot),
            workers: Arc::new(move || workers.clone()),
            on_fetch: Arc::new(move |mac, what| told.lock().unwrap().push(format!("{mac} {what}"))),
        };
        let netns = Arc::clone(netns);
        let ((stop, stopped), (ready, is_ready)) = (oneshot::channel(), oneshot::channel());
        let serve = async move {
            let server = http::start(answers).await?;
            let _ = ready.send(());
            let _ = stopped.await;
            server.stop().await;
            anyhow::Ok(())
        };
        let thread = thread::spawn(move || {
            netns
                .inside(|| {
                    let mut runtime = tokio::runtime::Builder::new_current_thread();
                    runtime.enable_all().build()?.block_on(serve)
                })
                .unwrap();
        });
        is_ready.blocking_recv().unwrap();
        Self {
            stop: Some(stop),
            thread: Some(thread),
            fetched,
        }
    }

    fn fetched(&self) -> Vec<String> {
        self.fetched.lock().unwrap().clone()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Nobody listens at the first URL: a machine has to go on to the second.
fn workers() -> Vec<String> {
    let url = |port: u16| format!("http://{GATEWAY}:{port}");
    vec![url(BOOT_PORT + 1), url(BOOT_PORT)]
}

fn start_from_network(rack: &Rack, node: usize) {
    rack.machine(node).set_boot(BootFlags {
        device: BootDevice::Pxe,
        ..BootFlags::default()
    });
    rack.machine(node).power_on().unwrap();
}

#[test]
fn machines_leave_ipxe_for_their_disk() {
    let dir = tempfile::tempdir().unwrap();
    let sector = dir.path().join("sector");
    fs::write(&sector, boot_sector("HELLO-DISK\r\n")).unwrap();
    let esp = esp(dir.path(), "HELLO-DISK\r\n");
    let mut nodes = vec![NodeSpec::bios(), NodeSpec::uefi()];
    for (node, disk) in nodes.iter_mut().zip([sector, esp]) {
        node.disks[0].content = DiskContent::File(disk);
    }
    // This one loads iPXE by TFTP, as real servers do.
    nodes[1].nics[0].rom = NicRom::None;
    let mut rack = Rack::start(RackSpec {
        nodes,
        ..RackSpec::default()
    })
    .unwrap();
    fs::write(
        rack.dnsmasq().tftp_dir().join("boot.ipxe"),
        entry_script(&workers()),
    )
    .unwrap();
    let worker = Worker::start(rack.netns(), dir.path(), Boot::Disk, workers());
    for node in [1, 2] {
        start_from_network(&rack, node);
    }
    for node in [1, 2] {
        let mut console = rack.console(node);
        if let Err(error) = console.wait_for("HELLO-DISK", BOOT) {
            panic!("node {node}: {error:#}\n{}", console.text());
        }
        let asked = format!("52:54:00:77:00:0{node} boot script: disk");
        // Firmware may try the NIC more than once, as IPv4 and as IPv6 say.
        assert!(worker.fetched().contains(&asked), "{:?}", worker.fetched());
    }
    drop(worker);
    rack.shutdown();
}

/// The "kernel" is a script, which iPXE boots as willingly.
#[test]
fn machines_fetch_kernel_and_ramdisk_from_the_worker_that_answers() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("vmlinuz"),
        "#!ipxe\necho HELLO-KERNEL\n:stay\nsleep 60\ngoto stay\n",
    )
    .unwrap();
    fs::write(dir.path().join("initrd"), "ramdisk").unwrap();
    let mut rack = Rack::start(RackSpec {
        nodes: vec![NodeSpec::bios(), NodeSpec::uefi()],
        ..RackSpec::default()
    })
    .unwrap();
    // No worker is known yet when the machines come up; they keep asking.
    let entry = rack.dnsmasq().tftp_dir().join("boot.ipxe");
    fs::write(&entry, entry_script(&workers())).unwrap();
    for node in [1, 2] {
        start_from_network(&rack, node);
    }
    for node in [1, 2] {
        rack.console(node)
            .wait_for("no conductor answered, try 1", BOOT)
            .unwrap();
    }
    let worker = Worker::start(rack.netns(), dir.path(), Boot::Ramdisk, workers());
    for node in [1, 2] {
        let mut console = rack.console(node);
        if let Err(error) = console.wait_for("HELLO-KERNEL", BOOT) {
            panic!("node {node}: {error:#}\n{}", console.text());
        }
        let mac = format!("52:54:00:77:00:0{node}");
        let fetched: Vec<String> = worker.fetched();
        let fetched: Vec<&str> = fetched
            .iter()
            .filter_map(|what| what.strip_prefix(&mac))
            .collect();
        assert_eq!(fetched, [" boot script: ramdisk", " kernel", " ramdisk"]);
    }
    drop(worker);
    rack.shutdown();
}

/// A disk whose only file is a boot loader that says `text`.
fn esp(dir: &Path, text: &str) -> PathBuf {
    let (disk, loader) = (dir.join("esp"), dir.join("loader"));
    fs::write(&loader, efi_program(text)).unwrap();
    fs::File::create(&disk).unwrap().set_len(64 << 20).unwrap();
    let tool = |name: &str, args: &[&str]| {
        let mut command = Command::new(find_program(name, None).unwrap());
        command.arg("-i").arg(&disk).args(args);
        run_ok(command, TOOL).unwrap();
    };
    tool("mformat", &["-F", "::"]);
    tool("mmd", &["::EFI", "::EFI/BOOT"]);
    tool(
        "mcopy",
        &[loader.to_str().unwrap(), "::EFI/BOOT/BOOTX64.EFI"],
    );
    disk
}

/// The smallest EFI program that prints a line and stays there (PE/COFF; UEFI 2.10 §2.1.1, §4.3, §12.4).
fn efi_program(text: &str) -> Vec<u8> {
    let mut image = vec![0; 0x400];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x00, b"MZ");
    put(0x3c, &0x40_u32.to_le_bytes());
    put(0x40, b"PE\0\0");
    put(0x44, &0x8664_u16.to_le_bytes()); // machine: x86-64
    put(0x46, &1_u16.to_le_bytes()); // sections
    put(0x54, &0xf0_u16.to_le_bytes()); // size of the optional header
    put(0x56, &0x22_u16.to_le_bytes()); // executable, any address
    put(0x58, &0x20b_u16.to_le_bytes()); // PE32+
    put(0x5c, &0x200_u32.to_le_bytes()); // size of code
    put(0x68, &0x1000_u32.to_le_bytes()); // entry point
    put(0x6c, &0x1000_u32.to_le_bytes()); // base of code
    put(0x78, &0x1000_u32.to_le_bytes()); // alignment in memory
    put(0x7c, &0x200_u32.to_le_bytes()); // alignment in the file
    put(0x90, &0x2000_u32.to_le_bytes()); // size of the image
    put(0x94, &0x200_u32.to_le_bytes()); // size of the headers
    put(0x9c, &10_u16.to_le_bytes()); // subsystem: EFI application
    put(0xc4, &16_u32.to_le_bytes()); // data directories, all empty
    put(0x148, b".text");
    put(0x150, &0x200_u32.to_le_bytes());
    put(0x154, &0x1000_u32.to_le_bytes());
    put(0x158, &0x200_u32.to_le_bytes());
    put(0x15c, &0x200_u32.to_le_bytes());
    put(0x16c, &0x6000_0020_u32.to_le_bytes()); // code, execute, read
    // sub rsp,0x28; mov rcx,[rdx+0x40] (ConOut); lea rdx,[text]; call [rcx+8] (OutputString); end: hlt; jmp end
    let code = [
        0x48, 0x83, 0xec, 0x28, 0x48, 0x8b, 0x4a, 0x40, 0x48, 0x8d, 0x15, 6, 0, 0, 0, 0xff, 0x51,
        0x08, 0xf4, 0xeb, 0xfd,
    ];
    put(0x200, &code);
    let text: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    put(0x200 + code.len(), &text);
    image
}
