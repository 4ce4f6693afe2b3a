//! One wave of jobs: operators ask for them, something breaks in the middle and is mended, and in the end all is judged.
//! Leaves the choice of jobs and faults to `run`, breaking to `site`, and judging to `judge`.
use crate::diary::Diary;
use crate::faults::{Fault, Harm};
use crate::judge::{Compared, Mark, Seen, Stand, Wish, compare, stand};
use crate::site::{IMAGE, IMAGE_SHA256, Site};
use anyhow::{Context, Result};
use ironbeat_core::node::{Image, NewInstance};
use ironbeat_core::time::Time;
use ironbeat_fleet::{Link, Unanswered, hardware, name};
use ironbeat_ops::ASK_ANOTHER;
use ironbeat_ops::happening::{Event, What};
use ironbeat_ops::reply::Summary;
use ironbeat_ops::request::{
    Deploy, ExplainNode, ListEvents, ListNodes, Manage, Provide, Undeploy,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Requests are spread over this time, so that some of them meet the fault.
const SPREAD: Duration = Duration::from_secs(4);
/// At most twenty requests a second: thousands at once are another trouble than those that are tried here.
const SPREAD_EACH: Duration = Duration::from_millis(50);
/// Jobs are in flight by then.
const LEAD: Duration = Duration::from_secs(3);
/// An operator asks again after this.
const AGAIN: Duration = Duration::from_millis(300);
/// Far above every bound: what is not well by then is not coming.
const PATIENCE: Duration = Duration::from_secs(300);
/// And this for each job, where thousands are done on a busy machine.
const PATIENCE_EACH: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(400);
/// What wakes up late does its damage within this.
const SETTLE: Duration = Duration::from_secs(3);
/// As a conductor says that it does not know whether an act was done.
const AGAIN_WORDS: [&str; 3] = ["begun again", "another try after", "booted by force"];
/// More than one node has in one wave.
const EVENTS: usize = 200;
/// Words about single nodes, at most, beside what was seen twice; the counts are whole.
const DETAILS: usize = 12;

pub struct Job {
    pub node: usize,
    pub wish: Wish,
}

/// What became of a wave.
#[derive(Debug)]
pub struct Outcome {
    pub fault: Fault,
    pub jobs: usize,
    /// From the harm until all was well; none: it never was.
    pub well: Option<Duration>,
    /// The longest time in which nothing was acknowledged.
    pub away: Duration,
    pub failed: BTreeSet<usize>,
    pub lost: u64,
    pub twice: u64,
    /// Jobs in which a power command came again, with the reason on record.
    pub again: u64,
    /// What was seen twice comes first, all of it: nothing else has it.
    pub details: Vec<String>,
    /// What the machines saw, for later waves to compare with.
    pub seen: BTreeMap<Wish, Seen>,
}

/// What was acknowledged so far, and what was refused for good.
#[derive(Default)]
struct Answers {
    asked: BTreeSet<usize>,
    refused: BTreeMap<usize, String>,
}

/// Runs one. `quiet`: what a machine sees without a fault; empty: this wave finds out.
///
/// # Errors
/// When a part cannot be broken or mended: then the wave proves nothing.
pub fn run(
    site: &mut Site,
    number: usize,
    fault: &Fault,
    jobs: &[Job],
    quiet: &BTreeMap<Wish, Seen>,
    diary: &mut (usize, u64),
) -> Result<Outcome> {
    let marks: Vec<Mark> = jobs
        .iter()
        .map(|job| Mark::of(&site.fleet.machine(job.node).ledger()))
        .collect();
    let started = site.runtime().block_on(last_event(site.operator()))?;
    let answers = Arc::new(Mutex::new(Answers::default()));
    let mut asking = ask_all(site, number, jobs, &answers);
    std::thread::sleep(LEAD);
    let book = {
        let _inside = site.runtime().enter();
        Diary::open(site.operator(), diary.0, diary.1)
    };
    let begin = Instant::now();
    let patience = PATIENCE + PATIENCE_EACH * u32::try_from(jobs.len()).unwrap_or(u32::MAX);
    let mut broken = Some(site.harm(fault.harm)?);
    let mut well = None;
    let stands = loop {
        if begin.elapsed() >= fault.hold
            && let Some(broken) = broken.take()
        {
            site.mend(&broken)
                .with_context(|| format!("mend {broken:?}"))?;
        }
        let stands = look(site, jobs, &answers);
        let settled = stands
            .as_ref()
            .is_some_and(|stands| stands.iter().all(|stand| *stand != Stand::Pending));
        well = match settled {
            true => well.or_else(|| Some(begin.elapsed())),
            // It was well too early.
            false => None,
        };
        let over = broken.is_none()
            && well.is_some_and(|at| begin.elapsed() >= at.max(fault.hold) + settle(fault));
        if over || begin.elapsed() >= patience {
            break stands;
        }
        std::thread::sleep(LOOK);
    };
    asking.abort_all();
    let (entries, last) = site.runtime().block_on(book.close())?;
    diary.1 = last;
    site.wait_whole()?;
    site.no_panic()?;
    let mut outcome = Outcome {
        fault: *fault,
        jobs: jobs.len(),
        well,
        away: entries.away,
        failed: BTreeSet::new(),
        lost: 0,
        twice: 0,
        again: 0,
        details: Vec::new(),
        seen: BTreeMap::new(),
    };
    let (mut seen_twice, mut more) = (Vec::new(), Vec::new());
    if !entries.kept {
        outcome.lost += 1;
        more.push("the diary lost an acknowledged line".into());
    }
    let unknown = vec![Stand::Pending; jobs.len()];
    let stands = stands.unwrap_or(unknown);
    for ((job, mark), stand) in jobs.iter().zip(marks).zip(stands) {
        let machine = site.fleet.machine(job.node);
        let seen = mark.since(&machine.ledger());
        if stand != Stand::Well {
            let why = match lock(&answers).refused.get(&job.node) {
                Some(why) => format!("refused: {why}"),
                None => site.runtime().block_on(explain(site.operator(), job.node)),
            };
            more.push(format!(
                "{} {:?}: {stand:?}: {why}",
                name(job.node),
                job.wish
            ));
            outcome.failed.insert(job.node);
            outcome.lost += u64::from(stand != Stand::Failed);
        }
        let usual = match quiet.get(&job.wish) {
            Some(usual) => usual,
            None => outcome.seen.entry(job.wish).or_insert_with(|| seen.clone()),
        };
        // The same whatever it is called with, where nothing is more than usual.
        let runs = machine.runs();
        let again = match compare(job.wish, usual, &seen, 0, runs).twice.is_empty() {
            true => 0,
            false => {
                let said = begun_again(site.operator(), job.node, started);
                site.runtime().block_on(said)?
            }
        };
        let Compared {
            twice,
            again,
            missing,
        } = compare(job.wish, usual, &seen, again, runs);
        outcome.again += u64::from(!again.is_empty());
        outcome.twice += u64::from(!twice.is_empty());
        outcome.lost += u64::from(stand == Stand::Well && !missing.is_empty());
        let of_node = |words: &String| format!("{} {:?}: {words}", name(job.node), job.wish);
        seen_twice.extend(twice.iter().map(of_node));
        more.extend(missing.iter().map(of_node));
        let explained = |words| format!("{}: {words}, as its events explain", name(job.node));
        more.extend(again.into_iter().map(explained));
    }
    outcome.details = details(seen_twice, more);
    Ok(outcome)
}

fn details(twice: Vec<String>, more: Vec<String>) -> Vec<String> {
    let more = more.into_iter().take(DETAILS);
    twice.into_iter().chain(more).collect()
}

impl Outcome {
    /// Nothing was lost, nothing was seen twice, and all that was asked for was done.
    pub fn is_good(&self) -> bool {
        self.well.is_some() && self.failed.is_empty() && self.lost == 0 && self.twice == 0
    }
}

fn settle(fault: &Fault) -> Duration {
    match fault.harm {
        Harm::Nothing => Duration::ZERO,
        _ => SETTLE,
    }
}

fn lock(answers: &Mutex<Answers>) -> std::sync::MutexGuard<'_, Answers> {
    answers.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ask_all(site: &Site, wave: usize, jobs: &[Job], answers: &Arc<Mutex<Answers>>) -> JoinSet<()> {
    let mut asking = JoinSet::new();
    let count = u32::try_from(jobs.len().max(1)).unwrap_or(u32::MAX);
    for (n, job) in jobs.iter().enumerate() {
        let (node, wish) = (job.node, job.wish);
        let (link, answers) = (site.operator().clone(), Arc::clone(answers));
        let wait = (SPREAD / count).max(SPREAD_EACH) * u32::try_from(n).unwrap_or(u32::MAX);
        let asked = async move {
            tokio::time::sleep(wait).await;
            loop {
                match ask(&link, wave, node, wish).await {
                    Ok(()) => {
                        lock(&answers).asked.insert(node);
                        return;
                    }
                    // Errors from 500 are about the conductor itself, and pass; so does a worker's idleness, as the command
                    // line has it.
                    Err(Unanswered::Refused(code, why))
                        if code < 500 && usize::from(code) != ASK_ANOTHER =>
                    {
                        lock(&answers).refused.insert(node, why);
                        return;
                    }
                    Err(_) => tokio::time::sleep(AGAIN).await,
                }
            }
        };
        asking.spawn_on(asked, site.runtime().handle());
    }
    asking
}

/// The same request however often it is asked.
async fn ask(link: &Link, wave: usize, n: usize, wish: Wish) -> Result<(), Unanswered> {
    let node = name(n);
    let request = format!("wave{wave}-{node}").parse().ok();
    let shown = match wish {
        Wish::Manage => link.operate(&Manage { node, request }).await,
        Wish::Provide => link.operate(&Provide { node, request }).await,
        Wish::Undeploy => link.operate(&Undeploy { node, request }).await,
        Wish::Deploy => {
            let instance = instance();
            let deploy = Deploy {
                node,
                request,
                instance,
            };
            link.operate(&deploy).await
        }
    };
    shown.map(drop)
}

fn instance() -> NewInstance {
    let checksum = format!("sha256:{IMAGE_SHA256}");
    NewInstance {
        traits: vec![],
        deploy_steps: vec![],
        image: Image {
            source: IMAGE.parse().expect("a file's name"),
            checksum: checksum.parse().expect("a checksum"),
            format: None,
        },
        hostname: None,
        user_data: None,
        network_data: None,
        confirm: None,
        token: None,
        ssh_keys: Vec::new(),
        root_device: Default::default(),
    }
}

/// How each job's node stands by the operators' list; none: nobody answers.
fn look(site: &Site, jobs: &[Job], answers: &Mutex<Answers>) -> Option<Vec<Stand>> {
    let nodes = site.runtime().block_on(list(site.operator())).ok()?;
    let answers = lock(answers);
    let stands = jobs.iter().map(|job| {
        if answers.refused.contains_key(&job.node) {
            return Stand::Failed;
        }
        let asked = answers.asked.contains(&job.node);
        stand(job.wish, asked, nodes.get(&hardware::node_id(job.node)))
    });
    Some(stands.collect())
}

type Nodes = HashMap<ironbeat_common::id::NodeId, Summary>;

/// All nodes, page by page.
///
/// # Errors
/// When a page is not answered.
pub async fn list(link: &Link) -> Result<Nodes, Unanswered> {
    let (mut nodes, mut after) = (HashMap::new(), None);
    loop {
        let ask = ListNodes {
            after,
            ..ListNodes::default()
        };
        let page = link.operate(&ask).await?;
        nodes.extend(page.nodes.into_iter().map(|node| (node.id, node)));
        after = page.next;
        if after.is_none() {
            return Ok(nodes);
        }
    }
}

/// When the newest event came, by the clock of whoever reports events.
async fn last_event(link: &Link) -> Result<Time> {
    let last = ListEvents {
        node: None,
        last: Some(1),
    };
    let events = link.operate(&last).await?;
    let newest = events.last().and_then(Event::known);
    Ok(newest.map_or(Time::from_unix_ms(0), |happening| happening.at))
}

/// How often a node's events since then say that something was begun again, and why.
async fn begun_again(link: &Link, node: usize, since: Time) -> Result<u64> {
    let all = ListEvents {
        node: Some(name(node)),
        last: Some(EVENTS),
    };
    let events = link.operate(&all).await?;
    let said = events.iter().filter_map(Event::known).filter(|it| {
        let because = match &it.what {
            What::State(transition) | What::Step(transition) => transition.because.as_str(),
            _ => "",
        };
        it.at >= since && AGAIN_WORDS.iter().any(|words| because.contains(words))
    });
    Ok(said.count() as u64)
}

async fn explain(link: &Link, node: usize) -> String {
    match link.operate(&ExplainNode::of(name(node))).await {
        Ok(explained) => {
            let error = explained.last_error.map(|error| error.what);
            format!(
                "{}, {} {}",
                explained.provision_state,
                explained.waiting_for,
                error.unwrap_or_default()
            )
        }
        Err(error) => format!("nobody explains it: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_twice_is_told_however_much_else_there_is_to_tell() {
        let lost = vec!["node1 Deploy: Lost".to_string(); 3 * DETAILS];
        let twice = vec!["node9 Deploy: write_image 2 times, not 1".to_string()];
        let told = details(twice.clone(), lost);
        assert_eq!((told.len(), &told[..1]), (DETAILS + 1, &twice[..]));
    }
}
