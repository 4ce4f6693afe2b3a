//! Reads what the machine is made of: all collectors in parallel and bounded in time; failures are listed as problems.
//! Each collector has its file; judging the facts is the conductor's job.
mod ahci;
pub mod bmc;
pub mod boot;
pub mod cpu;
pub mod disks;
pub mod memory;
pub mod nics;
pub mod smbios;
pub mod tpm;
pub mod undriven;

use ironbeat_common::id::Mac;
use ironbeat_common::inventory::{DISKS, Inventory, Problem};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Where the kernel's files are; another root in tests.
#[derive(Clone, Debug)]
pub struct Roots {
    pub sys: PathBuf,
    pub proc: PathBuf,
    pub dev: PathBuf,
}

impl Roots {
    pub fn at(root: &str) -> Self {
        let path = |name| PathBuf::from(root).join(name);
        Self {
            sys: path("sys"),
            proc: path("proc"),
            dev: path("dev"),
        }
    }
}

/// Puts what was read into the inventory.
pub type Fill = Box<dyn FnOnce(&mut Inventory) + Send>;
/// Reads one kind of thing.
///
/// # Errors
/// What could not be read and why; the inventory then lacks that kind.
pub type Read = dyn Fn() -> anyhow::Result<Fill> + Send + Sync;

/// One kind of thing to read.
#[derive(Clone)]
pub struct Collector {
    pub name: &'static str,
    pub read: Arc<Read>,
}

/// All collectors, and which of them hang.
pub struct Collectors {
    all: Vec<Collector>,
    /// Still running from an earlier read: a second thread would hang on the same thing.
    stuck: Arc<Mutex<BTreeSet<&'static str>>>,
}

impl Collectors {
    pub fn new(all: Vec<Collector>) -> Self {
        Self {
            all,
            stuck: Arc::default(),
        }
    }

    /// What disks there are; apart from the rest, because a lookup waits longer for them.
    pub fn of_disks(roots: &Roots) -> Self {
        let roots = roots.clone();
        Self::new(vec![Collector {
            name: DISKS,
            read: Arc::new(move || disks::read(&roots)),
        }])
    }

    /// Those of this machine that need nothing but the kernel's files, but for disks.
    pub fn of_machine(roots: &Roots, booted: Option<Mac>) -> Vec<Collector> {
        let collector = |name, read: fn(&Roots) -> anyhow::Result<Fill>| {
            let roots = roots.clone();
            Collector {
                name,
                read: Arc::new(move || read(&roots)),
            }
        };
        let boot_roots = roots.clone();
        vec![
            collector("smbios", smbios::read),
            collector("cpu", cpu::read),
            collector("memory", memory::read),
            Collector {
                name: "boot",
                read: Arc::new(move || Ok(boot::read(&boot_roots, booted))),
            },
        ]
    }

    /// Reads everything; returns after `bound` with whatever there is.
    pub fn read(&self, bound: Duration) -> Inventory {
        let deadline = Instant::now() + bound;
        let mut inventory = Inventory::default();
        let (done, results) = channel();
        let mut waiting = BTreeSet::new();
        for collector in &self.all {
            if !self.lock().insert(collector.name) {
                problem(
                    &mut inventory,
                    collector.name,
                    "still hangs from an earlier try".to_string(),
                );
                continue;
            }
            waiting.insert(collector.name);
            let (done, stuck, collector) = (done.clone(), self.stuck.clone(), collector.clone());
            let spawned = std::thread::Builder::new()
                .name(collector.name.to_string())
                .spawn(move || {
                    let result = (collector.read)();
                    stuck
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .remove(collector.name);
                    // The receiver is gone when this took too long.
                    let _ = done.send((collector.name, result));
                });
            if let Err(error) = spawned {
                self.lock().remove(collector.name);
                waiting.remove(collector.name);
                problem(
                    &mut inventory,
                    collector.name,
                    format!("starting a thread: {error}"),
                );
            }
        }
        drop(done);
        while !waiting.is_empty() {
            match results.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok((name, result)) => {
                    waiting.remove(name);
                    match result {
                        Ok(fill) => fill(&mut inventory),
                        Err(error) => problem(&mut inventory, name, format!("{error:#}")),
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    for name in std::mem::take(&mut waiting) {
                        problem(
                            &mut inventory,
                            name,
                            format!("not read within {} ms", bound.as_millis()),
                        );
                    }
                }
                // A collector panicked; in the ramdisk that would have rebooted the machine.
                Err(RecvTimeoutError::Disconnected) => {
                    for name in std::mem::take(&mut waiting) {
                        problem(
                            &mut inventory,
                            name,
                            "panicked; the agent's log says where".to_string(),
                        );
                    }
                }
            }
        }
        inventory
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<&'static str>> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Longest problem text, in characters.
const PROBLEM_CHARS: usize = 300;

pub(crate) fn problem(inventory: &mut Inventory, collector: &str, what: String) {
    let what: String = what.chars().take(PROBLEM_CHARS).collect();
    tracing::warn!(collector, what, "inventory");
    inventory.problems.push(Problem {
        collector: collector.to_string(),
        what,
        by_path: None,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::Receiver;

    fn collector(
        name: &'static str,
        read: impl Fn() -> anyhow::Result<Fill> + Send + Sync + 'static,
    ) -> Collector {
        Collector {
            name,
            read: Arc::new(read),
        }
    }

    fn problems(inventory: &Inventory) -> Vec<(&str, &str)> {
        inventory
            .problems
            .iter()
            .map(|p| (p.collector.as_str(), p.what.as_str()))
            .collect()
    }

    #[test]
    fn what_works_is_there_and_what_fails_is_listed() {
        let collectors = Collectors::new(vec![
            collector("good", || Ok(Box::new(|i: &mut Inventory| i.cpu.count = 3))),
            collector("bad", || anyhow::bail!("reading it: no such file")),
            collector("worse", || panic!("a bug")),
        ]);
        let inventory = collectors.read(Duration::from_secs(60));
        assert_eq!(inventory.cpu.count, 3);
        let mut listed = problems(&inventory);
        listed.sort_unstable();
        assert_eq!(
            listed,
            [
                ("bad", "reading it: no such file"),
                ("worse", "panicked; the agent's log says where")
            ]
        );
    }

    #[test]
    fn a_hanging_collector_is_left_behind_and_not_started_twice() {
        let (release, wait) = channel::<()>();
        let (finished_tx, finished): (_, Receiver<()>) = channel();
        let wait = Mutex::new(wait);
        let collectors = Collectors::new(vec![collector("slow", move || {
            let _ = wait.lock().unwrap().recv();
            let _ = finished_tx.send(());
            Ok(Box::new(|i: &mut Inventory| i.cpu.count += 1))
        })]);
        let first = collectors.read(Duration::from_millis(1));
        assert_eq!(problems(&first), [("slow", "not read within 1 ms")]);
        let second = collectors.read(Duration::from_secs(60));
        assert_eq!(
            problems(&second),
            [("slow", "still hangs from an earlier try")]
        );
        release.send(()).unwrap();
        finished.recv().unwrap();
        drop(release);
        // The thread has left `read`; wait until it has also left the list, which takes it no more than a moment.
        while !collectors.lock().is_empty() {
            std::thread::yield_now();
        }
        let third = collectors.read(Duration::from_secs(60));
        assert_eq!((third.cpu.count, problems(&third).len()), (1, 0));
    }
}
