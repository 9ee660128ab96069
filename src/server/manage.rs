//! The deeds of management, done with the services.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use super::Server;
use super::broadcast::broadcast;
use crate::chat::depart::Parted;
use crate::chat::personal::BLOCKED_MAX;
use crate::chat::settings::{self, KEYS, NoSuch, either};
use crate::chat::shard::Counters;
use crate::config::Level;
use crate::edge::control::{
    AccountInfo, BindingInfo, BlockedInfo, BroadcastInfo, Denied, DomainInfo, LetterInfo, Management, Page,
    ReloadInfo, RemovedInfo, SettingInfo, Stat, Status, Vitals, Work, WorkInfo,
};
use crate::refusal::Fault;
use crate::registration::Binding;
use crate::sip::digest::Ha1;
use crate::sip::uri::canonical;
use crate::store::{Account, Credentials};
use crate::types::{Aor, Entry, Seq, UnixMs};

pub(super) fn missing(what: &str, who: &Aor) -> Denied {
    Denied::NotFound(format!("no {what} {who}"))
}

impl Server {
    /// Counters of all shards; outboxes, and how many of them have a transaction open.
    fn delivered(&self) -> (Counters, u64, u64) {
        let mut sum = Counters::default();
        let (mut outboxes, mut open) = (0, 0);
        for gauges in &self.gauges {
            sum += *gauges.counters.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            outboxes += gauges.outboxes.load(Ordering::Relaxed);
            open += gauges.open.load(Ordering::Relaxed);
        }
        (sum, outboxes, open)
    }

    fn credentials(&self, account: &Aor, password: &str) -> Credentials {
        let realm = self.identity.realm_of(account);
        let [md5, md5_domain, sha256, sha256_domain] =
            Ha1::of(account.user(), account.host(), &realm, password).to_hex().map(|hex| Some(hex.into()));
        Credentials { realm: realm.into(), md5, md5_domain, sha256, sha256_domain }
    }

    pub(super) fn served(&self, domain: &str) -> Result<String, Denied> {
        let none = std::net::Ipv4Addr::UNSPECIFIED.into();
        let known = self.domains.canonical(domain, none).map(|domain| domain.to_string());
        known.ok_or_else(|| Denied::Refused(format!("the domain {domain} is not served here")))
    }

    /// An address in canonical form; its domain must be served.
    pub(super) fn ours(&self, who: &Aor) -> Result<Aor, Denied> {
        let domain = self.served(who.host())?;
        Aor::new(&canonical(who.user()), &domain)
            .ok_or_else(|| Denied::Refused(format!("{who} is no address")))
    }

    fn domain_info(&self, domain: &str, configured: bool) -> Result<DomainInfo, Denied> {
        Ok(DomainInfo {
            domain: domain.to_owned(),
            configured,
            accounts: self.store.count_accounts(Some(domain))?,
            rooms: self.store.count_rooms(domain)?,
        })
    }

    fn account(&self, address: &Aor) -> Result<Account, Denied> {
        let address = self.ours(address)?;
        let known = self.store.account(&address)?.filter(|known| known.registered);
        known.ok_or_else(|| missing("account", &address))
    }

    /// Somebody for whom letters may wait: of ours, or abroad.
    fn recipient(&self, who: &Aor) -> Result<Account, Denied> {
        match self.store.account(who)? {
            Some(known) => Ok(known),
            None => self.known_account(who),
        }
    }

    /// An address of ours that state is kept for.
    pub(super) fn known_account(&self, who: &Aor) -> Result<Account, Denied> {
        let who = self.ours(who)?;
        self.store.account(&who)?.ok_or_else(|| missing("account", &who))
    }
}

fn letter_info(account: &Aor, letter: &Entry) -> LetterInfo {
    let media = letter.content_type.as_deref().unwrap_or("text/plain");
    LetterInfo {
        id: letter.seq.0,
        account: account.to_string(),
        from: letter.from.aor.to_string(),
        at: civil(letter.at),
        expires: civil(letter.expires),
        media: media.split(';').next().unwrap_or_default().trim().to_owned(),
        bytes: letter.body.len(),
    }
}

/// `2026-11-20 21:52:16` in the server's time zone.
pub(super) fn civil(at: UnixMs) -> String {
    let zoned = jiff::Timestamp::from_millisecond(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    zoned.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

impl Management for Server {
    fn default_domain(&self) -> String {
        self.domains.default_domain().to_owned()
    }

    fn known_as(&self, who: Aor) -> Aor {
        // What cannot be looked up is refused by the deed.
        self.anybody(&who).unwrap_or(who)
    }

    async fn account_add(&self, account: Aor, password: Option<String>) -> Result<(), Denied> {
        let account = self.ours(&account)?;
        if self.focus.is_manager(&account) {
            return Err(Denied::Refused(format!("{account} is the address of the manager")));
        }
        if self.focus.is_anothers(&account)? {
            return Err(Denied::Refused(format!("{account} is reserved by the account before the +")));
        }
        let credentials = password.map(|password| self.credentials(&account, &password));
        // The store alone knows who came first.
        if self.store.add_accounts(vec![(account.clone(), credentials)]).await? == [true] {
            return Ok(());
        }
        self.ours(&account)?;
        Err(Denied::Refused(match self.store.room(&account)? {
            Some(_) => format!("{account} is a room"),
            None => format!("the account {account} exists already"),
        }))
    }

    async fn account_remove(&self, account: Aor) -> Result<RemovedInfo, Denied> {
        let account = self.ours(&account)?;
        self.registrar.forget(&account).await?;
        // First what lets him in: nobody joins again a room that he was just taken out of.
        let concerned = self.focus.roster.concerned(&account)?;
        let was = self.store.remove_account(&account).await?;
        if was {
            // First, so that watchers hear why.
            self.presence.gone(&account);
            self.focus.roster.ended(&account, &concerned);
        }
        let rooms = self.focus.leave_all(&account).await?;
        if !was && rooms.is_empty() {
            return Err(missing("account", &account));
        }
        let mut removed = RemovedInfo { account: account.to_string(), ..RemovedInfo::default() };
        for (room, parted) in rooms {
            match parted {
                Parted::Left => removed.left += 1,
                Parted::HandedOver(heir) => removed.handed_over.push(format!("{room} to {heir}")),
                Parted::Destroyed => removed.destroyed.push(room.to_string()),
            }
        }
        Ok(removed)
    }

    async fn account_passwd(&self, account: Aor, password: String) -> Result<(), Denied> {
        let account = self.ours(&account)?;
        let known = self.account(&account)?;
        let credentials = self.credentials(&known.address, &password);
        let put = self.store.put_account(&known.address, Some(credentials)).await?;
        put.map(drop).ok_or_else(|| missing("account", &account))
    }

    async fn account_settings(&self, account: Aor) -> Result<Vec<SettingInfo>, Denied> {
        let settings = self.account(&account)?.settings;
        let line = |key: &settings::Key| SettingInfo {
            key: key.name,
            value: settings.value(key),
            values: either(key.values),
        };
        Ok(KEYS.iter().map(line).collect())
    }

    async fn account_set(&self, account: Aor, key: String, value: String) -> Result<(), Denied> {
        let account = self.account(&account)?;
        let change = settings::change(&key, &value).map_err(|why| {
            Denied::Refused(match why {
                NoSuch::Key => {
                    let names: Vec<_> = KEYS.iter().map(|key| key.name).collect();
                    format!("no such setting; it can be {}", either(&names))
                }
                NoSuch::Value(key, values) => format!("{key} can be {}", either(values)),
            })
        })?;
        Ok(self.focus.roster.set(&account.address, change).await?)
    }

    async fn account_blocked(&self, account: Aor) -> Result<Vec<BlockedInfo>, Denied> {
        let account = self.account(&account)?;
        let blocked = self.store.blocked(account.id)?;
        Ok(blocked.iter().map(|who| BlockedInfo { user: who.to_string() }).collect())
    }

    async fn account_block(&self, account: Aor, user: Aor, block: bool) -> Result<(), Denied> {
        let (account, user) = (self.account(&account)?, self.anybody(&user)?);
        let who = &account.address;
        if *who == user {
            return Err(Denied::Refused(format!("{who} cannot be kept from writing to itself")));
        }
        if !block {
            let was = self.focus.people.unblock(who, &user).await?;
            return if was {
                Ok(())
            } else {
                Err(Denied::NotFound(format!("{user} is not blocked by {who}")))
            };
        }
        if !self.focus.people.block(who, &user).await? {
            return Err(Denied::Refused(format!("{who} has blocked {BLOCKED_MAX} users already")));
        }
        Ok(())
    }

    async fn account_list(&self, domain: Option<String>, page: Page) -> Result<Vec<AccountInfo>, Denied> {
        let domain = domain.map(|domain| self.served(&domain)).transpose()?;
        let after = page.after.as_deref().and_then(Aor::parse);
        let accounts = self.store.accounts(domain.as_deref(), after.as_ref(), page.limit)?;
        let line = |account: crate::store::Account| AccountInfo {
            contacts: self.registrar.current(&account.address).len(),
            password: account.credentials.is_some(),
            account: account.address.to_string(),
        };
        Ok(accounts.into_iter().map(line).collect())
    }

    async fn offline_list(&self, account: Option<Aor>, page: Page) -> Result<Vec<LetterInfo>, Denied> {
        let account = account.map(|account| self.recipient(&account)).transpose()?;
        let after = page.after.as_deref().map(|after| {
            let row =
                after.split_once(' ').and_then(|(who, id)| Some((Aor::parse(who)?, Seq(id.parse().ok()?))));
            row.ok_or_else(|| Denied::Refused("after: expected an account and the id of a message".into()))
        });
        Ok(self.offline.list(account.as_ref(), after.transpose()?, page.limit, letter_info)?)
    }

    async fn offline_purge(&self, account: Aor) -> Result<u64, Denied> {
        let account = self.recipient(&account)?;
        let purged = self.offline.purge(&account).await?;
        self.presence.purged(&account.address);
        Ok(purged)
    }

    async fn offline_deliver(&self, account: Aor) -> Result<(u64, usize), Denied> {
        Ok(self.offline.deliver(&self.recipient(&account)?)?)
    }

    async fn message_send(&self, from: Aor, to: Aor, text: String) -> Result<(), Denied> {
        let (from, to) = (self.ours(&from)?, self.ours(&to)?);
        if !self.focus.is_manager(&from) {
            self.known_account(&from)?;
        }
        match self.offline.send(&from, &to, &text).await? {
            Ok(()) => Ok(()),
            Err(refusal) if refusal.status == 404 => Err(Denied::NotFound(format!("no user or room {to}"))),
            Err(refusal) => Err(Denied::Refused(refusal.reason.into())),
        }
    }

    async fn domain_list(&self) -> Result<Vec<DomainInfo>, Denied> {
        let served = self.domains.served();
        served.iter().map(|(domain, configured)| self.domain_info(domain, *configured)).collect()
    }

    async fn domain_add(&self, domain: String) -> Result<DomainInfo, Denied> {
        if !crate::config::is_host(&domain) {
            return Err(Denied::Refused(format!("{domain} is no name of a host")));
        }
        // On disk first: what is served once is served after a crash.
        if self.served(&domain).is_ok() {
            return Err(Denied::Refused(format!("the domain {domain} is served already")));
        }
        self.store.add_domain(&domain).await?;
        self.domains.add(&domain);
        self.domain_info(&domain, false)
    }

    async fn domain_remove(&self, domain: String) -> Result<(), Denied> {
        let served = self.domains.served();
        let known = served.iter().find(|(served, _)| served.eq_ignore_ascii_case(&domain));
        let Some((known, configured)) = known else {
            return Err(Denied::NotFound(format!("no domain {domain}")));
        };
        if *configured {
            return Err(Denied::Refused(format!("the configuration names {known}; take it out there")));
        }
        let info = self.domain_info(known, false)?;
        if info.accounts + info.rooms > 0 {
            let (accounts, rooms) = (info.accounts, info.rooms);
            return Err(Denied::Refused(format!(
                "{known} has accounts ({accounts}) or rooms ({rooms}); remove these first"
            )));
        }
        self.domains.remove(known);
        let removed = self.store.remove_domain(known).await;
        if !matches!(removed, Ok(true)) {
            self.domains.add(known);
        }
        match removed? {
            true => Ok(()),
            false => Err(Denied::Refused(format!("{known} is in use again; try again later"))),
        }
    }

    async fn server_status(&self) -> Result<Status, Denied> {
        let config = self.config.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let listener = |known: &crate::service::registrar::Listening| {
            format!("{}:{}", known.transport.via().to_ascii_lowercase(), known.address)
        };
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            uptime_s: self.started.elapsed().as_secs(),
            domains: self.domains.served().iter().map(|(domain, _)| domain.to_string()).collect(),
            listeners: self.listening.iter().map(listener).collect(),
            auth: if config.auth_required() { "digest" } else { "open" },
            accounts: self.store.count_accounts(None)?,
            contacts: self.registrar.count(),
            rooms: self.store.active_rooms(),
        })
    }

    fn vitals(&self) -> Vitals {
        Vitals {
            ready: self.store.healthy(),
            uptime_s: self.started.elapsed().as_secs(),
            queued: self.store.queued() as u64,
            commits: self.store.took(),
            deliveries: self.delivered().0.took,
        }
    }

    fn begin(&self, command: &'static str, about: String) -> Result<Work, Denied> {
        self.works.begin(command, about, civil(self.clock.wall()))
    }

    fn works(&self) -> Vec<WorkInfo> {
        self.works.list()
    }

    async fn server_stats(&self) -> Result<Vec<Stat>, Denied> {
        let (sum, outboxes, open) = self.delivered();
        let watching = *self.watching.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let stats = [
            ("active_rooms", self.store.active_rooms()),
            ("members", self.store.listed_members()),
            ("contacts", self.registrar.count() as u64),
            ("connections", self.streams.count() as u64),
            ("outboxes", outboxes),
            ("open_transactions", open),
            ("sent", sum.sent),
            ("retransmitted", sum.retransmitted),
            ("delivered", sum.delivered),
            ("stored_elsewhere", sum.stored_elsewhere),
            ("gave_up", sum.gave_up),
            ("timed_out", sum.timed_out),
            ("stray_responses", sum.strays),
            ("asides_lost", sum.asides_lost),
            ("notices_dropped", sum.notices_dropped),
            ("subscriptions", watching.subscriptions),
            ("publications", watching.publications),
            ("published", watching.published),
            ("notified", watching.notified),
            ("notify_retransmitted", watching.retransmitted),
            ("notify_timed_out", watching.timed_out),
            ("subscriptions_lost", watching.lost),
        ];
        Ok(stats.into_iter().map(|(name, value)| Stat { name, value }).collect())
    }

    async fn message_broadcast(
        &self,
        from: Aor,
        text: String,
        to: Option<Vec<Aor>>,
        work: Work,
    ) -> Result<BroadcastInfo, Denied> {
        let from = self.ours(&from)?;
        if !self.focus.is_manager(&from) {
            self.known_account(&from)?;
        }
        let to = match to {
            Some(to) => to,
            None => {
                let accounts = self.store.accounts(None, None, usize::MAX)?;
                accounts.into_iter().map(|account| account.address).collect()
            }
        };
        let mut told = HashSet::new();
        let to = to.into_iter().map(|whom| {
            let canonical = self.ours(&whom).map_err(|denied| denied.to_string());
            (whom, canonical)
        });
        // However he is spelled and however often: once.
        let to = to.filter(|(whom, canonical)| {
            let is = canonical.as_ref().unwrap_or(whom);
            *is != from && told.insert(is.clone())
        });
        broadcast(self.offline.clone(), from.clone(), text.into(), to.collect(), work).await
    }

    async fn binding_list(&self, account: Option<Aor>) -> Result<Vec<BindingInfo>, Denied> {
        let all = match account {
            Some(account) => {
                let who = self.known_account(&account)?.address;
                vec![(who.clone(), self.registrar.current(&who))]
            }
            None => self.registrar.all(),
        };
        let now = self.clock.steady();
        let info = |who: &Aor, binding: Binding| BindingInfo {
            account: who.to_string(),
            transport: binding.flow.transport.via().to_ascii_lowercase(),
            source: binding.flow.remote.to_string(),
            expires_in: (binding.expires_at - now).max(0) / 1000,
            contact: binding.contact,
            user_agent: binding.user_agent.unwrap_or_default(),
        };
        Ok(all
            .into_iter()
            .flat_map(|(who, bindings)| bindings.into_iter().map(move |binding| info(&who, binding)))
            .collect())
    }

    async fn binding_drop(&self, account: Aor, contact: Option<String>) -> Result<usize, Denied> {
        let who = self.known_account(&account)?.address;
        let gone = self.registrar.drop_bindings(&who, contact.as_deref()).await?;
        match (gone.len(), contact) {
            (0, Some(contact)) => Err(Denied::NotFound(format!("{who} has no contact {contact}"))),
            (dropped, _) => Ok(dropped),
        }
    }

    async fn server_reload(&self) -> Result<ReloadInfo, Denied> {
        let (warnings, needs_restart) =
            self.reload().map_err(|error| Denied::Refused(format!("not reloaded: {error}")))?;
        Ok(ReloadInfo { warnings, needs_restart })
    }

    async fn server_backup(&self, file: PathBuf, work: Work) -> Result<u64, Denied> {
        let store = self.store.clone();
        let backup = move || -> Result<u64, Denied> {
            let told = |error: std::io::Error| Denied::Refused(format!("{}: {error}", file.display()));
            // Its place is taken before a byte is written: nobody's file is overwritten, and nobody but us reads it.
            let place = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
            drop(place.map_err(told)?);
            if let Err(fault) = store.backup(&file) {
                // What is half written must not be taken for a backup.
                let _ = std::fs::remove_file(&file);
                return Err(fault.into());
            }
            Ok(std::fs::metadata(&file).map_err(told)?.len())
        };
        let done = tokio::task::spawn_blocking(move || work.end(backup())).await;
        done.map_err(|error| Fault::Internal(error.to_string()))?
    }

    async fn log_level(&self, level: Option<String>) -> Result<&'static str, Denied> {
        let mut config = self.config.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(word) = level {
            let level = Level::ALL.into_iter().find(|level| level.as_str().eq_ignore_ascii_case(&word));
            let level = level.ok_or_else(|| {
                let words = Level::ALL.map(Level::as_str);
                Denied::Refused(format!("no such level; it can be {}", settings::either(&words)))
            })?;
            (self.set_level)(level);
            config.log.level = level;
        }
        Ok(config.log.level.as_str())
    }
}
