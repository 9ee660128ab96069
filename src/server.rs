//! The whole: builds everything, starts, reloads, drains. Locks the data directory, so that two daemons never
//! write one store.

mod broadcast;
mod doors;
mod heart;
mod imports;
mod life;
mod listen;
mod log;
mod manage;
mod people;
mod rooms;
mod tail;

use std::fs::{File, OpenOptions};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use nix::fcntl::{Flock, FlockArg};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use self::doors::Doors;
use self::life::{ctime, stop, upkeep, wait_for_stop};
use self::listen::{bind, descriptors, finder, our_side, raise_descriptor_limit};
use self::log::SetLevel;
use crate::chat::ids::Ids;
use crate::chat::shard::{Event, Input, Now, Settings, Shard};
use crate::config::{Config, ConfigError};
use crate::edge::control::Works;
use crate::edge::driver::{Driver, Gauges, House, Inbox, Mail, NewRequest, Served, StreamsToShards};
use crate::edge::notifier::{Hears, Notifier};
use crate::edge::tasks::Serving;
use crate::edge::transport::tcp::{Streams, silence_max};
use crate::edge::transport::udp::Faces;
use crate::edge::uas::Uas;
use crate::presence::agent::{self as presence, Agent};
use crate::presence::package::ALLOW_EVENTS;
use crate::presence::publication::Lives;
use crate::refusal::Fault;
use crate::service::clock::Clock;
use crate::service::delivery::{Delivery, Report, Wires};
use crate::service::domains::Domains;
use crate::service::focus::buddies::Questions;
use crate::service::focus::{Focus, Rules, TOLD_AGAIN, Turns};
use crate::service::followers::Followers;
use crate::service::identity::Identity;
use crate::service::import::Import;
use crate::service::offline::Offline;
use crate::service::person::People;
use crate::service::presence::Presence;
use crate::service::ratelimit::{Acquainted, Once, RateLimit};
use crate::service::receipts::Receipts;
use crate::service::registrar::{Flows, Listening, Registrar};
use crate::service::relay::{AWAY_AGAIN, Relay};
use crate::service::reminders::Reminders;
use crate::service::roster::Roster;
use crate::sip::endpoint::{self, Endpoint, TxKey};
use crate::sip::message::{Limits, Message};
use crate::sip::transaction::Timers;
use crate::store::{Options, Store};
use crate::types::{AccountId, ConnId, DeviceKey, Flow, Seq};

/// A knock at a private room is told to its members once in this time.
const KNOCK_AGAIN: Duration = Duration::from_secs(60);

/// Reads the configuration again, for SIGHUP.
pub type Reread = Box<dyn Fn() -> Result<(Config, Vec<String>), ConfigError> + Send + Sync>;

/// Runs the daemon until it is told to stop.
pub fn run(config: Config, reread: Reread) -> Result<(), Fault> {
    let log_level = log::start(&config);
    let _lock = lock_data_dir(&config.data_dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores())
        .enable_all()
        .build()
        .map_err(|error| Fault::Internal(format!("cannot start the runtime: {error}")))?;
    let result = runtime.block_on(serve(config, reread, log_level));
    runtime.shutdown_timeout(Duration::from_millis(500));
    result
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn internal(what: &str) -> impl Fn(std::io::Error) -> Fault {
    move |error| Fault::Internal(format!("{what}: {error}"))
}

// ── start ────────────────────────────────────────────────────────────────────────────────────────────────────

/// Takes the data directory for one process. It is free again when the lock is dropped.
///
/// # Errors
/// Another process has it, or the file of the lock cannot be written.
pub fn lock_data_dir(dir: &Path) -> Result<Flock<File>, Fault> {
    std::fs::create_dir_all(dir).map_err(|error| {
        Fault::Internal(format!("cannot make the data directory {}: {error}", dir.display()))
    })?;
    let path = dir.join("imcd.lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|error| Fault::Internal(format!("cannot open {}: {error}", path.display())))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| {
        if error == nix::errno::Errno::EWOULDBLOCK {
            Fault::Internal(format!("another imcd uses the data directory {}", dir.display()))
        } else {
            Fault::Internal(format!("cannot lock {}: {error}", path.display()))
        }
    })
}

/// Stream transport as the registrar sees it; filled when the streams exist.
struct StreamFlows {
    streams: OnceLock<Arc<Streams>>,
    faces: Arc<Faces>,
}

impl Flows for StreamFlows {
    fn is_open(&self, conn: ConnId) -> bool {
        self.streams.get().is_some_and(|streams| streams.is_open(conn))
    }
    fn face(&self, listener: u16, ours: IpAddr) -> u16 {
        self.faces.number(listener, ours)
    }
    fn ours_towards(&self, to: SocketAddr) -> IpAddr {
        our_side(to)
    }
    fn hold(&self, conn: ConnId, held: bool) {
        if let Some(streams) = self.streams.get() {
            streams.hold(conn, held);
        }
    }
    fn keeps_alive(&self, conn: ConnId) {
        if let Some(streams) = self.streams.get() {
            streams.keeps_alive(conn);
        }
    }
}

/// The services, as the shards' threads reach them.
struct Rooms {
    uas: Arc<Uas>,
    presence: Arc<Presence>,
    delivery: Arc<Delivery>,
    registrar: Arc<Registrar>,
    focus: Arc<Focus>,
    receipts: Arc<Receipts>,
    store: Store,
    inboxes: Arc<Vec<Inbox>>,
    runtime: tokio::runtime::Handle,
}

impl House for Rooms {
    fn screen(&self, message: &Message<'_>, flow: &Flow, tag: &str) -> Option<Bytes> {
        self.uas.screen(message, flow, tag)
    }

    fn request(&self, shard: usize, key: TxKey, request: NewRequest) -> Option<Serving<Served>> {
        let uas = self.uas.clone();
        let NewRequest { flow, bytes, tag } = request;
        let never_blocks = uas.never_blocks(&bytes, &flow);
        let serving = Box::pin(async move { uas.serve(&bytes, flow, &tag).await });
        if never_blocks {
            return Some(serving);
        }
        let inboxes = self.inboxes.clone();
        self.runtime.spawn(async move {
            if let Some((bytes, keep)) = serving.await {
                inboxes[shard].push(Mail::Respond { key, bytes, keep });
            }
        });
        None
    }

    fn event(&self, shard: usize, event: Event) {
        if let (Event::GaveUp { seq, .. }, true) = (&event, self.receipts.event(&event)) {
            let (receipts, seq) = (self.receipts.clone(), *seq);
            self.runtime.spawn(async move { receipts.given_up(seq).await });
        }
        match self.delivery.event(shard, event) {
            Some(Report::Unbound { account, contact }) => {
                let registrar = self.registrar.clone();
                self.runtime.spawn_blocking(move || registrar.unbound(account, contact));
            }
            Some(Report::Learned { account, contact, refuses, accept }) => {
                let registrar = self.registrar.clone();
                let learned = async move {
                    registrar.refused(account, &contact, refuses, accept.as_deref()).await;
                };
                drop(self.runtime.spawn(learned));
            }
            Some(Report::Locate { account, aor }) => {
                let registrar = self.registrar.clone();
                drop(self.runtime.spawn(async move { registrar.locate(account, &aor).await }));
            }
            Some(Report::GaveUp { account, seq }) => {
                drop(self.runtime.spawn(self.focus.clone().given_up(account, seq)))
            }
            None => {}
        }
    }

    fn positions(&self, moved: Vec<(AccountId, DeviceKey, Seq)>) {
        // Whoever is told that something was taken asks the store what.
        let watched = self.presence.watched(&moved);
        self.store.positions(moved);
        self.presence.taken(watched);
    }
}

/// What the presence agent says goes to its deeds.
struct Watching(Arc<Presence>);

impl Hears for Watching {
    fn event(&self, event: presence::Event) {
        self.0.event(event);
    }
    fn save(&self, saves: Vec<presence::Save>) -> bool {
        self.0.save(saves)
    }
}

/// A running daemon.
struct Server {
    config: RwLock<Config>,
    store: Store,
    delivery: Arc<Delivery>,
    focus: Arc<Focus>,
    offline: Arc<Offline>,
    receipts: Arc<Receipts>,
    reminders: Reminders,
    registrar: Arc<Registrar>,
    import: Arc<Import>,
    /// One import at a time.
    importing: Arc<tokio::sync::Mutex<()>>,
    identity: Arc<Identity>,
    domains: Arc<Domains>,
    streams: Arc<Streams>,
    gauges: Vec<Arc<Gauges>>,
    presence: Arc<Presence>,
    followers: Arc<Followers>,
    /// What takes long.
    works: Works,
    watching: Arc<Mutex<presence::Counters>>,
    listening: Vec<Listening>,
    clock: Clock,
    started: Instant,
    reread: Reread,
    set_level: SetLevel,
}

async fn serve(config: Config, reread: Reread, set_level: SetLevel) -> Result<(), Fault> {
    let mut signals = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()]
        .map(|kind| signal(kind).map_err(internal("signals")));
    raise_descriptor_limit();
    let clock = Clock::start();
    let shards = cores();
    let (sockets, listeners, listening) = bind(&config, shards)?;
    let store = Store::open(store_options(&config))?;
    let ids = Ids::new(&store.secret("ids")?);
    // One for each shard, and the notifier's.
    let inboxes = Arc::new((0..=shards).map(|_| Inbox::new()).collect::<Result<Vec<_>, _>>()?);

    let tell = {
        let inboxes = inboxes.clone();
        Box::new(move |shard: usize, input: Input| inboxes[shard].push(Mail::Shard(input)))
    };
    let hurry = {
        let inboxes = inboxes.clone();
        Box::new(move |shard: usize| {
            let (done, settled) = tokio::sync::oneshot::channel();
            inboxes[shard].push(Mail::Positions(done));
            settled
        })
    };
    let start = char::from(config.imc.imc_cmd_start_char.byte()).to_string();
    let room_max = config.offline.room_max;
    let delivery =
        Delivery::start(Wires { tell, hurry, shards }, ids, store.clone(), clock, room_max, start.clone())?;
    delivery.set_copies(config.delivery.copy_to_sender);
    let domains = Arc::new(Domains::new(&config));
    for domain in store.domains()? {
        // The configuration may name it by now.
        domains.add(&domain);
    }
    let identity = Arc::new(Identity::new(&config, domains.clone(), store.clone(), clock)?);
    let faces = Arc::new(Faces::new(listening.len()));
    let flows = Arc::new(StreamFlows { streams: OnceLock::new(), faces: faces.clone() });
    let registrar = Arc::new(Registrar::new(
        &config,
        store.clone(),
        delivery.clone(),
        flows.clone(),
        clock,
        listening.clone(),
        finder(&config)?,
    ));
    let runtime = tokio::runtime::Handle::current();
    let limits = sip_limits(&config);
    let streams = {
        let (closed, exempt) = (registrar.clone(), identity.clone());
        let handle = runtime.clone();
        let closed = Box::new(move |conn| {
            let registrar = closed.clone();
            handle.spawn_blocking(move || registrar.closed(conn));
        });
        let events = Arc::new(StreamsToShards { inboxes: inboxes.clone(), shards, closed });
        let exempt = Box::new(move |ip| exempt.is_trusted(ip));
        let total_max = descriptors().saturating_sub(256).max(64);
        let silence = silence_max(config.sip.flow_timer_s);
        Streams::new(events, limits, exempt, (total_max, silence), runtime.clone())
    };
    // The only place that sets it.
    let _ = flows.streams.set(streams.clone());
    let roster = Arc::new(Roster::new(store.clone(), start.clone(), config.presence.open));
    let people = Arc::new(People { store: store.clone(), roster: roster.clone(), start: start.clone() });
    let focus = Arc::new(Focus {
        store: store.clone(),
        delivery: delivery.clone(),
        registrar: registrar.clone(),
        people,
        roster: roster.clone(),
        domains: domains.clone(),
        clock,
        dialect: config.imc.dialect,
        start,
        manager: config.imc.manager.clone(),
        closed_house: config.auth_required() && config.sip.outbound_proxy.is_none(),
        reaches_abroad: config.sip.outbound_proxy.is_some() || config.sip.relay_foreign,
        rules: RwLock::new(Arc::new(Rules::new(&config))),
        rate: RateLimit::default(),
        recipients: RateLimit::default(),
        rooms: RateLimit::default(),
        beginners: RateLimit::default(),
        acquainted: Acquainted::default(),
        told: Once::per(TOLD_AGAIN),
        knocks: Once::per(KNOCK_AGAIN),
        turns: Turns::default(),
    });
    // The only place that sets it.
    let _ = roster.asks.set(Box::new(Questions(Arc::downgrade(&focus), clock)));
    let offline = Arc::new(Offline {
        store: store.clone(),
        delivery: delivery.clone(),
        registrar: registrar.clone(),
        focus: focus.clone(),
    });
    let receipts = Arc::new(Receipts::new(offline.clone())?);
    let relay = Arc::new(Relay {
        store: store.clone(),
        delivery: delivery.clone(),
        registrar: registrar.clone(),
        focus: focus.clone(),
        away: Once::per(AWAY_AGAIN),
        notices: RateLimit::default(),
        receipts: receipts.clone(),
    });
    let presence = {
        let (inboxes, runtime) = (inboxes.clone(), runtime.clone());
        let tell = Box::new(move |input| inboxes[shards].push(Mail::Presence(Box::new(input))));
        let lamps = config.presence.unsolicited_summary.then_some(ids);
        Arc::new(Presence::new(focus.clone(), offline.clone(), roster.clone(), runtime, lamps, tell))
    };
    watch(&presence, &registrar, &roster);
    let timers = timers(&config);
    let uas = Arc::new(Uas {
        identity: identity.clone(),
        registrar: registrar.clone(),
        focus: focus.clone(),
        relay,
        presence: presence.clone(),
        domains: domains.clone(),
        store: store.clone(),
        clock,
        ids,
        limits,
        patience_ms: timers.patience().as_millis() as i64,
    });
    let followers = Arc::new(Followers::default());
    let told = Told {
        delivery: delivery.clone(),
        receipts: receipts.clone(),
        presence: presence.clone(),
        followers: followers.clone(),
    };
    announce_commits(&store, told, &registrar, runtime.clone());
    let house = Arc::new(Rooms {
        uas,
        presence: presence.clone(),
        delivery: delivery.clone(),
        registrar: registrar.clone(),
        focus: focus.clone(),
        receipts: receipts.clone(),
        store: store.clone(),
        inboxes: inboxes.clone(),
        runtime: runtime.clone(),
    });
    let watching = Arc::new(Mutex::default());
    let notifier = Notifier {
        agent: agent(&config, &presence, &registrar, ids, timers, clock, shards)?,
        index: shards,
        inboxes: inboxes.clone(),
        sockets: copies(sockets.first().map_or(&[], Vec::as_slice))?,
        faces: faces.clone(),
        streams: streams.clone(),
        hears: Arc::new(Watching(presence.clone())),
        clock,
        gauges: watching.clone(),
    };
    let mut threads = Vec::new();
    let mut gauges = Vec::new();
    for (index, sockets) in sockets.into_iter().enumerate() {
        let gauge = Arc::new(Gauges::default());
        gauges.push(gauge.clone());
        let settings = Settings {
            shard: index as u8,
            ids,
            timers,
            dialect: config.imc.dialect,
            copy_to_sender: config.delivery.copy_to_sender,
            prefix: config.offline.prefix,
            ctime,
            keepalive: match config.sip.nat_keepalive_s {
                0 => None,
                seconds => Some(Duration::from_secs(u64::from(seconds))),
            },
        };
        let mut random = [0; 24];
        getrandom::fill(&mut random).map_err(|error| Fault::Internal(format!("randomness: {error}")))?;
        let (mut secret, mut seed) = ([0; 16], [0; 8]);
        secret.copy_from_slice(&random[..16]);
        seed.copy_from_slice(&random[16..]);
        let allow_events = ALLOW_EVENTS;
        let endpoint = endpoint::Config { timers, limits, allow_events, ..endpoint::Config::new(secret) };
        let driver = Driver {
            index,
            shard: Shard::new(settings, Instant::now(), u64::from_be_bytes(seed), store.head()),
            endpoint: Endpoint::new(endpoint),
            sockets,
            faces: faces.clone(),
            inboxes: inboxes.clone(),
            streams: streams.clone(),
            house: house.clone(),
            ids,
            clock,
            gauges: gauge,
            runtime: runtime.clone(),
        };
        threads.push(driver.start()?);
    }
    threads.push(notifier.start()?);
    registrar.restore()?;
    let mut accepting = tokio::task::JoinSet::new();
    for (listener, index) in listeners {
        accepting.spawn(streams.clone().accept(listener, index));
    }
    let import = Arc::new(Import {
        store: store.clone(),
        focus: focus.clone(),
        domains: domains.clone(),
        identity: identity.clone(),
    });
    let server = Arc::new(Server {
        config: RwLock::new(config.clone()),
        store: store.clone(),
        delivery,
        focus,
        receipts,
        reminders: Reminders { offline: offline.clone() },
        offline,
        registrar,
        import,
        importing: Arc::default(),
        identity,
        domains,
        streams,
        gauges,
        presence,
        followers,
        works: Works::default(),
        watching,
        listening,
        clock,
        started: Instant::now(),
        reread,
        set_level,
    });
    let doors = Doors::open(&config, &server)?;
    let upkeep = tokio::spawn(upkeep(server.clone(), clock));
    greet(&server, &config);
    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let heart = tokio::spawn(heart::beat(inboxes.clone(), store.clone()));

    let [Ok(terminate), Ok(interrupt), Ok(hangup)] = &mut signals else {
        return Err(Fault::Internal("signals cannot be handled".into()));
    };
    wait_for_stop(&server, terminate, interrupt, hangup).await;
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    accepting.abort_all();
    upkeep.abort();
    heart.abort();
    doors.close().await;
    stop(threads, &inboxes, store).await;
    Ok(())
}

/// How the store is to be, as the configuration says.
pub fn store_options(config: &Config) -> Options {
    Options {
        path: config.db_file(),
        rooms_table: config.imc.rooms_table.clone(),
        members_table: config.imc.members_table.clone(),
        hash_size: config.imc.hash_size,
        history_keep: config.history.keep.duration(),
        history_max_bytes: config.history.max_bytes,
        device_keep: Duration::from_secs(u64::from(config.offline.expire_time)),
        ..Options::default()
    }
}

fn sip_limits(config: &Config) -> Limits {
    Limits { body: config.limits.message_bytes, ..Limits::default() }
}

fn timers(config: &Config) -> Timers {
    let ms = |ms: u32| Duration::from_millis(u64::from(ms));
    Timers { t1: ms(config.sip.t1_ms), t2: ms(config.sip.t2_ms), t4: ms(config.sip.t4_ms) }
}

/// Who is told of each commit.
struct Told {
    delivery: Arc<Delivery>,
    receipts: Arc<Receipts>,
    presence: Arc<Presence>,
    followers: Arc<Followers>,
}

/// What is committed is announced; whoever hears of himself for the first time, and has no binding, is opened a
/// route if there is one.
fn announce_commits(store: &Store, told: Told, registrar: &Arc<Registrar>, runtime: tokio::runtime::Handle) {
    let (registrar, known) = (registrar.clone(), store.clone());
    store.on_commit(Box::new(move |news| {
        if registrar.has_routes() {
            let opened: Vec<AccountId> =
                news.spans.iter().filter(|(_, span)| span.until.is_none()).map(|(id, _)| *id).collect();
            if !opened.is_empty() {
                let (registrar, store) = (registrar.clone(), known.clone());
                runtime.spawn_blocking(move || {
                    for id in opened {
                        let reached = store.address(id).and_then(|who| match who {
                            Some(who) => registrar.reach_unbound(id, &who),
                            None => Ok(()),
                        });
                        if let Err(fault) = reached {
                            warn!(%fault, "no route opened");
                        }
                    }
                });
            }
        }
        told.receipts.committed(&news);
        told.presence.committed(&news);
        told.followers.committed(&news);
        told.delivery.announce(news);
    }));
}

/// Presence hears of phones and of rosters.
fn watch(presence: &Arc<Presence>, registrar: &Registrar, roster: &Roster) {
    let there = presence.clone();
    // Nobody else sets these.
    let _ = registrar.there.set(Box::new(move |who, phones| there.registered(who, phones)));
    let _ = roster.watched.set(presence.clone());
    let states = presence.clone();
    let _ = roster.state_of.set(Box::new(move |who| Some(states.state(who))));
}

/// The presence agent with what its last life has left.
fn agent(
    config: &Config,
    presence: &Presence,
    registrar: &Arc<Registrar>,
    ids: Ids,
    timers: Timers,
    clock: Clock,
    shards: usize,
) -> Result<Agent, Fault> {
    let ways = registrar.clone();
    let set = &config.presence;
    let default = 3600.clamp(set.min_expires, set.max_expires.max(set.min_expires));
    let lives = Lives { min: set.min_expires, default, max: set.max_expires };
    let settings = presence::Settings {
        shard: shards as u8,
        ids,
        timers,
        ways: Box::new(move |flow, dialog| ways.way_back(flow, dialog)),
        publications: lives,
        subscriptions: lives,
        pace: if set.throttle { 100 } else { 0 },
        registered_is_online: set.registered_is_online,
        max: set.max_subscriptions as usize,
        max_per_watcher: set.max_per_watcher as usize,
        max_per_address: set.max_per_address as usize,
    };
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|error| Fault::Internal(format!("randomness: {error}")))?;
    let mut agent = Agent::new(settings, Instant::now(), u64::from_be_bytes(seed));
    let now = Now { at: Instant::now(), ms: clock.steady() };
    for saved in presence.store.saved_presence()? {
        agent.restore(now, saved);
    }
    // What was decided just before a crash may not have been written with them.
    agent.rejudge(|watcher, people| presence.standings(watcher, people))?;
    Ok(agent)
}

/// The same sockets, for another thread.
fn copies(sockets: &[Option<std::net::UdpSocket>]) -> Result<Vec<Option<std::net::UdpSocket>>, Fault> {
    let copy = |socket: &Option<std::net::UdpSocket>| {
        socket.as_ref().map(std::net::UdpSocket::try_clone).transpose().map_err(internal("sockets"))
    };
    sockets.iter().map(copy).collect()
}

/// The first thing a newcomer sees: where we listen and how to try it.
fn greet(server: &Server, config: &Config) {
    let mut words = String::new();
    for listener in &server.listening {
        let transport = listener.transport.via().to_ascii_lowercase();
        words.push_str(&format!("imcd listens on {transport}:{}\n", listener.address));
    }
    let domain = server.domains.default_domain();
    let start = char::from(config.imc.imc_cmd_start_char.byte());
    let who = if config.auth_required() {
        "make accounts with `imcctl account add NAME`, point two softphones here".to_owned()
    } else {
        "point two softphones here with any user name and no password".to_owned()
    };
    words.push_str(&format!(
        "To try it: {who};\nfrom one send \"{start}create\" to sip:team@{domain}, from the other \"{start}join\", and chat there.\n"
    ));
    // Nobody may be reading: that is no reason to stop.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), words.as_bytes());
    info!(version = env!("CARGO_PKG_VERSION"), auth = config.auth_required(), "started");
}
