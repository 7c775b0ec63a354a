//! Processes that die at any moment, and a ledger outside of them that tells what must be there.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use tempfile::TempDir;
use tenantry_core::{ErrorKind, Service, TenantId};

use super::scene::{OWN_FILES, files_in, is_cut};
use super::{FsBlobs, FsSettings};
use crate::integrity::Sha256;
use crate::name::{BlobKind, BlobName};
use crate::record::BlobRecord;
use crate::retention::{HoldTag, LockMode, Retention};
use crate::store::{BlobStore, ListOptions, PutOptions, TenantBlobs};
use crate::sweep::{SweepPolicy, Sweeper};

const FOLDER: &str = "TENANTRY_STORM_FOLDER";
const SEED: &str = "TENANTRY_STORM_SEED";
/// How many processes work at a time.
const PROCESSES: usize = 3;
/// After how many deaths it is looked at what is there, and after how many looks a new folder is taken.
const ROUND: u64 = 20;
const LOOKS: u64 = 6;

/// Numbers that a seed gives again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn one_of<'n>(&mut self, names: &'n [BlobName]) -> Option<&'n BlobName> {
        let place = self.below(names.len().max(1) as u64);
        names.get(usize::try_from(place).unwrap())
    }
}

/// How long a blob is kept: its name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Locked,
    Days,
    /// It is over at once.
    Over,
}

fn keep_of(name: &BlobName) -> Keep {
    match Sha256::of(name.as_str().as_bytes()).0[1] % 8 {
        0 => Keep::Locked,
        1 => Keep::Days,
        _ => Keep::Over,
    }
}

/// Returns the bytes of a blob, which its name tells as well; some have several blocks.
fn bytes_of(name: &BlobName) -> Bytes {
    let digest = Sha256::of(name.as_str().as_bytes()).0;
    let short = usize::from(digest[2]) * 16;
    let length = match digest[0] {
        0..8 => super::BLOCK * 2 + short,
        _ => short,
    };
    digest.iter().copied().cycle().take(length).collect()
}

fn tenants() -> [TenantId; 2] {
    [1, 10].map(|number| TenantId::from_u128(number).unwrap())
}

async fn open(folder: &Path) -> BlobStore {
    BlobStore::new(Arc::new(
        FsBlobs::open(FsSettings::new(folder)).await.unwrap(),
    ))
}

fn tag() -> HoldTag {
    HoldTag::new("case17").unwrap()
}

/// What a process of the storm does, until it is killed; it tells of each act before and after it.
struct Work {
    store: BlobStore,
    tenants: [TenantBlobs; 2],
    dice: Dice,
    over: Vec<BlobName>,
    kept: Vec<BlobName>,
}

fn tell(act: &str, name: &BlobName) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("storm {act} {name}\n").as_bytes())
        .unwrap();
    out.flush().unwrap();
}

impl Work {
    fn of(&self, name: &BlobName) -> &TenantBlobs {
        let place = usize::from(self.tenants[0].tenant() != name.tenant());
        &self.tenants[place]
    }

    async fn act(&mut self) {
        match self.dice.below(100) {
            0..50 => self.put().await,
            50..62 => self.delete().await,
            62..72 => self.hold(true).await,
            72..80 => self.hold(false).await,
            80..88 => self.read().await,
            88..92 => self.delete_early().await,
            _ => {
                let policy = SweepPolicy::default().with_batch(7);
                let sweeper = Sweeper::new(&self.store, policy).unwrap();
                let report = sweeper.run().await.unwrap();
                assert_eq!(report.failed, 0, "{report:?}");
            }
        }
    }

    async fn put(&mut self) {
        let count = 1 + self.dice.below(3);
        let kind = BlobKind::new("storm").unwrap();
        let mut names = Vec::new();
        for number in 0..count {
            let blobs = &self.tenants[usize::from(number % 2 == 0)];
            names.push(blobs.name(&kind).unwrap());
        }
        let puts = names.iter().map(async |name| {
            let retention = match keep_of(name) {
                Keep::Locked => Retention::days(7).locked(),
                Keep::Days => Retention::days(7),
                Keep::Over => Retention::days(0),
            };
            let options = PutOptions::new(Service::Reporting, retention);
            tell("put?", name);
            let put = self.of(name).put_bytes(name, options, bytes_of(name)).await;
            put.unwrap();
            tell("put!", name);
        });
        join_all(puts).await;
        for name in names {
            match keep_of(&name) {
                Keep::Over => self.over.push(name),
                Keep::Locked | Keep::Days => self.kept.push(name),
            }
        }
    }

    async fn delete(&mut self) {
        let Some(name) = self.dice.one_of(&self.over).cloned() else {
            return;
        };
        tell("delete?", &name);
        match self.of(&name).delete(&name).await {
            Ok(()) => tell("delete!", &name),
            // Held; or a sweep of another was quicker.
            Err(error) => assert!(
                matches!(
                    error.kind(),
                    ErrorKind::Retained | ErrorKind::NotFound | ErrorKind::Conflict
                ),
                "{error:?}"
            ),
        }
    }

    async fn hold(&mut self, places: bool) {
        let Some(name) = self.dice.one_of(&self.over).cloned() else {
            return;
        };
        let (before, after) = match places {
            true => ("hold?", "hold!"),
            false => ("clear?", "clear!"),
        };
        tell(before, &name);
        let blobs = self.of(&name);
        let changed = match places {
            true => blobs.place_hold(&name, &tag(), "they sue").await,
            false => blobs.clear_hold(&name, &tag(), "they do not").await,
        };
        match changed {
            Ok(_) => tell(after, &name),
            Err(error) => assert!(
                matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::InvalidInput | ErrorKind::AlreadyExists
                ),
                "{error:?}"
            ),
        }
    }

    async fn read(&mut self) {
        if let Some(name) = self.dice.one_of(&self.kept) {
            let read = self.of(name).get(name).await.unwrap();
            assert_eq!(read.bytes, bytes_of(name));
        }
    }

    async fn delete_early(&mut self) {
        if let Some(name) = self.dice.one_of(&self.kept)
            && keep_of(name) == Keep::Locked
        {
            let refused = self.of(name).delete_early(name, "a whim").await;
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Retained);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of the storm, which another ends"]
async fn process_of_the_storm() {
    let folder: PathBuf = std::env::var_os(FOLDER).unwrap().into();
    let seed = std::env::var_os(SEED).unwrap().into_string().unwrap();
    let store = open(&folder).await;
    let mut work = Work {
        tenants: tenants().map(|tenant| store.tenant(tenant)),
        store,
        dice: Dice(seed.parse().unwrap()),
        over: Vec::new(),
        kept: Vec::new(),
    };
    loop {
        work.act().await;
    }
}

/// A process, and what it has told.
struct Process {
    child: Child,
    told: JoinHandle<Vec<String>>,
    dies_at: Instant,
}

impl Process {
    fn start(folder: &Path, dice: &mut Dice) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "fs::storm::process_of_the_storm"])
            .args(["--ignored", "--nocapture"])
            .env(FOLDER, folder)
            .env(SEED, (dice.below(u64::MAX) | 1).to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            told: std::thread::spawn(move || out.lines().map_while(Result::ok).collect()),
            dies_at: Instant::now() + Duration::from_millis(15 + dice.below(85)),
        }
    }

    /// Waits until it is time, and kills it.
    fn end(mut self, ledger: &mut Ledger) {
        std::thread::sleep(self.dies_at.saturating_duration_since(Instant::now()));
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "it has failed before: {ended:?}");
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        for line in self.told.join().unwrap() {
            ledger.take_down(&line);
        }
    }
}

/// What was told of a blob.
#[derive(Debug, Default)]
struct Fate {
    is_put: bool,
    is_deleted: bool,
    is_held: bool,
    /// Somebody has begun to clear its hold, and perhaps has.
    is_being_cleared: bool,
}

/// What all processes have told.
#[derive(Default)]
struct Ledger {
    fates: HashMap<BlobName, Fate>,
    acts: u64,
}

impl Ledger {
    fn take_down(&mut self, line: &str) {
        let mut words = line.split(' ');
        let (Some("storm"), Some(act), Some(name)) = (words.next(), words.next(), words.next())
        else {
            return;
        };
        let fate = self.fates.entry(name.parse().unwrap()).or_default();
        self.acts += u64::from(act.ends_with('!'));
        match act {
            "put!" => fate.is_put = true,
            "delete!" => fate.is_deleted = true,
            "hold!" => (fate.is_held, fate.is_being_cleared) = (true, false),
            "clear?" => fate.is_being_cleared = true,
            "clear!" => fate.is_held = false,
            _ => {}
        }
    }

    /// Returns whether a blob must be there.
    fn must_be(&self, name: &BlobName, fate: &Fate) -> bool {
        let is_held = fate.is_held && !fate.is_being_cleared;
        fate.is_put && (keep_of(name) != Keep::Over || is_held)
    }
}

/// A folder, one who watches it all the time, and what is known of it from outside.
struct Storm {
    folder: TempDir,
    witness: BlobStore,
    ledger: Ledger,
    read: BTreeSet<BlobName>,
    compactions: u64,
    journal: u64,
}

impl Storm {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            witness: open(folder.path()).await,
            folder,
            ledger: Ledger::default(),
            read: BTreeSet::new(),
            compactions: 0,
            journal: 0,
        }
    }

    /// Lets processes work and die, one after the other while others go on.
    fn rage(&mut self, dice: &mut Dice) {
        let folder = self.folder.path().to_owned();
        let mut running: Vec<_> = (0..PROCESSES)
            .map(|_| Process::start(&folder, dice))
            .collect();
        for death in 0..ROUND {
            let process = running.remove(0);
            process.end(&mut self.ledger);
            if death + (PROCESSES as u64) < ROUND {
                running.push(Process::start(&folder, dice));
            }
            let length = fs::metadata(folder.join("journal")).unwrap().len();
            self.compactions += u64::from(length < self.journal);
            self.journal = length;
        }
    }

    /// Looks whether all is there that must be, whole, and nothing else.
    async fn look(&mut self) {
        let store = open(self.folder.path()).await;
        let mut there = BTreeSet::new();
        for tenant in tenants() {
            let records = all_of(&store.tenant(tenant)).await;
            assert_eq!(records, all_of(&self.witness.tenant(tenant)).await);
            for record in records {
                self.check(&store, &record).await;
                there.insert(record.name);
            }
        }
        for (name, fate) in &self.ledger.fates {
            let is_there = there.contains(name);
            if self.ledger.must_be(name, fate) {
                assert!(is_there, "lost, or deleted early: {name} {fate:?}");
            }
            assert!(!(is_there && fate.is_deleted), "it is back: {name}");
        }
        let mut expected: BTreeSet<_> = there
            .iter()
            .map(|name| Path::new("blobs").join(name.as_str()))
            .collect();
        expected.extend(OWN_FILES.map(PathBuf::from));
        let mut files = files_in(self.folder.path());
        // What a process was writing when it was killed is kept.
        files.retain(|file| !is_cut(file));
        assert_eq!(files, expected, "no byte too many");
    }

    async fn check(&mut self, store: &BlobStore, record: &BlobRecord) {
        let name = &record.name;
        let fate = self.ledger.fates.get(name);
        let fate = fate.unwrap_or_else(|| panic!("nobody has put {name}"));
        let lock = (keep_of(name) == Keep::Locked).then_some(LockMode::Locked);
        assert_eq!(record.retention.lock, lock, "{name}");
        if fate.is_held && !fate.is_being_cleared {
            assert!(record.retention.is_held(), "{name}");
        }
        if self.read.insert(name.clone()) {
            let read = store.tenant(name.tenant()).get(name).await.unwrap();
            assert_eq!(read.bytes, bytes_of(name), "{name}");
        }
    }
}

async fn all_of(blobs: &TenantBlobs) -> Vec<BlobRecord> {
    let (mut records, mut options) = (Vec::new(), ListOptions::new().with_limit(5_000));
    loop {
        let page = blobs.list(options).await.unwrap();
        records.extend(page.records);
        let Some(next) = page.next else {
            return records;
        };
        options = ListOptions::new().with_limit(5_000).with_after(next);
    }
}

#[derive(Debug, Default)]
struct Tally {
    deaths: u64,
    acts: u64,
    blobs: u64,
    compactions: u64,
}

/// Rages until it is enough.
async fn rage_until(seed: u64, is_enough: impl Fn(&Tally) -> bool) -> Tally {
    let (mut tally, mut dice) = (Tally::default(), Dice(seed | 1));
    while !is_enough(&tally) {
        let mut storm = Storm::new().await;
        for _ in 0..LOOKS {
            storm.rage(&mut dice);
            storm.look().await;
            tally.deaths += ROUND;
            if is_enough(&tally) {
                break;
            }
        }
        tally.acts += storm.ledger.acts;
        tally.blobs += storm.ledger.fates.len() as u64;
        tally.compactions += storm.compactions;
    }
    tally
}

#[tokio::test]
async fn processes_that_die_at_any_moment_lose_and_leave_nothing() {
    let tally = rage_until(20_261_129, |tally| tally.deaths >= 200).await;
    assert!(tally.acts > 0 && tally.blobs > 0, "{tally:?}");
}

/// For the page about it.
#[tokio::test]
#[ignore = "run by scripts/prove"]
#[allow(clippy::print_stdout, reason = "scripts/prove keeps what is printed")]
async fn prove_storm_of_kills_on_blobs() {
    let seconds = std::env::var_os("TENANTRY_PROVE_SECONDS").map_or(60, |seconds| {
        seconds.into_string().unwrap().parse().unwrap()
    });
    let started = Instant::now();
    let seed = uuid::Uuid::new_v4().as_u64_pair().0;
    println!("seed {seed}");
    let is_over = |_: &Tally| started.elapsed() >= Duration::from_secs(seconds);
    let tally = rage_until(seed, is_over).await;
    println!(
        "{} processes killed, {} acts answered, {} blobs, {} compactions of a journal seen:",
        tally.deaths, tally.acts, tally.blobs, tally.compactions
    );
    println!(
        "nothing answered for is lost, nothing is half there, nothing was deleted early, no byte is left over"
    );
}
