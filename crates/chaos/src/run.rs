//! A run: rounds of faults, and after each a healed cluster that must show progress and stand an audit.

mod demands;

use std::{
    fs::File,
    io,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};

use super::{
    audit::EvidenceAudit,
    clients::{
        Shared,
        ask::Asker,
        drop::Dropper,
        submit::Submitter,
        watch::{WatchStream, Watcher},
    },
    cluster::{Cluster, ClusterPlaces},
    disk,
    inject::Injector,
    journal::{Journal, Sums},
    marks::Marks,
    plan,
    proxy::Proxies,
    report::ProgressLine,
    secure,
    shape::{ClusterNode, DialledLink, Group, LinkEnd},
    tap::Tap,
    truth::{LogTruth, lock},
    workload::ChaosPool,
};

const POLL: Duration = Duration::from_millis(20);

/// Clients that withdraw and look up, one question after the other.
const ASKERS: u64 = 8;

/// What a run is asked to be.
#[derive(Clone, Debug)]
pub struct Options {
    pub seed: u64,
    pub lasts: Duration,
    /// Longest time until a healed cluster must have caught up.
    pub bound: Duration,
    /// Elements a second, about.
    pub rate: u32,
    pub place: ClusterPlaces,
}

/// Everything that goes on.
struct Run {
    options: Options,
    injector: Injector,
    shared: Arc<Shared>,
    journal: Arc<Journal>,
    marks: Arc<Marks>,
    truth: Arc<Mutex<LogTruth>>,
    watchers: Vec<Arc<Watcher>>,
    audit: EvidenceAudit,
    submitters: JoinSet<()>,
    stop: watch::Sender<bool>,
    background: Vec<JoinHandle<()>>,
    progress: ProgressLine,
}

/// Runs it all. The first violation ends it.
pub async fn run(options: Options, progress: ProgressLine) -> io::Result<Sums> {
    let journal = Arc::new(Journal::new(File::create(options.place.folder.join("timeline.txt"))?));
    journal.note(format!("seed {}, {:?}, {:?}", options.seed, options.lasts, options.place.shape));
    let place = options.place.clone();
    let targets = place.clone();
    let proxies = Proxies::start(&place.shape.links(), place.ip, |link| targets.address(link.to)).await?;
    let cluster = Arc::new(Cluster::start(place, proxies).await?);
    let mut run = Run::new(options, Arc::clone(&journal), cluster, progress);
    tokio::select! {
        () = run.all_rounds() => {}
        () = interrupted() => journal.violation("interrupted"),
    }
    if journal.failed() {
        run.look_around().await;
    }
    run.background.iter().for_each(JoinHandle::abort);
    run.injector.cluster.end().await;
    Ok(journal.sums())
}

async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminated) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminated.recv() => {}
            }
        }
        Err(_) => std::future::pending().await,
    }
}

/// Returns once there is a violation.
async fn failure(journal: &Journal) {
    while !journal.failed() {
        sleep(POLL).await;
    }
}

/// Tells of processes that end by themselves.
async fn look_after(cluster: Arc<Cluster>, journal: Arc<Journal>) {
    loop {
        for (node, status) in cluster.ended().await {
            journal.violation(format!("{node} ended by itself with {status}"));
        }
        sleep(Duration::from_millis(100)).await;
    }
}

impl Run {
    fn new(options: Options, journal: Arc<Journal>, cluster: Arc<Cluster>, progress: ProgressLine) -> Run {
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared::new(options.seed, Arc::clone(&journal), stopped));
        let truth = Arc::new(Mutex::new(LogTruth::new(Arc::clone(&journal))));
        let pools = ChaosPool::ALL.map(|pool| (Some(pool), WatchStream::Matches));
        let all = [WatchStream::Matches, WatchStream::Library, WatchStream::Outcomes].map(|stream| (None, stream));
        let watchers = all.into_iter().chain(pools);
        let watchers = watchers.map(|(pool, stream)| Watcher::new(pool, stream, Arc::clone(&shared)));
        Run {
            injector: Injector::new(cluster, Arc::clone(&shared)),
            marks: Marks::new(options.place.url(ClusterNode::Balancer), Arc::clone(&journal)),
            watchers: watchers.collect(),
            audit: EvidenceAudit::new(Arc::clone(&journal), Arc::clone(&truth)),
            submitters: JoinSet::new(),
            background: Vec::new(),
            options,
            shared,
            journal,
            truth,
            stop,
            progress,
        }
    }

    async fn all_rounds(&mut self) {
        if !self.begin().await {
            return;
        }
        let began = Instant::now();
        for round in 0.. {
            let left = self.options.lasts.saturating_sub(began.elapsed());
            if left < Duration::from_secs(1) {
                break;
            }
            self.round(round, left).await;
            if self.journal.failed() {
                return;
            }
        }
        self.end().await;
    }

    /// The pools, and all clients.
    async fn begin(&mut self) -> bool {
        let cluster = Arc::clone(&self.injector.cluster);
        self.background.push(tokio::spawn(look_after(cluster, Arc::clone(&self.journal))));
        if !self.all_serve().await {
            return false;
        }
        let url = self.options.place.url(ClusterNode::Balancer);
        let client = self.shared.connect(&url).await;
        for pool in ChaosPool::ALL {
            if let Err(error) = client.define_pool(pool.definition()).await {
                self.journal.violation(format!("pool {} cannot be defined: {error}", pool.name()));
                return false;
            }
        }
        let (tap, frames) = Tap::new(&self.options.place, Arc::clone(&self.journal));
        let truth = Arc::clone(&self.truth);
        // It ends when the tap does.
        thread::spawn(move || LogTruth::follow(&truth, &frames));
        self.background.push(tokio::spawn(tap.run()));
        self.background.push(tokio::spawn(Arc::clone(&self.marks).run()));
        let progress = self.progress.clone();
        self.background.push(tokio::spawn(progress.run(Arc::clone(&self.journal))));
        for watcher in &self.watchers {
            self.background.push(tokio::spawn(Arc::clone(watcher).run(self.client_url(Group::Watchers))));
        }
        self.start_clients();
        true
    }

    fn start_clients(&mut self) {
        // Of twelve parts of the load, three go into each pool in batches, and one in each one by one.
        let part = f64::from(self.options.rate) / 12.0;
        let batch_max = 16;
        let every = |per_second: f64| Duration::from_secs_f64(1.0 / per_second.max(0.01));
        for (number, pool) in ChaosPool::ALL.into_iter().enumerate() {
            let submitter = |number, pause, batch_max| Submitter {
                number,
                pool,
                url: self.client_url(Group::Submitters),
                shared: Arc::clone(&self.shared),
                pause,
                batch_max,
            };
            let stream = submitter(2 * number, every(3.0 * part / (batch_max + 1) as f64 * 2.0), batch_max);
            let one_by_one = submitter(2 * number + 1, every(part), 1);
            self.submitters.spawn(stream.stream());
            self.submitters.spawn(one_by_one.one_by_one());
        }
        let (url, shared) = (self.client_url(Group::Submitters), Arc::clone(&self.shared));
        let pause = Duration::from_secs(1);
        self.submitters.spawn(Dropper { number: 2 * ChaosPool::ALL.len(), url, shared, pause }.run());
        for number in 0..ASKERS {
            let (url, shared) = (self.client_url(Group::Askers), Arc::clone(&self.shared));
            self.submitters.spawn(Asker { number, url, shared, pause: every(2.0 * part / ASKERS as f64) }.run());
        }
    }

    /// Where clients dial: a proxy.
    fn client_url(&self, group: Group) -> String {
        let link = DialledLink { from: LinkEnd::Clients(group), to: ClusterNode::Balancer };
        let address = self.injector.cluster.proxies.address(link).expect("every group has a link");
        format!("{}://{address}", secure::scheme())
    }

    async fn round(&mut self, round: u64, left: Duration) {
        let length = plan::length(self.options.seed, round, left);
        let plan = plan::draw(self.options.seed, round, self.options.place.shape, length);
        self.journal.note(format!("round {round}: {} faults in {length:?}", plan.len()));
        tokio::select! {
            () = self.injector.run(plan, length) => {}
            () = failure(&self.journal) => return,
        }
        self.journal.note(format!("round {round} is over, and everything healed"));
        let healed = Instant::now();
        if self.caught_up().await {
            self.journal.count("rounds", 1);
            self.journal.caught_up(healed.elapsed());
            self.journal.note(format!("round {round}: caught up after {:?}", healed.elapsed()));
        }
    }

    /// Clients finish, everything is settled, all stop; then the disk is read.
    async fn end(&mut self) {
        _ = self.stop.send(true);
        let mut submitters = std::mem::take(&mut self.submitters);
        let finished = timeout(self.options.bound, async {
            while let Some(ended) = submitters.join_next().await {
                if let Err(panic) = ended {
                    self.journal.violation(format!("a client failed: {panic}"));
                }
            }
        });
        if finished.await.is_err() {
            return self.journal.violation("the clients cannot finish");
        }
        if !self.caught_up().await {
            return;
        }
        for node in self.injector.cluster.all() {
            if let Err(error) = self.injector.stop(node).await {
                return self.journal.violation(format!("{node} cannot be stopped: {error}"));
            }
        }
        let mut truth = lock(&self.truth);
        if let Err(error) = disk::check(&self.options.place.data(), &mut truth, &self.journal) {
            self.journal.violation(format!("the data folder cannot be read: {error}"));
        }
        self.journal.count("waiting at the end", truth.waiting() as u64);
    }
}
