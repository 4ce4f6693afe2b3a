//! The server over real connections: what it serves, what it refuses, and its bounds.
//! `script` tests the scripts, `idle` tests silence.
use super::*;
use ironbeat_rack::certificates;
use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One of its files, an image, is larger than what the kernel buffers for a connection.
struct Site {
    dir: tempfile::TempDir,
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
    fetched: Arc<Mutex<Vec<String>>>,
}

const BIG: usize = 64 << 20;
const BIG_REQUEST: &str = "GET /images/big.raw HTTP/1.1\r\nHost: h\r\n\r\n";

async fn site(limits: Limits) -> Site {
    site_with(limits, HttpLimits::default()).await
}

/// With so many places for images.
async fn site_of_images(images: u32) -> Site {
    let options = HttpLimits {
        images,
        ..HttpLimits::default()
    };
    site_with(Limits::of(&options), options).await
}

async fn site_with(limits: Limits, options: HttpLimits) -> Site {
    site_of(limits, options, None).await
}

async fn site_of(limits: Limits, options: HttpLimits, may_fetch: Option<Arc<MayFetch>>) -> Site {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in [
        ("boot/vmlinuz", "kernel"),
        ("boot/initrd", "ramdisk"),
        ("images/os.raw", "0123456789"),
        ("secret", "hush"),
    ] {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let big = File::create(dir.path().join("images/big.raw")).unwrap();
    big.set_len(BIG as u64).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let fetched = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&fetched);
    let answers = BootAnswers {
        listen: address,
        tls: None,
        names: vec!["boot.example.org".into()],
        scripts: Scripts::Http,
        boot_dir: dir.path().join("boot"),
        image_dir: dir.path().join("images"),
        may_fetch,
        limits: options,
        nats: vec!["nats://n".into()],
        prefix: "ib.v1".into(),
        ca: None,
        kernel_args: String::new(),
        script_of: Arc::new(|mac| {
            let script = match mac.as_bytes()[5] {
                1 => Some((Boot::Ramdisk, Access::default())),
                9 => None,
                _ => Some((Boot::Disk, Access::default())),
            };
            Box::pin(std::future::ready(script))
        }),
        workers: Arc::new(|| Workers {
            plain: vec!["http://w1".into()],
            boot: vec!["http://w1".into(), "http://w2.lab:8081".into()],
        }),
        on_fetch: Arc::new(move |mac, what| told.lock().unwrap().push(format!("{mac} {what}"))),
        on_distrust: Arc::new(|_, _| {}),
        on_confirm: Arc::new(|node, sha256| {
            let good = node == node_with_instance() && sha256 == confirm::sha256("sesame");
            let status = if good {
                StatusCode::NO_CONTENT
            } else {
                StatusCode::NOT_FOUND
            };
            Box::pin(std::future::ready(status))
        }),
    };
    let stop = CancellationToken::new();
    let doors = Doors {
        plain: listener,
        tls: None,
    };
    let on_distrust = Arc::clone(&answers.on_distrust);
    let serve = serve::serve(doors, router(answers), limits, on_distrust, stop.clone());
    let task = tokio::spawn(serve);
    Site {
        dir,
        address,
        stop,
        task,
        fetched,
    }
}

impl Site {
    async fn send(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// Status and body.
    async fn ask(&self, method: &str, path: &str, headers: &str) -> (u16, String) {
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{headers}\r\n");
        let mut reply = String::new();
        let mut stream = self.send(&request).await;
        stream.read_to_string(&mut reply).await.unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.into())
    }

    /// Takes a place with a download, and keeps it.
    async fn hold(&self) -> TcpStream {
        let mut stream = self.send(BIG_REQUEST).await;
        stream.read_exact(&mut [0; 1]).await.unwrap();
        stream
    }

    /// The whole reply.
    async fn reply_to(&self, request: &str) -> String {
        let mut reply = String::new();
        let mut stream = self.send(request).await;
        // A connection that is not listened to may end with an error.
        let _ = stream.read_to_string(&mut reply).await;
        reply
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path, "").await
    }
}

#[tokio::test]
async fn a_machine_gets_what_its_record_says() {
    let site = site(Limits::default()).await;
    let (status, script) = site.get("/v1/boot/52-54-00-77-00-01").await;
    assert_eq!(status, 200);
    assert!(script.contains("kernel http://w1/boot/vmlinuz"), "{script}");
    let (_, script) = site.get("/v1/boot/52:54:00:77:00:02").await;
    assert!(script.contains("sanboot"), "{script}");
    for wrong in ["nonsense", "52-54-00-77-00", "", "%00", "52-54-00-77-00-0g"] {
        let (status, _) = site.get(&format!("/v1/boot/{wrong}")).await;
        assert!(matches!(status, 400 | 404), "{wrong:?}: {status}");
    }
    assert_eq!(site.get("/healthz").await, (200, "ok\n".into()));
}

#[tokio::test]
async fn a_ramdisk_gets_the_arguments_that_its_loader_could_not_ask_for() {
    let site = site(Limits::default()).await;
    let (status, words) = site.get("/v1/arguments/525400770001").await;
    let expected = "ib.nats=nats://n ib.prefix=ib.v1 ib.http=http://w1\n";
    assert_eq!((status, words.as_str()), (200, expected));
    for (mac, status) in [("525400770002", 409), ("525400770009", 503), ("x", 400)] {
        let (got, said) = site.get(&format!("/v1/arguments/{mac}")).await;
        assert!(
            got == status && !said.contains("ib."),
            "{mac}: {got} {said}"
        );
    }
    assert_eq!(
        *site.fetched.lock().unwrap(),
        [
            "52:54:00:77:00:01 boot arguments: ramdisk",
            "52:54:00:77:00:02 boot arguments: none, it boots its disk"
        ]
    );
}

#[tokio::test]
async fn a_fetch_is_reported_once_the_machine_has_it() {
    let site = site(Limits::default()).await;
    for path in [
        "/v1/boot/52-54-00-77-00-01",
        "/boot/vmlinuz?mac=52-54-00-77-00-01",
        "/boot/initrd?mac=52-54-00-77-00-01",
        "/boot/initrd?mac=nonsense",
        "/boot/initrd",
        "/boot/missing?mac=52-54-00-77-00-01",
    ] {
        site.get(path).await;
    }
    std::fs::remove_file(site.dir.path().join("boot/initrd")).unwrap();
    assert_eq!(site.get("/boot/initrd?mac=52-54-00-77-00-01").await.0, 404);
    assert_eq!(
        *site.fetched.lock().unwrap(),
        [
            "52:54:00:77:00:01 boot script: ramdisk",
            "52:54:00:77:00:01 kernel",
            "52:54:00:77:00:01 ramdisk"
        ]
    );
}

#[tokio::test]
async fn images_are_served_whole_and_in_parts() {
    let site = site(Limits::default()).await;
    let get = async |range: &str| site.ask("GET", "/images/os.raw", range).await;
    assert_eq!(get("").await, (200, "0123456789".into()));
    assert_eq!(get("Range: bytes=4-\r\n").await, (206, "456789".into()));
    assert_eq!(get("Range: bytes=2-3\r\n").await, (206, "23".into()));
    assert_eq!(get("Range: bytes=10-\r\n").await.0, 416);
    assert_eq!(
        site.ask("HEAD", "/images/os.raw", "").await,
        (200, String::new())
    );
    assert_eq!(site.ask("POST", "/images/os.raw", "").await.0, 405);
}

#[tokio::test]
async fn nothing_outside_the_directories_is_served() {
    let site = site(Limits::default()).await;
    for root in ["/images", "/boot"] {
        for path in [
            "/../secret",
            "/..%2fsecret",
            "/%2e%2e/secret",
            "/%2e%2e%2fsecret",
            "/..%5csecret",
            "/..%252fsecret",
            "//../secret",
            "/./../secret",
            "/os.raw/../../secret",
            "/%00/../secret",
            "/..;/secret",
        ] {
            let path = format!("{root}{path}");
            let (status, body) = site.get(&path).await;
            assert!(
                status >= 400 && !body.contains("hush"),
                "{path}: {status} {body}"
            );
        }
        // An absolute path inside a path.
        let absolute = site.dir.path().join("secret");
        let path = format!("{root}/{}", absolute.display());
        assert_eq!(site.get(&path).await.0, 404, "{path}");
        assert_eq!(site.get(&format!("{root}/")).await.0, 404, "no listing");
    }
    for path in ["/secret", "//secret", "/", "/v1/boot/../../secret"] {
        let (status, body) = site.get(path).await;
        assert!(status >= 400 && !body.contains("hush"), "{path}: {status}");
    }
}

/// Reads until the server ends the connection, in whatever way.
async fn ended(mut stream: TcpStream) -> usize {
    let mut buffer = vec![0; 1 << 16];
    let mut total = 0;
    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
        total += n;
    }
    total
}

#[tokio::test]
async fn dawdlers_are_cut_off() {
    let limits = Limits {
        request: Duration::from_millis(100),
        silence: Duration::from_millis(100),
        ..Limits::default()
    };
    let site = site(limits).await;
    // Says nothing; stops in the middle of a request; sends a request that never ends.
    ended(site.send("").await).await;
    ended(site.send("GET /healthz HT").await).await;
    let mut stream = TcpStream::connect(site.address).await.unwrap();
    let endless = "GET /healthz HTTP/1.1\r\nX: ".to_string() + &"x".repeat(1 << 20);
    // The server may end the connection before it has all.
    let _ = stream.write_all(endless.as_bytes()).await;
    ended(stream).await;
}

/// The machine is gone: a server that stops does not wait for it.
#[tokio::test]
async fn a_machine_that_takes_nothing_of_its_file_is_cut_off() {
    let limits = Limits {
        // Long enough for a busy machine to begin.
        silence: Duration::from_secs(3),
        grace: Duration::from_secs(3600),
        ..Limits::default()
    };
    let site = site(limits).await;
    let mut taker = site.send(BIG_REQUEST).await;
    taker.read_exact(&mut [0; 1]).await.unwrap();
    site.stop.cancel();
    site.task.await.unwrap();
    assert!(ended(taker).await < BIG);
}

#[tokio::test]
async fn more_connections_than_the_bound_wait_for_their_turn() {
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let site = site(limits).await;
    let (one, two) = (site.hold().await, site.hold().await);
    let mut third = Box::pin(site.get("/healthz"));
    let early = tokio::time::timeout(Duration::from_millis(200), &mut third).await;
    assert!(early.is_err(), "{early:?}");
    drop(one);
    assert_eq!(third.await.0, 200);
    drop(two);
}

const SMALL_REQUEST: &str = "GET /images/os.raw HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

/// As whoever wants all places to himself does: each connection wants something, and never says all of it.
#[tokio::test]
async fn whoever_has_not_sent_a_whole_request_gives_way() {
    let limits = Limits {
        connections: 4,
        request: Duration::from_secs(3600),
        ..Limits::default()
    };
    let site = site(limits).await;
    let download = site.hold().await;
    let node = node_with_instance();
    let form = format!(
        "POST {}/{node}/sesame HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nx",
        confirm::PATH
    );
    let mut dawdlers = Vec::new();
    let kept = "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";
    for (n, beginning) in ["", "GET /hea", kept, &form]
        .into_iter()
        .cycle()
        .take(40)
        .enumerate()
    {
        let held = site.send(beginning).await;
        assert_eq!(
            site.get("/v1/boot/52-54-00-77-00-01").await.0,
            200,
            "{n}: {beginning}"
        );
        assert_eq!(site.get("/healthz").await.0, 200, "{n}: {beginning}");
        dawdlers.push(held);
    }
    assert!(
        ended(download).await >= BIG - 1,
        "what is answered is not cut"
    );
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let limits = Limits {
        request: Duration::from_millis(100),
        ..Limits::default()
    };
    let site = site(limits).await;
    let confirm = format!("POST {}/{}/sesame", confirm::PATH, node_with_instance());
    for request in [confirm.as_str(), "GET /healthz"] {
        let request = format!("{request} HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nx");
        let said = site.reply_to(&request).await;
        assert!(said.starts_with("HTTP/1.1 408 "), "{request}: {said}");
    }
}

/// As a client on another host.
async fn connect_from(last: [u8; 2], site: &Site) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket
        .bind(SocketAddr::from(([127, 78, last[0], last[1]], 0)))
        .unwrap();
    socket.connect(site.address).await.unwrap()
}

/// As whoever wants machines to get no kernel does: each connection takes a little of a ramdisk.
#[tokio::test]
async fn a_few_addresses_do_not_keep_machines_from_their_kernels() {
    let options = HttpLimits::default();
    let (each, addresses) = (options.per_address as usize, 7);
    assert!(each * addresses > BOOT_FILES);
    let site = site_with(Limits::of(&options), options).await;
    let ramdisk = File::create(site.dir.path().join("boot/big")).unwrap();
    ramdisk.set_len(BIG as u64).unwrap();
    let mut held = Vec::new();
    for n in 0..BOOT_FILES {
        let mut stream = connect_from([0, (n / each) as u8], &site).await;
        let request = BIG_REQUEST.replace("/images/big.raw", "/boot/big");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.read_exact(&mut [0; 1]).await.unwrap();
        held.push(stream);
    }
    // Machines, one after the other.
    for machine in 0..10 {
        let request = "GET /boot/vmlinuz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        let mut stream = connect_from([1, machine], &site).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        assert!(reply.starts_with("HTTP/1.1 200 "), "{machine}: {reply}");
        assert_eq!(site.get("/healthz").await.0, 200);
    }
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let [certificate, key] = ["crt", "key"].map(|name| dir.path().join(name));
    std::fs::write(&key, "").unwrap();
    let files = HttpTls {
        listen: "127.0.0.1:1".parse().unwrap(),
        url: None,
        certificate,
        key,
    };
    for (mode, refused) in [(0o640, true), (0o604, true), (0o600, false)] {
        std::fs::set_permissions(&files.key, PermissionsExt::from_mode(mode)).unwrap();
        let why = acceptor(&files, Scripts::default())
            .err()
            .expect("there is no certificate");
        let is_mode = why.to_string().contains("others may read or write");
        assert_eq!(is_mode, refused, "{mode:o}: {why}");
    }
    // What is in it is no key.
    std::fs::write(&files.certificate, "").unwrap();
    let why = acceptor(&files, Scripts::default()).err().unwrap();
    assert!(why.to_string().contains("find a private key"), "{why}");
}

#[tokio::test]
async fn images_take_no_place_of_scripts_and_kernels_and_are_asked_for_again() {
    let site = site_of_images(2).await;
    let (one, two) = (site.hold().await, site.hold().await);
    let refused = site.reply_to(SMALL_REQUEST).await.to_lowercase();
    assert!(refused.starts_with("http/1.1 503 "), "{refused}");
    assert!(refused.contains("retry-after: 5\r\n"), "{refused}");
    assert_eq!(site.get("/v1/boot/52-54-00-77-00-01").await.0, 200);
    assert_eq!(site.get("/boot/vmlinuz").await, (200, "kernel".into()));
    let (status, _) = site.ask("HEAD", "/images/os.raw", "").await;
    assert_eq!(status, 200, "a question about an image takes no place");
    // One that is over makes room, however it ended; so does one that is not there.
    drop(one);
    let free = async || {
        while site.get("/images/os.raw").await.0 == 503 {
            tokio::task::yield_now().await;
        }
    };
    free().await;
    for _ in 0..3 {
        assert_eq!(site.get("/images/missing").await.0, 404);
    }
    assert_eq!(site.get("/images/os.raw").await, (200, "0123456789".into()));
    drop(two);
}

#[tokio::test]
async fn one_address_does_not_take_every_connection() {
    let options = HttpLimits {
        per_address: 3,
        ..HttpLimits::default()
    };
    let site = site_with(Limits::of(&options), options).await;
    let mut held = vec![site.hold().await, site.hold().await, site.hold().await];
    let refused = site.reply_to(SMALL_REQUEST).await.to_lowercase();
    assert!(
        refused.starts_with("http/1.1 503 ") && refused.contains("retry-after: "),
        "{refused}"
    );
    // Whoever goes on regardless is not listened to.
    let mut surplus = Vec::new();
    for _ in 0..serve::TOLD {
        surplus.push(site.send("").await);
    }
    assert_eq!(site.reply_to(SMALL_REQUEST).await, "");
    // Another address is served, and so is this one when it has let go.
    let mut other = connect_from([0, 2], &site).await;
    other.write_all(SMALL_REQUEST.as_bytes()).await.unwrap();
    let mut reply = String::new();
    other.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
    held.clear();
    surplus.clear();
    while !site
        .reply_to(SMALL_REQUEST)
        .await
        .starts_with("HTTP/1.1 200 ")
    {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_cut() {
    let limits = Limits {
        floor: Floor {
            bytes: BIG as u64,
            waiting: Duration::from_millis(300),
        },
        ..Limits::default()
    };
    let site = site(limits).await;
    let mut slow = site.hold().await;
    let (mut taken, mut piece) = (0, [0; 4096]);
    while let Ok(n @ 1..) = slow.read(&mut piece).await {
        taken += n;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(taken < BIG, "{taken}");
}

#[tokio::test]
async fn shutdown_lets_a_download_end() {
    let limits = Limits {
        grace: Duration::from_secs(3600),
        ..Limits::default()
    };
    let site = site(limits).await;
    let mut stream = site.send(BIG_REQUEST).await;
    stream.read_exact(&mut [0; 1]).await.unwrap();
    site.stop.cancel();
    let (taken, stopped) = tokio::join!(ended(stream), site.task);
    stopped.unwrap();
    assert!(taken >= BIG, "{taken} of {BIG} and the headers");
    assert!(TcpStream::connect(site.address).await.is_err());
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let limits = Limits {
        grace: Duration::from_millis(50),
        ..Limits::default()
    };
    let site = site(limits).await;
    let mut stuck = site.send(BIG_REQUEST).await;
    stuck.read_exact(&mut [0; 1]).await.unwrap();
    site.stop.cancel();
    site.task.await.unwrap();
    assert!(ended(stuck).await < BIG);
}

fn node_with_instance() -> NodeId {
    NodeId::from_bytes([7; 16])
}

#[tokio::test]
async fn an_instance_is_heard_with_its_token_and_nobody_else() {
    let site = site(Limits::default()).await;
    let node = node_with_instance();
    let ask = async |method: &str, path: &str, form: usize| {
        let form = "x".repeat(form);
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        );
        let reply = site.reply_to(&request).await;
        reply.split(' ').nth(1).unwrap().to_string()
    };
    let good = format!("{}/{node}/sesame", confirm::PATH);
    assert_eq!(ask("POST", &good, 3000).await, "204");
    assert_eq!(ask("POST", &good, 0).await, "204");
    assert_eq!(ask("POST", &good, seats::MAX_BODY_BYTES + 1).await, "413");
    assert_eq!(ask("GET", &good, 0).await, "405");
    let other = NodeId::from_bytes([8; 16]);
    for wrong in [
        format!("{}/{node}/sesam", confirm::PATH),
        format!("{}/{node}/", confirm::PATH),
        format!("{}/{other}/sesame", confirm::PATH),
        format!("{}/../{node}/sesame", confirm::PATH),
        format!("{}/web1/sesame", confirm::PATH),
    ] {
        assert_eq!(ask("POST", &wrong, 10).await, "404", "{wrong}");
    }
}

#[test]
fn a_token_is_not_logged() {
    assert_eq!(without_token("/v1/confirm/ID/sesame"), "/v1/confirm/ID");
    assert_eq!(without_token("/v1/confirm/sesame"), "/v1/confirm");
    assert_eq!(without_token("/v1/boot/02:00"), "/v1/boot/02:00");
}

#[test]
fn tokens_differ_and_are_compared_by_their_hash() {
    let (one, other) = (confirm::token(), confirm::token());
    assert_ne!(one, other);
    assert_eq!(confirm::sha256(one.secret.reveal()), one.sha256);
    let url = confirm::url("http://w1", node_with_instance(), &one.secret);
    assert_eq!(
        without_token(&url["http://w1".len()..]),
        format!("{}/{}", confirm::PATH, node_with_instance())
    );
}

#[tokio::test]
async fn a_private_image_is_sent_to_who_has_a_token_for_it() {
    let may: Arc<MayFetch> = Arc::new(|wish: Wish| {
        let good = match wish.token.as_str() {
            "sesame" => Some(wish.file == "os.raw"),
            "look" => Some(wish.is_look),
            "away" => None,
            _ => Some(false),
        };
        Box::pin(std::future::ready(good))
    });
    let site = site_of(Limits::default(), HttpLimits::default(), Some(may)).await;
    let get = async |path: &str| site.get(path).await.0;
    for (path, status) in [
        ("/images/os.raw?token=sesame", 200),
        ("/images/os.raw?x=1&token=sesame", 200),
        ("/images/os.raw", 403),
        ("/images/missing", 403),
        ("/images/os.raw?token=", 403),
        ("/images/os.raw?token=wrong", 403),
        ("/images/os.raw?tokens=sesame", 403),
        // Another spelling of the same file.
        ("/images/os%2eraw?token=sesame", 403),
        ("/images/big.raw?token=sesame", 403),
        ("/images/os.raw?token=look", 403),
        ("/images/os.raw?token=away", 503),
        // What everybody may have.
        ("/boot/vmlinuz", 200),
        ("/healthz", 200),
    ] {
        assert_eq!(get(path).await, status, "{path}");
    }
    let range = "Range: bytes=4-\r\n";
    let rest = site.ask("GET", "/images/os.raw?token=sesame", range).await;
    assert_eq!(rest, (206, "456789".into()));
    let look = "/images/os.raw?token=look";
    assert_eq!(site.ask("HEAD", look, "").await.0, 200);
    assert_eq!(site.ask("HEAD", "/images/os.raw", "").await.0, 403);
    let first = site.ask("GET", look, "Range: bytes=0-0\r\n").await;
    assert_eq!(first, (206, "0".into()));
    assert_eq!(site.ask("GET", look, "Range: bytes=0-9\r\n").await.0, 403);
}

#[tokio::test]
async fn whose_tls_handshake_fails_is_told_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let authority = certificates::Authority::new();
    let shown = authority.certify(&["127.0.0.1"], certificates::GOOD).pem();
    let [certificate, key] = ["certificate", "key"].map(|name| dir.path().join(name));
    std::fs::write(&certificate, &shown[0]).unwrap();
    std::fs::write(&key, &shown[1]).unwrap();
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    let listener = || TcpListener::bind("127.0.0.1:0");
    let (plain, secure) = (listener().await.unwrap(), listener().await.unwrap());
    let listen = secure.local_addr().unwrap();
    let files = HttpTls {
        listen,
        url: None,
        certificate,
        key,
    };
    let tls = Some((secure, acceptor(&files, Scripts::Https).unwrap()));
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let on_distrust = Arc::new(move |ip: IpAddr, why: &str| drop(tell.send((ip, why.to_owned()))));
    let stop = CancellationToken::new();
    let (doors, limits) = (Doors { plain, tls }, Limits::default());
    let serve = serve::serve(doors, Router::new(), limits, on_distrust, stop.clone());
    let task = tokio::spawn(serve);
    let mut stream = TcpStream::connect(listen).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let (ip, why) = told.recv().await.unwrap();
    assert_eq!(ip, listen.ip());
    assert!(why.contains("InvalidContentType"), "{why}");
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn a_name_that_is_no_workers_gets_nothing() {
    let site = site(Limits::default()).await;
    let names = [
        ("evil.example", 421),
        ("w1.evil.example:8081", 421),
        ("10.0.0.1.evil.example", 421),
        ("a b", 421),
        ("", 421),
        ("w1", 200),
        ("w2.LAB:9", 200),
        ("w2.lab.", 200),
        ("boot.example.org", 200),
        ("10.0.0.1:8081", 200),
        ("[::1]:8081", 200),
    ];
    for (host, status) in names {
        for path in ["/v1/boot/02:00:00:00:00:01", "/boot/vmlinuz", "/healthz"] {
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            let reply = site.reply_to(&request).await;
            let expected = format!("HTTP/1.1 {status} ");
            assert!(reply.starts_with(&expected), "{host:?} {path}: {reply}");
        }
    }
    let fetched = site.fetched.lock().unwrap().len();
    assert_eq!(fetched, 6, "only who was answered has fetched");
    // What a URI names counts before the header (RFC 9112, 3.2.2).
    let absolute =
        "GET http://evil.example/healthz HTTP/1.1\r\nHost: w1\r\nConnection: close\r\n\r\n";
    assert!(site.reply_to(absolute).await.starts_with("HTTP/1.1 421 "));
    let old = "GET /healthz HTTP/1.0\r\n\r\n";
    assert!(site.reply_to(old).await.starts_with("HTTP/1.0 200 "));
}
