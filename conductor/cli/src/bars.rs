//! Bars on a terminal while nodes are waited for: one a node, with the lines of what has ended above them.
//! `wait` hands in what comes; without a terminal it prints lines instead, which `progress` has.
use super::out;
use super::progress::moves_bytes;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use ironbeat_common::heartbeat::Progress;
use std::cell::RefCell;
use std::fmt::Display;
use std::io::IsTerminal;

/// All that one command shows. They are drawn on standard error, as by other programs.
pub(super) struct Bars(MultiProgress);

/// One node's; it goes when the node is not waited for any more.
pub(super) struct Bar {
    bar: ProgressBar,
    /// Phase and shape that are drawn; none: a step without any.
    drawn: RefCell<Option<(String, Shape)>>,
}

/// What there is to draw of how far something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Bytes,
    BytesOfUnknown,
    /// Disks, or whatever else a step counts.
    Count,
    /// Nothing is counted.
    Words,
}

impl Shape {
    fn of(progress: &Progress) -> Self {
        match (moves_bytes(&progress.phase), progress.total) {
            (true, Some(1..)) => Self::Bytes,
            (true, Some(0) | None) => Self::BytesOfUnknown,
            (false, Some(1..)) => Self::Count,
            (false, Some(0) | None) => Self::Words,
        }
    }

    /// In the words of indicatif's templates. With a name of 12 characters it fits 80 columns.
    const fn template(self) -> &'static str {
        match self {
            Self::Bytes => "{prefix} {msg} [{bar:24}] {percent}% {bytes_per_sec}, {eta} left",
            Self::BytesOfUnknown => "{prefix} {msg} {bytes}, {bytes_per_sec}",
            Self::Count => "{prefix} {msg} [{bar:24}] {pos} of {len}",
            Self::Words => "{prefix} {msg}",
        }
    }

    fn style(self) -> ProgressStyle {
        let style = ProgressStyle::with_template(self.template());
        let style = style.expect("a test reads each template");
        style.progress_chars("=> ")
    }
}

impl Bars {
    /// None: it is no terminal that both outputs go to, or JSON.
    pub(super) fn new(is_json: bool) -> Option<Self> {
        let is_seen = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        (is_seen && !is_json).then(|| Self(MultiProgress::new()))
    }

    pub(super) fn node(&self, name: &str) -> Bar {
        Bar::new(self.0.add(ProgressBar::no_length()), name)
    }

    /// A line above the bars, on standard output.
    pub(super) fn line(&self, text: impl Display) -> anyhow::Result<()> {
        self.aside(|| out::line(text))
    }

    /// While `print` prints, no bar is drawn.
    pub(super) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }
}

impl Bar {
    fn new(bar: ProgressBar, name: &str) -> Self {
        bar.set_style(Shape::Words.style());
        bar.set_prefix(out::visible_line(name));
        Self {
            bar,
            drawn: RefCell::new(None),
        }
    }

    /// The node is at another step.
    pub(super) fn step(&self, words: &str) {
        self.drawn.replace(None);
        self.bar.set_style(Shape::Words.style());
        self.bar.set_message(out::visible_line(words));
    }

    /// Its agent says how far it is. A machine may say anything: it is shown as it would be in a line.
    pub(super) fn progress(&self, progress: &Progress) {
        if progress.phase.is_empty() {
            return;
        }
        let now = (progress.phase.clone(), Shape::of(progress));
        let before = self.drawn.replace(Some(now.clone()));
        if before.as_ref() != Some(&now) {
            self.bar.set_style(now.1.style());
            self.bar.reset();
        }
        match progress.total {
            Some(total) => self.bar.set_length(total),
            None => self.bar.unset_length(),
        }
        self.bar.set_position(progress.done);
        let words = match &progress.trouble {
            Some(trouble) => format!("{}: {trouble}", progress.phase),
            None => progress.phase.clone(),
        };
        self.bar.set_message(out::visible_line(&words));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(phase: &str, done: u64, total: Option<u64>) -> Progress {
        Progress {
            phase: phase.into(),
            done,
            total,
            trouble: None,
        }
    }

    #[test]
    fn writes_and_erases_have_the_bar_that_fits_what_they_count() {
        for (phase, total, expected) in [
            ("download", Some(1000), Shape::Bytes),
            ("write", None, Shape::BytesOfUnknown),
            ("verify", Some(0), Shape::BytesOfUnknown),
            ("erase", Some(3), Shape::Count),
            ("other disks", None, Shape::Words),
        ] {
            let shape = Shape::of(&at(phase, 1, total));
            assert_eq!(shape, expected, "{phase}");
            shape.style();
        }
    }

    #[test]
    fn a_bar_follows_its_agent_and_shows_what_it_says_as_one_line() {
        let bar = Bar::new(ProgressBar::hidden(), "web1\u{1b}[2J");
        assert_eq!(bar.bar.prefix(), "web1\\u001b[2J");
        bar.step("deploying (write_image, step 3 of 7)");
        bar.progress(&at("download", 600, Some(1000)));
        assert_eq!((bar.bar.position(), bar.bar.length()), (600, Some(1000)));
        // It began again.
        bar.progress(&at("download", 10, Some(1000)));
        assert_eq!(bar.bar.position(), 10);
        let mut troubled = at("write", 5, None);
        troubled.trouble = Some("GET http://w/\n: refused".into());
        bar.progress(&troubled);
        assert_eq!(bar.bar.message(), "write: GET http://w/\\u000a: refused");
        assert_eq!((bar.bar.position(), bar.bar.length()), (5, None));
        bar.progress(&at("", 9, None));
        assert_eq!(bar.bar.position(), 5, "a beat that says nothing");
    }
}
