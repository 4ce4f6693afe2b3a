//! A site as `ironbeat auth init --tls` makes it, its worker, and an agent that has what a boot script says and nothing else.
//! What the agent makes of bad certificates and clocks is tested with the agent.
mod support;

use ironbeat_agent::heart::machine;
use ironbeat_agent::heart::perform::Authority;
use ironbeat_agent::init::cmdline;
use ironbeat_agent::log::Lines;
use ironbeat_rack::nats::NatsBinary;
use serde_json::json;
use support::{Site, Worker, mac, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn get(worker: &Worker, path: &str) -> String {
    let address = ("127.0.0.1", worker.http.port());
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    reply
}

/// The kernel's command line, as iPXE would fill it in.
fn command_line(script: &str) -> String {
    let line = script.lines().find(|line| line.starts_with("kernel "));
    let words = line.unwrap().split_whitespace();
    let known = words.filter(|word| word.starts_with("ib.") && !word.contains("${"));
    known.collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_comes_in_over_tls_with_what_its_boot_script_says() {
    let site = Site::start_with_logins(NatsBinary::Floor, &["--tls"]).await;
    let worker = site.worker("w1", "");
    let ca = std::fs::read_to_string(site.auth().join("worker/ca.pem")).unwrap();
    let served = get(&worker, "/v1/ca.pem").await;
    assert!(served.ends_with(&format!("\r\n\r\n{ca}")), "{served}");
    let script = get(&worker, &format!("/v1/boot/{}", mac(7))).await;
    let line = command_line(&script);
    assert!(
        line.contains("ib.ca=sha256:") && line.contains("ib.http=http://"),
        "{line}"
    );
    let settings = cmdline::parse(&line);
    assert_eq!(settings.refused, Vec::<String>::new());
    // It runs as long as this test does.
    std::thread::spawn(move || {
        machine::run_as_process(&settings, Lines::default(), Authority::LookOnly)
    });
    until("it has looked up", async || {
        let list = site.ask("lookup.list", json!({})).await.good();
        list.as_array()?.first().map(|_| ())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_without_a_ca_names_none() {
    let site = Site::start_with_logins(NatsBinary::Floor, &[]).await;
    let worker = site.worker("w1", "");
    let served = get(&worker, "/v1/ca.pem").await;
    assert!(served.starts_with("HTTP/1.1 404"), "{served}");
    let script = get(&worker, &format!("/v1/boot/{}", mac(7))).await;
    assert!(!script.contains("ib.ca"), "{script}");
}
