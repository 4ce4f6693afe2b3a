//! Machines obey their boot scripts: QEMU's SeaBIOS and OVMF, Debian's iPXE, a real dnsmasq, our HTTP server.
//! `script` tests what the scripts say; the rack tests whole deployments.
use ironbeat::config::{HttpLimits, Scripts};
use ironbeat::netboot::http::{self, BootAnswers};
use ironbeat::netboot::script::{Access, Workers, entry_script};
use ironbeat_core::boot::Boot;
use ironbeat_rack::layout::{BOOT_PORT, GATEWAY};
use ironbeat_rack::machine::boot_sector;
use ironbeat_rack::machine::spec::{BootDevice, BootFlags, DiskContent, NicRom, NodeSpec};
use ironbeat_rack::netns::Netns;
use ironbeat_rack::rack::{Rack, RackSpec};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::sync::oneshot;

/// A POST with network boot takes 2–8 s on an idle machine; far more on a loaded one.
const BOOT: Duration = Duration::from_secs(300);

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
            tls: None,
            names: Vec::new(),
            scripts: Scripts::Http,
            boot_dir: dir.into(),
            image_dir: dir.into(),
            may_fetch: None,
            limits: HttpLimits::default(),
            nats: vec![format!("nats://{GATEWAY}:4222")],
            prefix: "ib.v1".into(),
            ca: None,
            kernel_args: String::new(),
            script_of: Arc::new(move |_| {
                let script = Some((boot, Access::default()));
                Box::pin(std::future::ready(script))
            }),
            workers: Arc::new(move || Workers {
                plain: workers.clone(),
                boot: workers.clone(),
            }),
            on_fetch: Arc::new(move |mac, what| told.lock().unwrap().push(format!("{mac} {what}"))),
            on_distrust: Arc::new(|_, _| {}),
            on_confirm: Arc::new(|_, _| unreachable!("no instance is deployed here")),
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
fn machines_leave_ipxe_for_their_next_boot_entry() {
    let dir = tempfile::tempdir().unwrap();
    let sector = dir.path().join("sector");
    // Twice: the last bytes of iPXE may come in the middle of the first.
    fs::write(&sector, boot_sector("HELLO-DISK\r\nHELLO-DISK\r\n")).unwrap();
    let (mut bios, mut uefi) = (NodeSpec::bios(), NodeSpec::uefi());
    bios.disks[0].content = DiskContent::File(sector);
    // This one loads iPXE by TFTP, as real servers do.
    uefi.nics[0].rom = NicRom::None;
    let mut rack = Rack::start(RackSpec {
        nodes: vec![bios, uefi],
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
    // OVMF's next entry is the NIC by IPv6, where it waits 70 s in vain; the disk comes after that.
    for (node, next) in [(1, "HELLO-DISK"), (2, "Start PXE over IPv6")] {
        let mut console = rack.console(node);
        if let Err(error) = console.wait_for(next, BOOT) {
            panic!("node {node}: {error:#}\n{}", console.text());
        }
        let asked = format!("52:54:00:77:00:0{node} boot script: disk");
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
