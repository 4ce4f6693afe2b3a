//! The serial console through OpenIPMI's `ipmi_sim`, whose serial port is a TCP connection to the test.
//! `support` starts it.
mod support;

use ironbeat_ipmi::{Console, ErrorKind};
use ironbeat_rack::interop::table_says;
use support::{Sim, free_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A BMC and the machine's end of the serial line.
async fn wired() -> (Sim, TcpStream) {
    let port = free_port();
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let sim = Sim::start_with(&format!("sol \"tcp:127.0.0.1:{port}\" 115200\n"), "");
    let (line, _) = listener.accept().await.unwrap();
    (sim, line)
}

async fn expect(from: &mut (impl AsyncReadExt + Unpin), expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    from.read_exact(&mut bytes).await.unwrap();
    assert_eq!(bytes, expected);
}

#[tokio::test]
async fn characters_pass_in_both_directions() {
    let (sim, mut line) = wired().await;
    let bmc = sim.bmc();
    let mut console: Console = bmc.console(false).await.unwrap();
    line.write_all(b"login: ").await.unwrap();
    expect(&mut console, b"login: ").await;
    console.write_all(b"root\r").await.unwrap();
    expect(&mut line, b"root\r").await;

    // Commands have a session of their own.
    assert!(!bmc.chassis_status().await.unwrap().power_on);

    // More than fits into a packet, a buffer, or the numbering from 1 to 15.
    let much: Vec<u8> = (0..20_000u32).map(|n| b'a' + (n % 26) as u8).collect();
    let (mut from, mut to) = tokio::io::split(console);
    tokio::join!(
        async { line.write_all(&much).await.unwrap() },
        expect(&mut from, &much),
    );
    tokio::join!(
        async { to.write_all(&much[..3000]).await.unwrap() },
        expect(&mut line, &much[..3000]),
    );
    from.unsplit(to).close().await.unwrap();
    table_says("ipmi_sim 2.0.33", "serial console", "yes");
}

#[tokio::test]
async fn one_console_at_a_time_unless_it_is_taken_over() {
    let (sim, mut line) = wired().await;
    let bmc = sim.bmc();
    let mut first = bmc.console(false).await.unwrap();
    line.write_all(b"x").await.unwrap();
    expect(&mut first, b"x").await;
    let error = bmc.console(false).await.map(drop).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Busy, "{error}");
    let mut second = bmc.console(true).await.unwrap();
    line.write_all(b"y").await.unwrap();
    expect(&mut second, b"y").await;
    // The first one reads its end, and is told why.
    assert_eq!(first.read(&mut [0; 8]).await.unwrap(), 0);
    let error = first.close().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::ConsoleTaken, "{error}");
    second.close().await.unwrap();
    // It was given back, so nobody has it.
    bmc.console(false).await.unwrap().close().await.unwrap();
    bmc.end_console().await.unwrap();
    table_says("ipmi_sim 2.0.33", "console taken", "busy");
}
