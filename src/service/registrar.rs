//! Bindings in and out, and what follows: "this device is reachable" (RFC 3261 §10).
//!
//! A REGISTER is durable before its 200. One account's requests are decided one at a time, in order of arrival.
//! Prevents that a device is looked for where it no longer is. Never sends: it tells delivery all ways to an account.

mod abroad;
mod dialogs;
mod gone;
mod learned;
mod ways;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use dashmap::DashMap;
use tracing::warn;

use super::clock::Clock;
use super::delivery::Delivery;
use crate::chat::phones::Takes;
use crate::config::Config;
use crate::refusal::{Fault, Refusal};
use crate::registration::{self, Binding, Request, Rules};
use crate::sip::dialog::Dialog;
use crate::sip::uri::Uri;
use crate::store::{Store, StoredBinding};
use crate::types::{AccountId, Aor, ConnId, DeviceKey, Flow, Transport};

use self::abroad::Abroad;
pub use self::abroad::{Finder, Finding, Found};

/// Kinds of phones that are shared; further ones are not.
const KINDS: usize = 1024;
/// Accounts whose ways are told at the same time, at most.
const TELLING: usize = 64;

/// The transports, as far as bindings care.
pub trait Flows: Send + Sync {
    fn is_open(&self, conn: ConnId) -> bool;
    /// The number of a wildcard UDP listener where it sends from our address `ours`.
    fn face(&self, listener: u16, ours: IpAddr) -> u16;
    /// The address of ours that packets to `to` leave from.
    fn ours_towards(&self, to: SocketAddr) -> IpAddr;
    /// A live binding keeps this connection open, or does so no more.
    fn hold(&self, conn: ConnId, held: bool);
    /// The phone at its end was asked for signs of life: without them it is closed.
    fn keeps_alive(&self, conn: ConnId);
}

/// Where we listen, for Via and for sending.
#[derive(Clone, Debug)]
pub struct Listening {
    pub transport: Transport,
    pub address: SocketAddr,
}

/// An account that has, or had, bindings.
struct Registered {
    /// One REGISTER at a time (RFC 3261 §10.3).
    gate: tokio::sync::Mutex<()>,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    id: Option<AccountId>,
    bindings: Vec<Binding>,
    /// Contact keys that answered 404, 405 or 410: not used until they register anew.
    dead: HashSet<Arc<str>>,
}

/// Told who it is, and the keys of his contacts that can be reached.
pub type There = Box<dyn Fn(&Aor, Vec<Arc<str>>) + Send + Sync>;

pub struct Registrar {
    store: Store,
    delivery: Arc<Delivery>,
    flows: Arc<dyn Flows>,
    clock: Clock,
    rules: Rules,
    listening: Vec<Listening>,
    advertise: Option<String>,
    proxy: Option<(SocketAddr, Transport)>,
    /// The address of ours that packets to the proxy leave from.
    towards_proxy: Option<IpAddr>,
    /// Other domains are looked up; without a proxy.
    abroad: Option<Abroad>,
    trusted: Vec<crate::config::Cidr>,
    keepalive: bool,
    /// `sip.flow_timer_s`; 0: off.
    flow_timer: u32,
    accounts: DashMap<Aor, Arc<Registered>>,
    /// Ways are found and told in one step, by turns: who told last has looked last.
    telling: Vec<Mutex<()>>,
    by_id: DashMap<AccountId, Aor>,
    by_conn: DashMap<ConnId, HashSet<Aor>>,
    /// Told whenever somebody's phones may have come or gone.
    pub there: OnceLock<There>,
    /// What phones take: most are alike.
    phones: Mutex<HashSet<Arc<Takes>>>,
}

/// Why a REGISTER is refused: status, reason, and the Min-Expires of a 423.
pub enum No {
    Refused(registration::Refused),
    Domain(Refusal),
    Fault(Fault),
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl Registrar {
    pub fn new(
        config: &Config,
        store: Store,
        delivery: Arc<Delivery>,
        flows: Arc<dyn Flows>,
        clock: Clock,
        listening: Vec<Listening>,
        finder: Option<Arc<dyn Finder>>,
    ) -> Registrar {
        let rules = Rules {
            min_expires: config.registrar.min_expires,
            default_expires: config.registrar.default_expires,
            max_expires: config.registrar.max_expires,
            max_contacts: config.registrar.max_contacts as usize,
        };
        let advertise = config.sip.advertise.as_ref().map(|advertise| match advertise.port {
            Some(port) => format!("{}:{port}", advertise.host),
            None => advertise.host.clone(),
        });
        let towards_proxy = config.sip.outbound_proxy.as_ref().map(|proxy| flows.ours_towards(proxy.addr));
        Registrar {
            store,
            delivery,
            flows,
            clock,
            rules,
            listening,
            advertise,
            proxy: config.sip.outbound_proxy.as_ref().map(|proxy| (proxy.addr, proxy.transport)),
            towards_proxy,
            abroad: finder.map(|finder| Abroad::new(config, finder)),
            trusted: config.sip.trusted_peers.clone(),
            keepalive: config.sip.nat_keepalive_s > 0,
            flow_timer: config.sip.flow_timer_s,
            accounts: DashMap::new(),
            telling: (0..TELLING).map(|_| Mutex::new(())).collect(),
            by_id: DashMap::new(),
            by_conn: DashMap::new(),
            there: OnceLock::new(),
            phones: Mutex::default(),
        }
    }

    /// Takes the bindings of the last run: who registered over UDP is reachable at once.
    pub fn restore(&self) -> Result<(), Fault> {
        let now = self.clock.steady();
        for (who, id, stored) in self.store.all_bindings()? {
            let bindings: Vec<Binding> =
                stored.iter().filter_map(|stored| Binding::from_json(&stored.data)).collect();
            let bindings: Vec<Binding> = bindings.into_iter().filter(|b| b.expires_at > now).collect();
            if bindings.is_empty() {
                continue;
            }
            let state = State { id: Some(id), bindings, dead: HashSet::new() };
            let known = Registered { gate: tokio::sync::Mutex::new(()), state: RwLock::new(state) };
            self.accounts.insert(who.clone(), Arc::new(known));
            self.by_id.insert(id, who.clone());
            self.reach(&who, &[])?;
        }
        if self.has_routes() {
            for (id, who) in self.store.listeners()? {
                if !self.is_bound(&who) {
                    self.reach_unbound(id, &who)?;
                }
            }
        }
        Ok(())
    }

    /// Decides a REGISTER of `who` and makes it durable. The bindings as they are now.
    pub async fn register(&self, who: &Aor, request: &Request) -> Result<Vec<Binding>, No> {
        if self.store.room(who).map_err(No::Fault)?.is_some() {
            return Err(No::Domain(Refusal::IS_A_ROOM));
        }
        let known = self.entry(who);
        let _turn = known.gate.lock().await;
        let done = match self.says_he_is_back(request) {
            true => self.back(who, request).await,
            false => self.decide(who, request, &known).await,
        };
        self.prune(who);
        done
    }

    /// The outbound proxy names itself as the contact: it only says that somebody shows up or goes (spec §3). A
    /// binding of it would be a way in a circle.
    fn says_he_is_back(&self, request: &Request) -> bool {
        let (Some((proxy, _)), registration::Contacts::List(list)) = (self.proxy, &request.contacts) else {
            return false;
        };
        let is_proxy = |contact: &registration::ContactIn| {
            let uri = Uri::parse(&contact.uri).ok();
            uri.and_then(|uri| Some((uri.ip()?, uri.port.unwrap_or(5060))))
                == Some((proxy.ip(), proxy.port()))
        };
        request.trusted && request.path.is_empty() && list.iter().all(is_proxy)
    }

    /// Answers as if it were bound, and tries the route at once: what waits need not wait for the next attempt.
    async fn back(&self, who: &Aor, request: &Request) -> Result<Vec<Binding>, No> {
        let now = self.clock.steady();
        let list = registration::decide(&[], request, &self.rules, now).map_err(No::Refused)?;
        if !list.is_empty() {
            self.store.meet(who).await.map_err(No::Fault)?;
            if !self.is_bound(who) {
                self.retry(who).map_err(No::Fault)?;
            }
        }
        Ok(list)
    }

    async fn decide(&self, who: &Aor, request: &Request, known: &Registered) -> Result<Vec<Binding>, No> {
        let existing = self.current(who);
        let now = self.clock.steady();
        let list = registration::decide(&existing, request, &self.rules, now).map_err(No::Refused)?;
        if matches!(request.contacts, registration::Contacts::None) {
            return Ok(list);
        }
        let stored = list.iter().map(stored).collect();
        let fresh = || list.iter().filter(|binding| binding.updated_at == now);
        let seen = fresh().filter(|binding| binding.takes_messages()).map(Binding::device).collect();
        let is_new = |binding: &Binding| existing.iter().all(|known| known.device() != binding.device());
        // Where a device starts that comes now must be known before it is written.
        if let Some(account) = self.store.account(who).map_err(No::Fault)? {
            if self.proxy.is_some() && existing.is_empty() != list.is_empty() {
                if existing.is_empty() {
                    self.delivery.leave_route(account.id).await;
                }
                self.delivery.close(account.id).await;
            } else if fresh().any(is_new) {
                self.delivery.settled(account.id).await;
            }
        }
        let id = match self.store.bind(who, stored, seen).await {
            Ok(Some(id)) => id,
            undone => {
                if let Err(fault) = self.retry(who) {
                    warn!(account = %who, %fault, "cannot tell delivery that nothing has changed");
                }
                return Err(undone.map_or_else(No::Fault, |_| No::Domain(Refusal::IS_A_ROOM)));
            }
        };
        let fresh: Vec<Arc<str>> = fresh().map(key_of).collect();
        {
            let mut state = write(&known.state);
            state.id = Some(id);
            for key in &fresh {
                state.dead.remove(key);
            }
            state.bindings = list.clone();
        }
        self.by_id.insert(id, who.clone());
        self.watch_flows(who, &existing, &list);
        if let Some(conn) = request.flow.conn.filter(|_| self.flow_timer(request).is_some()) {
            self.flows.keeps_alive(conn);
        }
        if let Err(fault) = self.reach(who, &fresh) {
            warn!(account = %who, %fault, "registered, but delivery does not know it yet");
        }
        Ok(list)
    }

    /// Forgets an address without bindings that nobody else is busy with; the caller is.
    fn prune(&self, who: &Aor) {
        self.accounts.remove_if(who, |_, known| {
            Arc::strong_count(known) <= 2 && read(&known.state).bindings.is_empty()
        });
    }

    fn entry(&self, who: &Aor) -> Arc<Registered> {
        let fresh = || {
            let gate = tokio::sync::Mutex::new(());
            Arc::new(Registered { gate, state: RwLock::default() })
        };
        self.accounts.entry(who.clone()).or_insert_with(fresh).clone()
    }

    fn known(&self, who: &Aor) -> Option<Arc<Registered>> {
        self.accounts.get(who).map(|known| known.clone())
    }

    /// Bindings that have not expired.
    pub fn current(&self, who: &Aor) -> Vec<Binding> {
        let now = self.clock.steady();
        let Some(known) = self.known(who) else { return Vec::new() };
        let state = read(&known.state);
        state.bindings.iter().filter(|binding| binding.expires_at > now).cloned().collect()
    }

    pub fn is_bound(&self, who: &Aor) -> bool {
        let now = self.clock.steady();
        let known = self.known(who);
        known.is_some_and(|known| read(&known.state).bindings.iter().any(|b| b.expires_at > now))
    }

    /// Keys of the ways to `who` that delivery has now.
    pub fn ways(&self, who: &Aor) -> Vec<Arc<str>> {
        let Some(known) = self.known(who) else {
            return self.route_to(who).map(|route| route.key).into_iter().collect();
        };
        let state = read(&known.state);
        self.contacts(who, &state).into_iter().map(|contact| contact.key).collect()
    }

    /// There is a way to `who` now.
    pub fn is_reachable(&self, who: &Aor) -> bool {
        !self.ways(who).is_empty()
    }

    /// Registered contacts in all.
    pub fn count(&self) -> usize {
        let now = self.clock.steady();
        let live =
            |known: &Registered| read(&known.state).bindings.iter().filter(|b| b.expires_at > now).count();
        self.accounts.iter().map(|entry| live(entry.value())).sum()
    }

    /// The device of `who` that a request came from.
    pub fn device_at(&self, who: &Aor, flow: &Flow) -> Option<DeviceKey> {
        let known = self.known(who)?;
        let state = read(&known.state);
        state.bindings.iter().find(|binding| same_place(&binding.flow, flow)).map(Binding::device)
    }

    /// The key of the contact of `who` that a request came from.
    pub fn phone_at(&self, who: &Aor, flow: &Flow) -> Option<Arc<str>> {
        let known = self.known(who)?;
        let state = read(&known.state);
        state.bindings.iter().find(|binding| same_place(&binding.flow, flow)).map(key_of)
    }

    /// The contacts of `who` that can be told something they have not asked for: key, flow, and a dialog that does not
    /// exist. `name` makes a name of a key.
    pub fn unasked(&self, who: &Aor, name: impl Fn(&str) -> String) -> Vec<(Arc<str>, Flow, Dialog)> {
        let Some(known) = self.known(who) else { return Vec::new() };
        let state = read(&known.state);
        let keys = self.phones(who, &state);
        let dialog = |binding: &Binding| {
            let key = key_of(binding);
            let dialog = Dialog::unasked(who, binding.request_uri(), &binding.path, &name(&key));
            (key, binding.flow, dialog)
        };
        let newest = |key: &Arc<str>| {
            let of_key = state.bindings.iter().filter(|binding| key_of(binding) == *key);
            of_key.max_by_key(|binding| binding.updated_at)
        };
        keys.iter().filter_map(newest).map(dialog).collect()
    }

    /// The display name that an account's phone registered with.
    pub fn name_of(&self, who: &Aor) -> Option<String> {
        let known = self.known(who)?;
        let state = read(&known.state);
        state.bindings.iter().rev().find_map(|binding| binding.name.clone())
    }

    /// A contact said that it is not there: it is not used until it registers anew (spec §5.5).
    pub fn unbound(&self, account: AccountId, contact: Arc<str>) {
        let Some(who) = self.by_id.get(&account).map(|who| who.clone()) else { return };
        if let Some(known) = self.known(&who) {
            write(&known.state).dead.insert(contact);
        }
        if let Err(fault) = self.reach(&who, &[]) {
            warn!(account = %who, %fault, "cannot tell delivery of a lost binding");
        }
    }

    /// Tries all ways to `who` now, whatever pause they are in. How many there are.
    pub fn retry(&self, who: &Aor) -> Result<usize, Fault> {
        let ways = self.ways(who);
        if self.is_bound(who) {
            self.reach(who, &ways)?;
        } else if let (Some(account), Some(route)) = (self.store.account(who)?, self.route_to(who)) {
            let _turn = self.turn(who);
            self.by_id.insert(account.id, who.clone());
            self.delivery.reach(account.id, vec![route], ways.clone())?;
        }
        Ok(ways.len())
    }

    /// A connection has closed: what was registered over it alone is gone (RFC 5626 §5.3).
    pub fn closed(&self, conn: ConnId) {
        let Some((_, accounts)) = self.by_conn.remove(&conn) else { return };
        for who in accounts {
            if let Err(fault) = self.reach(&who, &[]) {
                warn!(account = %who, %fault, "cannot tell delivery of a closed connection");
            }
        }
    }

    /// Holds the connections of live bindings open, lets go of others.
    fn watch_flows(&self, who: &Aor, before: &[Binding], after: &[Binding]) {
        let conns = |bindings: &[Binding]| -> HashSet<ConnId> {
            bindings.iter().filter_map(|binding| binding.flow.conn).collect()
        };
        let (before, after) = (conns(before), conns(after));
        for conn in after.difference(&before) {
            self.by_conn.entry(*conn).or_default().insert(who.clone());
            self.flows.hold(*conn, true);
        }
        for conn in before.difference(&after) {
            let empty = self.by_conn.get_mut(conn).is_some_and(|mut accounts| {
                accounts.remove(who);
                accounts.is_empty()
            });
            if empty {
                self.by_conn.remove(conn);
                self.flows.hold(*conn, false);
            }
        }
        // A connection may have closed while its REGISTER was being written.
        for conn in after.iter().filter(|conn| !self.flows.is_open(**conn)) {
            self.by_conn.remove(conn);
        }
    }

    // ── ways to an account ───────────────────────────────────────────────────────────────────────────────

    /// Tells delivery all ways to `who`.
    fn reach(&self, who: &Aor, fresh: &[Arc<str>]) -> Result<(), Fault> {
        let Some(known) = self.known(who) else { return Ok(()) };
        let _turn = self.turn(who);
        let (id, contacts, phones) = {
            let state = read(&known.state);
            let Some(id) = state.id else { return Ok(()) };
            (id, self.contacts(who, &state), self.phones(who, &state))
        };
        if let Some(there) = self.there.get() {
            there(who, phones);
        }
        self.delivery.reach(id, contacts, fresh.to_vec())
    }

    fn turn(&self, who: &Aor) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        who.hash(&mut hasher);
        let turn = &self.telling[hasher.finish() as usize % TELLING];
        turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the route to an address of which we hold no binding, if there is one.
    pub fn reach_unbound(&self, id: AccountId, who: &Aor) -> Result<(), Fault> {
        let Some(route) = self.route_to(who) else { return Ok(()) };
        let _turn = self.turn(who);
        if self.is_bound(who) {
            return Ok(());
        }
        self.by_id.insert(id, who.clone());
        self.delivery.reach(id, vec![route], Vec::new())
    }

    /// Seconds for the Flow-Timer of the 200, where it is due (RFC 5626 §6).
    pub fn flow_timer(&self, request: &Request) -> Option<u32> {
        Some(self.flow_timer).filter(|seconds| *seconds > 0 && request.keeps_alive())
    }

    pub fn has_proxy(&self) -> bool {
        self.proxy.is_some()
    }

    /// Some addresses are reached without a binding.
    pub fn has_routes(&self) -> bool {
        self.proxy.is_some() || self.abroad.is_some()
    }
}

fn stored(binding: &Binding) -> StoredBinding {
    let key = binding.key().to_string();
    StoredBinding { key, data: binding.to_json(), expires_at: binding.expires_at }
}

fn key_of(binding: &Binding) -> Arc<str> {
    match &binding.instance {
        Some(_) => binding.device(),
        None => binding.key().to_string().into(),
    }
}

/// Over the same connection, or from the same source address.
fn same_place(known: &Flow, flow: &Flow) -> bool {
    match (known.conn, flow.conn) {
        (Some(known), Some(flow)) => known == flow,
        (None, None) => known.transport == flow.transport && known.remote == flow.remote,
        _ => false,
    }
}
