//! Owns the conversation with one QEMU over QMP: greeting, commands and their answers, the reason of its end.
//! Leaves what to do about an end to `board`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

/// QEMU answers in milliseconds; on a loaded host its main loop may wait seconds for a CPU.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The commanding half.
#[derive(Debug)]
pub struct Qmp {
    stream: UnixStream,
    answers: Receiver<Value>,
}

/// The listening half, to be read on a thread of its own until the end.
#[derive(Debug)]
pub struct QmpEvents {
    lines: BufReader<UnixStream>,
    answers: Sender<Value>,
}

/// Why a QEMU ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The guest or its firmware asked for a reset: a new POST is due.
    Reset,
    /// The guest switched itself off.
    PowerOff,
    /// It was killed, or died.
    Cut,
}

/// Greets the QEMU at the other end of `stream`.
///
/// # Errors
/// When it ends or says nothing sensible within the time-out.
pub fn greet(stream: UnixStream) -> Result<(Qmp, QmpEvents)> {
    stream
        .set_read_timeout(Some(ANSWER_TIMEOUT))
        .context("bound QMP reads")?;
    let mut lines = BufReader::new(stream.try_clone().context("duplicate the QMP socket")?);
    let greeting = read_message(&mut lines)?.context("QEMU ended before its QMP greeting")?;
    ensure!(greeting.get("QMP").is_some(), "QMP greeting is {greeting}");
    let (answers, inbox) = mpsc::channel();
    let mut qmp = Qmp {
        stream,
        answers: inbox,
    };
    qmp.send("qmp_capabilities", &json!({}))?;
    let answer = read_message(&mut lines)?.context("QEMU ended in the QMP greeting")?;
    ensure!(answer.get("return").is_some(), "qmp_capabilities: {answer}");
    lines
        .get_ref()
        .set_read_timeout(None)
        .context("unbound QMP events")?;
    Ok((qmp, QmpEvents { lines, answers }))
}

impl Qmp {
    /// Runs a command and returns its answer.
    ///
    /// # Errors
    /// When QEMU refuses, is gone, or does not answer in time.
    pub fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        self.send(command, arguments)?;
        let answer = self
            .answers
            .recv_timeout(ANSWER_TIMEOUT)
            .with_context(|| format!("QMP {command}: no answer"))?;
        match answer.get("return") {
            Some(result) => Ok(result.clone()),
            None => bail!("QMP {command}: {answer}"),
        }
    }

    /// Ends the conversation, so that its listener ends too.
    pub fn close(&self) {
        // The other end is gone already in most cases.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn send(&mut self, command: &str, arguments: &Value) -> Result<()> {
        let message = json!({ "execute": command, "arguments": arguments });
        self.stream
            .write_all(format!("{message}\n").as_bytes())
            .with_context(|| format!("QMP {command}: send"))
    }
}

impl QmpEvents {
    /// Passes answers on until QEMU is gone, and says why it went.
    pub fn until_end(mut self) -> End {
        let mut end = End::Cut;
        while let Ok(Some(message)) = read_message(&mut self.lines) {
            match message.get("event").and_then(Value::as_str) {
                Some("SHUTDOWN") => end = end_of(&message),
                Some(_) => {}
                // Nobody waits for the answer when its asker gave up.
                None => drop(self.answers.send(message)),
            }
        }
        end
    }
}

/// The reason in a SHUTDOWN event (QEMU's `qapi/run-state.json`, ShutdownCause).
fn end_of(event: &Value) -> End {
    match event.pointer("/data/reason").and_then(Value::as_str) {
        Some("guest-reset" | "subsystem-reset") => End::Reset,
        Some("guest-shutdown") => End::PowerOff,
        _ => End::Cut,
    }
}

fn read_message(lines: &mut BufReader<UnixStream>) -> Result<Option<Value>> {
    let mut line = String::new();
    if lines.read_line(&mut line).context("read from QMP")? == 0 {
        return Ok(None);
    }
    serde_json::from_str(&line)
        .map(Some)
        .with_context(|| format!("read QMP message {line:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_apart() {
        let end = |reason: &str| {
            end_of(&json!({"event": "SHUTDOWN", "data": {"guest": true, "reason": reason}}))
        };
        assert_eq!(end("guest-reset"), End::Reset);
        assert_eq!(end("guest-shutdown"), End::PowerOff);
        assert_eq!(end("host-signal"), End::Cut);
    }

    #[test]
    fn answers_and_events_are_separated() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let messages = [
            json!({"QMP": {"version": {}}}),
            json!({"return": {}}),
            json!({"event": "RESET"}),
            json!({"return": {"running": true}}),
            json!({"error": {"desc": "no such device"}}),
            json!({"event": "SHUTDOWN", "data": {"reason": "guest-reset"}}),
        ];
        for message in messages {
            theirs
                .write_all(format!("{message}\r\n").as_bytes())
                .unwrap();
        }
        let (mut qmp, events) = greet(ours).unwrap();
        theirs.shutdown(Shutdown::Write).unwrap();
        assert_eq!(events.until_end(), End::Reset);
        assert_eq!(
            qmp.execute("query-status", &json!({})).unwrap(),
            json!({"running": true})
        );
        assert!(
            qmp.execute("set_link", &json!({}))
                .unwrap_err()
                .to_string()
                .contains("no such device")
        );
    }
}
