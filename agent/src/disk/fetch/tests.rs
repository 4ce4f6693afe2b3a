//! Broken downloads, other mirrors, and servers that break the rules.
//! Single requests are tested in `http`.
use super::super::testing::LIMITS;
use super::super::testing::image::noise;
use super::{Download, Limits, Snag};
use crate::clock::Wall;
use crate::context::MayPass;
use crate::web::testing::{Reply, Request, Server, proxy, trusting, web};
use crate::web::url::Url;
use crate::web::way::Web;
use ironbeat_rack::certificates::{Authority, GOOD, OVER};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

static NEVER: AtomicBool = AtomicBool::new(false);
const BYTES: usize = 500_000;
const CUT: usize = 300_000;

fn object() -> Vec<u8> {
    noise(BYTES, 5)
}

/// All bytes and the number of resumed transfers.
fn read_all(urls: &[String]) -> anyhow::Result<(Vec<u8>, u32)> {
    read_within(urls, LIMITS)
}

fn read_within(urls: &[String], limits: Limits) -> anyhow::Result<(Vec<u8>, u32)> {
    read_by(&web(), urls, limits)
}

fn read_by(web: &Web, urls: &[String], limits: Limits) -> anyhow::Result<(Vec<u8>, u32)> {
    let mut download = Download::open(web, urls, limits, &NEVER, &|_| {})?;
    let (mut all, mut piece) = (Vec::new(), vec![0; 50_000]);
    loop {
        match download.read(&mut piece)? {
            0 => return Ok((all, download.resumed())),
            count => all.extend(&piece[..count]),
        }
    }
}

/// The same, or the error text.
fn download(urls: &[String]) -> Result<(Vec<u8>, u32), String> {
    read_all(urls).map_err(|e| format!("{e:#}"))
}

fn check(server: &Server, resumed: u32) {
    let (all, count) = download(&[server.url("/o")]).expect("it arrives");
    assert!(all == object(), "other bytes");
    assert_eq!(count, resumed);
}

fn check_refused(server: &Server, words: &str) {
    let error = download(&[server.url("/o?token=hidden")]).expect_err("this must fail");
    for part in words.split("...") {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
    assert!(!error.contains("hidden"), "{error}");
}

/// The first answer is cut; `then` makes the later ones.
fn after_a_cut(then: impl Fn(&Request, &[u8]) -> Reply + Send + Sync + 'static) -> Server {
    let object = object();
    Server::start(move |request| match request.number {
        0 => Reply::object(&object, "one", request).cut_at(CUT),
        _ => then(request, &object),
    })
}

#[test]
fn after_a_cut_only_the_rest_is_asked_for() {
    let server = after_a_cut(|request, object| Reply::object(object, "one", request));
    check(&server, 1);
    assert_eq!(server.seen()[1].range_from, Some(CUT));
}

#[test]
fn a_server_without_ranges_sends_all_again() {
    check(
        &after_a_cut(|_, object| Reply::object(object, "one", &whole())),
        1,
    );
    let weak = |request: &Request| {
        Reply::object(
            &object(),
            "one",
            &Request {
                range_from: None,
                ..request.clone()
            },
        )
    };
    let server = Server::start(move |request| {
        let reply = weak(request).with("ETag", "W/\"w\"");
        if request.number == 0 {
            reply.cut_at(CUT)
        } else {
            reply
        }
    });
    check(&server, 1);
    assert_eq!(
        server.seen()[1].if_range,
        None,
        "a weak tag says nothing about bytes"
    );
}

fn whole() -> Request {
    Request {
        number: 0,
        target: String::new(),
        host: String::new(),
        range_from: None,
        if_range: None,
    }
}

#[test]
fn a_silent_server_counts_as_broken() {
    let object = object();
    let server = Server::start(move |request| {
        let reply = Reply::object(&object, "one", request);
        if request.number == 0 {
            reply.silent_at(CUT)
        } else {
            reply
        }
    });
    check(&server, 1);
}

#[test]
fn a_server_that_cuts_often_is_followed_to_the_end_but_not_for_ever() {
    let often = |piece: usize| {
        let object = object();
        Server::start(move |request| Reply::object(&object, "one", request).cut_at(piece))
    };
    check(&often(20_000), 24);
    check_refused(&often(5_000), "broke off 50 times");
    check_refused(
        &often(0),
        "at byte 0 of 500000, tried ... s: the server closed the connection too early",
    );
}

#[test]
fn a_changed_image_is_not_glued_together() {
    let other = |request: &Request| Reply::object(&noise(BYTES, 6), "two", request);
    check_refused(
        &after_a_cut(move |request, _| other(request)),
        "the image changed while it was read",
    );
    // As some servers do: If-Range ignored, a part of the new object sent.
    let ignoring = move |request: &Request, _: &[u8]| {
        other(&Request {
            if_range: None,
            ..request.clone()
        })
    };
    check_refused(
        &after_a_cut(ignoring),
        "the image changed while it was read",
    );
    let longer = |request: &Request, _: &[u8]| Reply::object(&noise(BYTES + 1, 5), "one", request);
    check_refused(
        &after_a_cut(longer),
        "the image has 500001 bytes here, but 500000 where the download began",
    );
}

#[test]
fn wrong_ranges_are_refused() {
    let ranged = |range: &'static str| {
        after_a_cut(move |request, object| {
            Reply::object(object, "one", request).with("Content-Range", range)
        })
    };
    check_refused(
        &ranged("bytes 0-499999/500000"),
        "asked for the bytes from 300000, was sent 0 to 499999",
    );
    check_refused(
        &ranged("bytes 300000-399999/500000"),
        "was sent 300000 to 399999",
    );
    check_refused(
        &ranged("bytes 300000-299999/500000"),
        "malformed Content-Range",
    );
    check_refused(
        &ranged("bytes 300000-499999/499999"),
        "malformed Content-Range",
    );
    check_refused(
        &after_a_cut(|request, object| {
            Reply::object(object, "one", request).without("Content-Range")
        }),
        "a partial answer without Content-Range",
    );
    check_refused(
        &after_a_cut(|request, object| {
            Reply::object(object, "one", request).with("Content-Length", "7")
        }),
        "Content-Length and Content-Range disagree",
    );
    check_refused(&after_a_cut(|_, _| Reply::status(416)), "HTTP status 416");
}

#[test]
fn a_wrong_length_is_noticed() {
    let server = |length: &'static str| {
        let object = object();
        Server::start(move |request| {
            Reply::object(&object, "one", request).with("Content-Length", length)
        })
    };
    check_refused(
        &server("500001"),
        "at byte 500000 of 500001, tried ... s: the server closed the connection too early",
    );
    let (all, _) = download(&[server("499999").url("/")]).expect("the checksum is checked later");
    assert_eq!(all.len(), 499_999);
}

#[test]
fn chunked_bodies_are_resumed_too() {
    let object = object();
    let server = Server::start(move |request| {
        let reply = Reply::object(&object, "one", request).chunked();
        if request.number == 0 {
            reply.cut_at(CUT)
        } else {
            reply
        }
    });
    check(&server, 1);
}

#[test]
fn a_transfer_that_breaks_is_told_with_its_cause() {
    let server = after_a_cut(|request, object| match request.number {
        1 => Reply::status(502),
        _ => Reply::object(object, "one", request),
    });
    let snags = std::cell::RefCell::new(Vec::new());
    let on_snag = |snag| match snag {
        Snag::Broken {
            position,
            total,
            why,
        } => snags.borrow_mut().push((position, total, why)),
        Snag::InLine { .. } => panic!("nobody is full"),
    };
    let (urls, web) = ([server.url("/o?token=hidden")], web());
    let download = Download::open(&web, &urls, LIMITS, &NEVER, &on_snag);
    let (mut download, mut piece) = (download.expect("it begins"), vec![0; 50_000]);
    while let 1.. = download.read(&mut piece).expect("it is resumed") {}
    let snags = snags.into_inner();
    let [cut, refused] = snags.as_slice() else {
        panic!("{snags:?}");
    };
    assert_eq!((cut.0, cut.1), (CUT as u64, Some(BYTES as u64)));
    assert!(refused.2.ends_with("HTTP status 502"), "{snags:?}");
    assert!(!refused.2.contains("hidden"), "{snags:?}");
}

#[test]
fn the_next_mirror_takes_over() {
    let cut = after_a_cut(|_, _| Reply::status(503));
    let good = Server::of(object());
    let missing = Server::start(|_| Reply::status(404));
    let gone = { Server::of(Vec::new()).url("/") };
    let urls = [gone, missing.url("/"), cut.url("/"), good.url("/")];
    let (all, resumed) = download(&urls).expect("one is good");
    assert!(all == object());
    assert_eq!((resumed, good.seen()[0].range_from), (1, Some(CUT)));
    // Each server has its own tags: the second one's is not compared with the first one's.
    assert_eq!(good.seen()[0].if_range, None);
    let error = download(&[missing.url("/a"), missing.url("/b")]).expect_err("both miss it");
    assert!(
        error.contains("/a: HTTP status 404; GET") && error.contains("/b: HTTP status 404"),
        "{error}"
    );
}

#[test]
fn a_busy_server_is_asked_again() {
    let object = object();
    let server = Server::start(move |request| match request.number {
        0 => Reply::status(503),
        1 => Reply::status(429),
        _ => Reply::object(&object, "one", request),
    });
    check(&server, 0);
    check_refused(
        &Server::start(|_| Reply::status(500)),
        "/o at byte 0, tried ... s: GET ",
    );
}

#[test]
fn being_full_is_no_failure_of_a_server_that_says_when_to_come_back() {
    let object = object();
    let server = Server::start(move |request| match request.number {
        // More often than a server that fails would be asked.
        0..200 => Reply::status(503).with("Retry-After", "3600"),
        _ => Reply::object(&object, "one", request),
    });
    let limits = Limits {
        patience: Duration::ZERO,
        queue: Duration::from_secs(600),
        ..LIMITS
    };
    let waits = std::cell::RefCell::new(Vec::new());
    let on_wait = |snag| match snag {
        Snag::InLine { waited } => waits.borrow_mut().push(waited),
        Snag::Broken { why, .. } => panic!("{why}"),
    };
    let urls = [server.url("/o")];
    let web = web();
    let download = Download::open(&web, &urls, limits, &NEVER, &on_wait);
    let mut download = download.expect("its turn comes");
    let (mut all, mut piece) = (0, vec![0; 50_000]);
    while let count @ 1.. = download.read(&mut piece).expect("all of it") {
        all += count;
    }
    assert_eq!((all, download.resumed()), (BYTES, 0));
    // Each wait is told, and none looks like the one before.
    let waits = waits.borrow();
    assert!(waits.len() >= 200 && waits.is_sorted_by(|a, b| a < b));
}

#[test]
fn nobody_waits_for_a_full_server_while_another_has_a_place_nor_for_ever() {
    let full = Server::start(|_| Reply::status(429).with("Retry-After", "5"));
    let good = Server::of(object());
    let (all, _) = download(&[full.url("/o"), good.url("/o")]).expect("one has a place");
    assert!(all == object());
    assert_eq!((full.seen().len(), good.seen().len()), (1, 1));
    let error = read_all(&[full.url("/o")]).expect_err("it stays full");
    assert!(error.downcast_ref::<MayPass>().is_some());
    let error = format!("{error:#}");
    assert!(error.contains("all servers were busy for"), "{error}");
}

#[test]
fn a_server_that_is_away_is_waited_for() {
    let object = object();
    let server = Server::start(move |request| match request.number {
        0 => Reply::object(&object, "one", request).cut_at(CUT),
        1..30 => Reply::status(503),
        _ => Reply::object(&object, "one", request),
    });
    let limits = Limits {
        patience: Duration::from_secs(600),
        ..LIMITS
    };
    let (all, resumed) = read_within(&[server.url("/o")], limits).expect("it comes back");
    assert!(all == self::object(), "other bytes");
    assert_eq!((resumed, server.seen()[30].range_from), (1, Some(CUT)));
}

#[test]
fn a_download_gives_up_before_its_step_counts_as_hung() {
    for (hung, patience) in [(600, 540), (90, 45), (30, 15)] {
        let limits = Limits::within(Duration::from_secs(hung));
        assert_eq!(limits.patience, Duration::from_secs(patience));
    }
}

#[test]
fn a_failed_download_says_whether_another_try_makes_sense() {
    let may_pass = |server: &Server| {
        let error = read_all(&[server.url("/o")]).expect_err("this must fail");
        let error = error.context("writing the image to /dev/vda");
        error.downcast_ref::<MayPass>().is_some()
    };
    assert!(may_pass(&Server::start(|_| Reply::status(503))));
    assert!(!may_pass(&Server::start(|_| Reply::status(404))));
    let other = |request: &Request, _: &[u8]| Reply::object(&noise(BYTES, 6), "two", request);
    assert!(may_pass(&after_a_cut(other)), "the image was replaced");
    let cuts = object();
    let often = move |request: &Request| Reply::object(&cuts, "one", request).cut_at(5_000);
    assert!(may_pass(&Server::start(often)));
}

#[test]
fn a_failed_download_keeps_the_cause_of_its_last_try() {
    let error = read_all(&["http://127.0.0.1:1/o".to_owned()]).expect_err("the port is closed");
    let cause = error
        .downcast_ref::<std::io::Error>()
        .map(std::io::Error::kind);
    assert_eq!(
        cause,
        Some(std::io::ErrorKind::ConnectionRefused),
        "{error:#}"
    );
}

#[test]
fn redirects_are_followed_but_not_for_ever() {
    let object = object();
    let server = Server::start(move |request| match request.target.as_str() {
        "/o" => Reply::status(302).with("Location", "/a/b"),
        "/a/b" => Reply::status(307).with("Location", "c?d"),
        _ => Reply::object(&object, "one", request),
    });
    check(&server, 0);
    assert_eq!(server.seen()[2].target, "/a/c?d");
    assert_eq!(
        server.seen()[2].host,
        server.url("").trim_start_matches("http://")
    );
    let to = |location: &'static str| {
        Server::start(move |_| Reply::status(301).with("Location", location))
    };
    check_refused(&to("/o"), "more than 5 redirects");
    check_refused(
        &to("http:///x"),
        "was redirected: a URL without a valid host or port: empty host",
    );
    check_refused(
        &to("http://u:p@h/"),
        "was redirected: a user or password in a URL",
    );
    check_refused(
        &Server::start(|_| Reply::status(301)),
        "HTTP status 301 without a Location",
    );
}

#[test]
fn a_redirect_to_another_port_is_followed_and_its_fragment_not_sent() {
    let object = object();
    let image = Server::start(move |request| Reply::object(&object, "one", request));
    let location = image.url("/a/../b?c#d");
    check(
        &Server::start(move |_| Reply::status(302).with("Location", &location)),
        0,
    );
    assert_eq!(image.seen()[0].target, "/b?c");
    assert_eq!(
        image.seen()[0].host,
        image.url("").trim_start_matches("http://")
    );
}

#[test]
fn other_protocols_are_refused() {
    for (urls, words) in [
        (
            vec!["http://user:hidden@h/i".to_owned()],
            "(with credentials): a user or password",
        ),
        (
            vec!["nfs://h/i".to_owned()],
            "not an http:// or https:// URL",
        ),
        (vec![], "names no image URL"),
    ] {
        let error = download(&urls).expect_err("this must be refused");
        assert!(
            error.contains(words) && !error.contains("hidden"),
            "{error}"
        );
    }
}

/// The words with which a download over this way fails.
fn refused(web: &Web, url: &str) -> String {
    let error = read_by(web, &[url.to_owned()], LIMITS).expect_err(url);
    format!("{error:#}")
}

#[test]
fn an_image_comes_over_https_from_servers_that_are_believed() {
    let (site, other) = (Authority::new(), Authority::new());
    let web = |wall| Web::new(trusting(&site, wall), None, &[]);
    let serve = |shown| {
        let object = object();
        Server::secure(&shown, move |request| {
            let reply = Reply::object(&object, "one", request);
            match request.number {
                0 => reply.cut_at(CUT),
                _ => reply,
            }
        })
    };
    let good = serve(site.certify(&["127.0.0.1"], GOOD));
    let all = read_by(&web(Wall::default()), &[good.url("/o?x=y")], LIMITS);
    let (all, resumed) = all.expect("it is believed");
    assert!(all == object() && resumed == 1);
    let second = &good.seen()[1];
    assert_eq!(
        (second.target.as_str(), second.range_from),
        ("/o?x=y", Some(CUT))
    );

    let now = Wall::default;
    let far = |year: i64| Wall::off_by((year - 2026) * 365 * 86_400);
    for (server, wall, said) in [
        (
            serve(other.certify(&["127.0.0.1"], GOOD)),
            now(),
            "not of a CA",
        ),
        (serve(site.certify(&["h"], GOOD)), now(), "for another name"),
        (
            serve(site.certify(&["127.0.0.1"], OVER)),
            now(),
            "has ended; here it is 20",
        ),
        (
            serve(site.certify(&["127.0.0.1"], GOOD)),
            far(1971),
            "not valid yet; here it is 19",
        ),
        (
            serve(site.certify(&["127.0.0.1"], GOOD)),
            far(2099),
            "has ended; here it is 2099",
        ),
    ] {
        let error = refused(&web(wall), &server.url("/o?sig=hidden"));
        assert!(error.contains(said) && !error.contains("hidden"), "{error}");
        // Not a word was said, and asking again would not help.
        assert_eq!(server.seen(), []);
        assert!(!error.contains("tried"), "{error}");
    }
    let error = refused(&web(now()), "https://127.0.0.1:1/o");
    assert!(error.contains("Connection refused"), "{error}");
    // One that knows no lines in what it is sent, and hangs up; and one that answers.
    let plain = Server::of(object());
    let error = refused(&web(now()), &plain.url("/o").replace("http:", "https:"));
    assert!(
        error.contains("the server ended the TLS handshake"),
        "{error}"
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/o", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            let _ = client.read_to_end(&mut Vec::new());
        }
    });
    let error = refused(&web(now()), &url);
    assert!(error.contains("it does not speak TLS"), "{error}");
}

#[test]
fn a_redirect_leads_from_http_to_https_and_never_back() {
    let site = Authority::new();
    let web = Web::new(trusting(&site, Wall::default()), None, &[]);
    let object = object();
    let shown = site.certify(&["127.0.0.1"], GOOD);
    let secure = Server::secure(&shown, move |request| {
        Reply::object(&object, "one", request)
    });
    let location = secure.url("/o");
    let plain = Server::start(move |_| Reply::status(302).with("Location", &location));
    let (all, _) = read_by(&web, &[plain.url("/")], LIMITS).expect("it may");
    assert!(all == self::object());
    let location = Server::of(self::object()).url("/o");
    let back = Server::secure(&shown, move |_| {
        Reply::status(302).with("Location", &location)
    });
    let error = refused(&web, &back.url("/"));
    assert!(
        error.contains("was redirected: from https to http"),
        "{error}"
    );
}

#[test]
fn a_foreign_server_does_not_lead_a_machine_to_itself_or_its_link() {
    let led = |location: String| {
        let server = Server::start(move |_| Reply::status(302).with("Location", &location));
        // As a host outside it is known to a proxy alone.
        let (url, asked) = proxy(server.port(), 200);
        // And this name is looked up here, as that of a worker is.
        let near = Url::parse("http://localhost").unwrap();
        let web = Web::new(Default::default(), Url::parse(&url).ok(), &[near]);
        let error = refused(&web, "http://images.example.org/o?sig=hidden");
        let asked = asked.lock().unwrap().clone();
        assert_eq!(
            asked,
            ["GET http://images.example.org/o?sig=hidden HTTP/1.1"]
        );
        error
    };
    let here = Server::of(object());
    for location in [
        here.url("/o"),
        here.url("/o").replace("127.0.0.1", "localhost"),
        here.url("/o").replace("127.0.0.1", "0.0.0.0"),
        here.url("/o").replace("127.0.0.1", "[::ffff:127.0.0.1]"),
        "http://169.254.169.254/latest/meta-data".into(),
        "http://[fe80::1]/".into(),
    ] {
        let error = led(location);
        assert!(
            error.contains("which is this machine or its link"),
            "{error}"
        );
    }
    assert_eq!(here.seen(), []);
    // Whoever is asked there to begin with may lead on there.
    let location = here.url("/o");
    let server = Server::start(move |_| Reply::status(302).with("Location", &location));
    check(&server, 0);
}

#[test]
fn what_is_outside_comes_by_the_proxy() {
    let site = Authority::new();
    let trust = trusting(&site, Wall::default());
    let object = object();
    let shown = site.certify(&["images.example.org"], GOOD);
    let server = Server::secure(&shown, move |request| {
        Reply::object(&object, "one", request)
    });
    let by = |proxy: &str| Web::new(trust.clone(), Url::parse(proxy).ok(), &[]);
    let (url, asked) = proxy(server.port(), 200);
    let image = "https://images.example.org/o".to_owned();
    let (all, _) = read_by(&by(&url), std::slice::from_ref(&image), LIMITS).expect("it comes");
    assert!(all == self::object());
    assert_eq!(
        *asked.lock().unwrap(),
        ["CONNECT images.example.org:443 HTTP/1.1"]
    );
    assert_eq!(server.seen()[0].host, "images.example.org");
    let (url, _) = proxy(server.port(), 403);
    let error = refused(&by(&url), &image);
    assert!(error.contains("answers with HTTP status 403"), "{error}");
    let error = refused(&by("http://127.0.0.1:1"), &image);
    assert!(
        error.contains("by the proxy http://127.0.0.1:1/: Connection refused"),
        "{error}"
    );
    // Loopback is near: no proxy is asked.
    let near = Server::of(self::object());
    read_by(&by("http://127.0.0.1:1"), &[near.url("/o")], LIMITS).expect("directly");
}
