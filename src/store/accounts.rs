//! Accounts and addresses, their bindings, devices and spans.
//!
//! Prevents that a device that was forgotten, or is new, is sent what its account has taken long ago: nobody starts
//! before the account's base. Never checks a password.

use std::sync::{Arc, PoisonError};

use dashmap::Entry;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::rooms::{ACCOUNTS, address, behind};
use super::turn::{Turn, device_key};
use super::{Positions, Shared, Store};
use crate::chat::settings::Settings;
use crate::presence::State;
use crate::refusal::Fault;
use crate::types::{AccountId, Aor, ConvId, DeviceKey, Seq, Span, UnixMs};

/// Hashes that stand for a password, in lower-case hex (RFC 3261 §22.4, RFC 8760 §2).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Credentials {
    pub realm: Arc<str>,
    /// H(user:realm:password).
    pub md5: Option<Arc<str>>,
    /// H(user@domain:realm:password).
    pub md5_domain: Option<Arc<str>>,
    pub sha256: Option<Arc<str>>,
    pub sha256_domain: Option<Arc<str>>,
}

/// An address that we keep state for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    pub id: AccountId,
    /// As first spelled.
    pub address: Aor,
    /// It has credentials or a binding, or had one. False: somebody's address, of whom we know no more.
    pub registered: bool,
    pub credentials: Option<Credentials>,
    /// A device starts here at the earliest.
    pub base: Seq,
    pub mailbox: ConvId,
    /// What he has set for himself.
    pub settings: Settings,
    /// He has blocked somebody.
    pub blocks: bool,
    /// Display name, unquoted, as he last gave it.
    pub name: Option<Arc<str>>,
    /// How he says that he is, with a note or none.
    pub status: Option<(State, Arc<str>)>,
    /// SHA-1 of his picture, lower-case hex.
    pub avatar: Option<Arc<str>>,
}

/// A binding as the registrar wrote it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredBinding {
    pub key: String,
    /// JSON; the store does not look into it.
    pub data: String,
    pub expires_at: UnixMs,
}

/// What delivery needs to know of an account when it opens an outbox.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    pub base: Seq,
    /// Position, and when it was last seen; with what is on its way to the disk.
    pub devices: Vec<(DeviceKey, Seq, UnixMs)>,
    /// Of rooms, and of the mailbox (since 0).
    pub spans: Vec<Span>,
}

const COLUMNS: &str =
    "id, username, domain, created, realm, md5, md5_domain, sha256, sha256_domain, base, mailbox,
    (SELECT group_concat(key || '=' || value, ' ') FROM setting WHERE setting.account = account.id),
    EXISTS (SELECT 1 FROM blocked WHERE blocked.account = account.id), name,
    (SELECT state || ' ' || note FROM status WHERE status.account = account.id),
    (SELECT sha1 FROM avatar WHERE avatar.account = account.id)";

fn account(row: &Row<'_>) -> rusqlite::Result<Option<Account>> {
    let Some(address) = address(row, 1, 2)? else { return Ok(None) };
    let text = |column| -> rusqlite::Result<Option<Arc<str>>> {
        Ok(row.get_ref(column)?.as_str_or_null()?.map(Into::into))
    };
    let credentials = match text(4)? {
        None => None,
        Some(realm) => Some(Credentials {
            realm,
            md5: text(5)?,
            md5_domain: text(6)?,
            sha256: text(7)?,
            sha256_domain: text(8)?,
        }),
    };
    let mut settings = Settings::default();
    for pair in text(11)?.as_deref().unwrap_or_default().split(' ') {
        if let Some((key, value)) = pair.split_once('=') {
            settings.put(key, value);
        }
    }
    Ok(Some(Account {
        id: AccountId(row.get(0)?),
        address,
        registered: row.get::<_, Option<i64>>(3)?.is_some(),
        credentials,
        base: Seq(row.get(9)?),
        mailbox: ConvId(row.get(10)?),
        settings,
        blocks: row.get(12)?,
        name: text(13)?,
        status: text(14)?.and_then(|text| {
            let (state, note) = text.split_once(' ')?;
            Some((State::of_word(state)?, note.into()))
        }),
        avatar: text(15)?,
    }))
}

pub(super) fn find(conn: &Connection, who: &Aor) -> rusqlite::Result<Option<Account>> {
    let found = conn
        .prepare_cached(&format!("SELECT {COLUMNS} FROM account WHERE username = ?1 AND domain = ?2"))?
        .query_row([who.user(), who.host()], account)
        .optional()?;
    Ok(found.flatten())
}

/// Where devices of an account start at the earliest, its mailbox, and all that it may see: mailbox and rooms.
pub(super) fn spans_of(
    conn: &Connection,
    id: AccountId,
) -> rusqlite::Result<Option<(Seq, ConvId, Vec<Span>)>> {
    let account: Option<(i64, i64)> = conn
        .prepare_cached("SELECT base, mailbox FROM account WHERE id = ?1")?
        .query_row([id.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((base, mailbox)) = account else { return Ok(None) };
    let mailbox = ConvId(mailbox);
    let mut spans = vec![Span { conversation: mailbox, since: Seq(0), until: None }];
    let mut statement = conn.prepare_cached(
        "SELECT conversation, since, until FROM span
         WHERE account = ?1 AND (until IS NULL OR until >= since)",
    )?;
    let mut rows = statement.query([id.0])?;
    while let Some(row) = rows.next()? {
        spans.push(Span {
            conversation: ConvId(row.get(0)?),
            since: Seq(row.get(1)?),
            until: row.get::<_, Option<i64>>(2)?.map(Seq),
        });
    }
    Ok(Some((Seq(base), mailbox, spans)))
}

fn binding(row: &Row<'_>, first: usize) -> rusqlite::Result<StoredBinding> {
    Ok(StoredBinding { key: row.get(first)?, data: row.get(first + 1)?, expires_at: row.get(first + 2)? })
}

impl Store {
    /// What we know of an address; `None`: nothing.
    pub fn account(&self, who: &Aor) -> Result<Option<Account>, Fault> {
        let shared = &self.0.shared;
        if let Some(account) = shared.accounts.get(who) {
            return Ok(Some(account.clone()));
        }
        if shared.readers.ask(|conn| find(conn, who))?.is_none() {
            return Ok(None);
        }
        match shared.accounts.entry(who.clone()) {
            Entry::Occupied(account) => Ok(Some(account.get().clone())),
            // Read again while the place is held, as with rooms.
            Entry::Vacant(place) => {
                let account = shared.readers.ask(|conn| find(conn, who))?;
                if let Some(account) = &account {
                    place.insert(account.clone());
                }
                Ok(account)
            }
        }
    }

    /// Keeps an address that has spoken to us, without making it an account that has registered.
    pub async fn meet(&self, who: &Aor) -> Result<AccountId, Fault> {
        let who = who.clone();
        self.write(move |turn| {
            let base = turn.head;
            Ok(turn.account(&who, base)?.id)
        })
        .await
    }

    /// Makes an account, or sets its credentials. Without credentials those it has stay. `None`: the address is a
    /// room's.
    pub async fn put_account(
        &self,
        who: &Aor,
        credentials: Option<Credentials>,
    ) -> Result<Option<AccountId>, Fault> {
        let who = who.clone();
        self.write(move |turn| {
            let id = turn.registered(&who)?;
            if let (Some(id), Some(new)) = (id, credentials) {
                turn.set_credentials(id, &who, &new)?;
            }
            Ok(id)
        })
        .await
    }

    /// Ends an account: credentials, bindings, devices and mailbox go. The address stays the author of what he
    /// said, and a member where he is one, until he is taken out. False: there was no such account.
    pub async fn remove_account(&self, who: &Aor) -> Result<bool, Fault> {
        let who = who.clone();
        self.write(move |turn| {
            let Some(account) = find(turn.conn, &who)?.filter(|account| account.registered) else {
                return Ok(false);
            };
            let mailbox = turn.make_mailbox(&account.address)?;
            turn.conn.execute(
                "UPDATE account SET created = NULL, realm = NULL, md5 = NULL, md5_domain = NULL, sha256 = NULL,
                    sha256_domain = NULL, mailbox = ?2, base = ?3 WHERE id = ?1",
                params![account.id.0, mailbox.0, turn.head],
            )?;
            turn.conn.execute("DELETE FROM binding WHERE account = ?1", [account.id.0])?;
            turn.conn.execute("DELETE FROM device WHERE account = ?1", [account.id.0])?;
            turn.conn.execute("DELETE FROM setting WHERE account = ?1", [account.id.0])?;
            turn.conn.execute("DELETE FROM blocked WHERE account = ?1", [account.id.0])?;
            turn.conn.execute("DELETE FROM later WHERE account = ?1", [account.id.0])?;
            turn.conn.execute("DELETE FROM receipt WHERE account = ?1", [account.id.0])?;
            turn.conn.execute("DELETE FROM status WHERE account = ?1", [account.id.0])?;
            turn.conn.execute("DELETE FROM avatar WHERE account = ?1", [account.id.0])?;
            turn.forget_roster(&account.address)?;
            turn.conn.execute("DELETE FROM log WHERE conversation = ?1", [account.mailbox.0])?;
            turn.conn.execute("DELETE FROM conversation WHERE id = ?1", [account.mailbox.0])?;
            turn.entries_deleted(&[account.mailbox])?;
            turn.shared.positions().forget(account.id, None);
            turn.account_changed(&who);
            Ok(true)
        })
        .await
    }

    /// Accounts of a domain, or all: those behind `after` in the order of addresses, at most `most`.
    pub fn accounts(
        &self,
        domain: Option<&str>,
        after: Option<&Aor>,
        most: usize,
    ) -> Result<Vec<Account>, Fault> {
        let (user, host) = behind(after);
        self.0.shared.readers.ask(|conn| {
            let mut statement = conn.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM account
                 WHERE created IS NOT NULL AND (?1 IS NULL OR domain = ?1) AND (username, domain) > (?2, ?3)
                 ORDER BY username, domain LIMIT ?4"
            ))?;
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let rows = statement.query_map((domain, user, host, most), account)?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
        })
    }

    /// How many there are, of all domains or of one.
    pub fn count_accounts(&self, domain: Option<&str>) -> Result<u64, Fault> {
        self.0.shared.readers.ask(|conn| {
            conn.prepare_cached(
                "SELECT count(*) FROM account WHERE created IS NOT NULL AND (?1 IS NULL OR domain = ?1)",
            )?
            .query_row([domain], |row| Ok(row.get::<_, i64>(0)?.max(0) as u64))
        })
    }

    /// The address of an account row.
    pub fn address(&self, id: AccountId) -> Result<Option<Aor>, Fault> {
        self.0.shared.readers.ask(|conn| {
            let found = conn
                .prepare_cached("SELECT username, domain FROM account WHERE id = ?1")?
                .query_row([id.0], |row| address(row, 0, 1))
                .optional()?;
            Ok(found.flatten())
        })
    }

    /// Replaces the bindings of an account by this whole list. Makes the account if there is none. `seen`: devices
    /// that have just shown that they are there and take messages. `None`: the address is a room's.
    pub async fn bind(
        &self,
        who: &Aor,
        bindings: Vec<StoredBinding>,
        seen: Vec<DeviceKey>,
    ) -> Result<Option<AccountId>, Fault> {
        let who = who.clone();
        self.write(move |turn| {
            let Some(id) = turn.registered(&who)? else { return Ok(None) };
            turn.conn.prepare_cached("DELETE FROM binding WHERE account = ?1")?.execute([id.0])?;
            let mut insert = turn.conn.prepare_cached(
                "INSERT OR REPLACE INTO binding (account, key, data, expires) VALUES (?1, ?2, ?3, ?4)",
            )?;
            for binding in bindings {
                insert.execute(params![id.0, binding.key, binding.data, binding.expires_at])?;
            }
            turn.devices_seen(id, &seen)?;
            Ok(Some(id))
        })
        .await
    }

    /// Bindings as last written, expired ones among them until they are trimmed.
    pub fn bindings(&self, who: &Aor) -> Result<Vec<StoredBinding>, Fault> {
        self.0.shared.readers.ask(|conn| {
            conn.prepare_cached(
                "SELECT b.key, b.data, b.expires FROM binding b JOIN account a ON a.id = b.account
                 WHERE a.username = ?1 AND a.domain = ?2 ORDER BY b.key",
            )?
            .query_map([who.user(), who.host()], |row| binding(row, 0))?
            .collect()
        })
    }

    /// Every account that has bindings, for the start.
    pub fn all_bindings(&self) -> Result<Vec<(Aor, AccountId, Vec<StoredBinding>)>, Fault> {
        self.0.shared.readers.ask(|conn| {
            let mut statement = conn.prepare_cached(
                "SELECT b.account, a.username, a.domain, b.key, b.data, b.expires
                 FROM binding b JOIN account a ON a.id = b.account ORDER BY b.account, b.key",
            )?;
            let mut rows = statement.query([])?;
            let mut all: Vec<(Aor, AccountId, Vec<StoredBinding>)> = Vec::new();
            while let Some(row) = rows.next()? {
                let id = AccountId(row.get(0)?);
                let binding = binding(row, 3)?;
                match all.last_mut() {
                    Some((_, last, bindings)) if *last == id => bindings.push(binding),
                    _ => {
                        if let Some(who) = address(row, 1, 2)? {
                            all.push((who, id, vec![binding]));
                        }
                    }
                }
            }
            Ok(all)
        })
    }

    /// The conversation of an account's own messages.
    pub fn mailbox(&self, id: AccountId) -> Result<Option<ConvId>, Fault> {
        self.0.shared.readers.ask(|conn| {
            conn.prepare_cached("SELECT mailbox FROM account WHERE id = ?1")?
                .query_row([id.0], |row| row.get(0).map(ConvId))
                .optional()
        })
    }

    /// Devices and spans of an account.
    ///
    /// # Errors
    /// [`Fault::Internal`] if there is no such account.
    pub fn view(&self, id: AccountId) -> Result<View, Fault> {
        // Before the disk is asked: what the writer finishes between the two is then seen twice, not missed.
        let unwritten: Vec<_> = self.0.shared.positions().of(id).cloned().collect();
        let found = self.0.shared.readers.ask(|conn| {
            let tx = conn.unchecked_transaction()?;
            let Some((base, _, spans)) = spans_of(&tx, id)? else { return Ok(None) };
            let devices = tx
                .prepare_cached("SELECT instance, position, seen FROM device WHERE account = ?1")?
                .query_map([id.0], |row| {
                    Ok((device_key(row.get_ref(0)?.as_str()?), Seq(row.get(1)?), row.get(2)?))
                })?
                .collect::<Result<_, _>>()?;
            Ok(Some(View { base, devices, spans }))
        })?;
        let mut view = found.ok_or_else(|| Fault::Internal(format!("there is no account {}", id.0)))?;
        // Those that are to be forgotten are so whether or not the trimmer has come by.
        let forgotten = self.0.shared.unseen_since(super::now_ms());
        let gone = view.devices.extract_if(.., |(.., seen)| *seen <= forgotten);
        view.base = gone.map(|(_, position, _)| position).fold(view.base, Seq::max);
        for (key, position) in unwritten {
            match view.devices.iter_mut().find(|(known, ..)| *known == key) {
                Some((_, known, _)) => *known = position.max(*known),
                None => view.devices.push((key, view.base.max(position), super::now_ms())),
            }
        }
        Ok(view)
    }

    /// A device is no more: what it has taken counts for those that come after it.
    pub async fn forget_device(&self, id: AccountId, device: &str) -> Result<(), Fault> {
        let device = device.to_owned();
        self.write(move |turn| Ok(turn.forget_device(id, &device)?)).await
    }
}

impl Turn<'_> {
    /// The account of an address, made or promoted to one; `None`: the address is a room's, or its domain is served
    /// no more. Whoever asked before may have been told otherwise: here nobody comes between.
    pub(super) fn registered(&mut self, who: &Aor) -> Result<Option<AccountId>, super::sqlite::Failure> {
        let known = self.account(who, self.head)?;
        let is: bool = self
            .conn
            .prepare_cached("SELECT created IS NOT NULL FROM account WHERE id = ?1")?
            .query_row([known.id.0], |row| row.get(0))?;
        if is {
            return Ok(Some(known.id));
        }
        if self.draft(who)?.version > 0 || self.is_retired(who) {
            return Ok(None);
        }
        self.conn
            .prepare_cached("UPDATE account SET created = ?2 WHERE id = ?1")?
            .execute(params![known.id.0, self.now])?;
        self.account_changed(who);
        Ok(Some(known.id))
    }

    pub(super) fn set_credentials(
        &mut self,
        id: AccountId,
        who: &Aor,
        new: &Credentials,
    ) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached(
                "UPDATE account SET realm = ?2, md5 = ?3, md5_domain = ?4, sha256 = ?5, sha256_domain = ?6
                 WHERE id = ?1",
            )?
            .execute(params![
                id.0,
                &*new.realm,
                new.md5.as_deref(),
                new.md5_domain.as_deref(),
                new.sha256.as_deref(),
                new.sha256_domain.as_deref()
            ])?;
        self.account_changed(who);
        Ok(())
    }

    /// A device that is new, or was forgotten, starts where the account's furthest is. This is durable before anything
    /// is said to it: after a crash it would be new once more, and start behind what only others have taken.
    fn devices_seen(&mut self, id: AccountId, seen: &[DeviceKey]) -> rusqlite::Result<()> {
        let unwritten = self.shared.positions().of(id).map(|(_, seq)| seq.0).max().unwrap_or(0);
        let mut put = self.conn.prepare_cached(
            "INSERT INTO device (account, instance, position, seen)
             SELECT id, ?2, max(?3, base, coalesce((SELECT max(position) FROM device WHERE account = ?1), 0)), ?4
                FROM account WHERE id = ?1
             ON CONFLICT (account, instance) DO UPDATE SET
                position = CASE WHEN seen <= ?5 THEN excluded.position ELSE position END,
                seen = max(seen, excluded.seen)",
        )?;
        for device in seen {
            put.execute(params![id.0, &**device, unwritten, self.now, self.shared.unseen_since(self.now)])?;
        }
        Ok(())
    }

    pub(super) fn forget_device(&mut self, id: AccountId, device: &str) -> rusqlite::Result<()> {
        // Not written yet, and not to be written afterwards, which would make the device again.
        let mut positions = self.shared.positions();
        let unwritten =
            positions.of(id).filter(|(key, _)| &**key == device).map(|(_, seq)| seq.0).max().unwrap_or(0);
        positions.forget(id, Some(device));
        drop(positions);
        let written: Option<i64> = self
            .conn
            .prepare_cached("DELETE FROM device WHERE account = ?1 AND instance = ?2 RETURNING position")?
            .query_row(params![id.0, device], |row| row.get(0))
            .optional()?;
        let who = self
            .conn
            .prepare_cached(
                "UPDATE account SET base = max(base, ?2) WHERE id = ?1 RETURNING username, domain",
            )?
            .query_row(params![id.0, written.unwrap_or(0).max(unwritten)], |row| address(row, 0, 1))
            .optional()?;
        if let Some(who) = who.flatten() {
            self.account_changed(&who);
        }
        Ok(())
    }
}

impl Shared {
    /// A device that was last seen then, or before, is forgotten.
    pub(super) fn unseen_since(&self, now: UnixMs) -> UnixMs {
        now - self.options.device_keep.as_millis() as UnixMs
    }

    pub(super) fn positions(&self) -> std::sync::MutexGuard<'_, Positions> {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sweep_accounts(&self) {
        if self.accounts.len() > ACCOUNTS {
            self.accounts.clear();
        }
    }
}
