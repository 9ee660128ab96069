//! A management that keeps its accounts in a list, and knows one room.

use std::sync::Mutex;

use super::*;
use crate::migrate::{Source, What};
use crate::refusal::Fault;
use crate::types::{Aor, Spread};

#[derive(Default)]
pub(super) struct Fake {
    pub(super) accounts: Mutex<Vec<(String, Option<String>)>>,
    works: Works,
}

fn pair(sight: &'static str) -> Result<PairInfo, Denied> {
    Ok(PairInfo { account: "bob@example.org".into(), user: "alice@example.org".into(), sight })
}

fn entry(account: &str, user: &str, sight: &'static str) -> EntryInfo {
    EntryInfo { account: account.into(), user: user.into(), sight, nick: String::new(), groups: Vec::new() }
}

fn picture() -> AvatarInfo {
    let media = "image/png".into();
    AvatarInfo { account: "bob@example.org".into(), media, sha1: "da39".into(), bytes: 8 }
}

fn presence(says: &'static str, note: &str) -> Result<PresenceInfo, Denied> {
    let (account, note) = ("bob@example.org".into(), note.to_owned());
    Ok(PresenceInfo { account, state: "", says, note, avatar: String::new() })
}

impl Rosters for Fake {
    async fn roster_list(&self, _: Aor) -> Result<Vec<BuddyInfo>, Denied> {
        Ok(vec![BuddyInfo {
            user: "alice@example.org".into(),
            nick: "Al".into(),
            groups: vec!["work".into()],
            sight: "both",
            state: "busy",
        }])
    }
    async fn roster_add(
        &self,
        _: Aor,
        _: Aor,
        _: Option<String>,
        _: Option<String>,
    ) -> Result<PairInfo, Denied> {
        pair("asked")
    }
    async fn roster_remove(&self, _: Aor, _: Aor) -> Result<PairInfo, Denied> {
        pair("none")
    }
    async fn roster_link(&self, _: Aor, _: Aor, link: bool) -> Result<PairInfo, Denied> {
        pair(if link { "both" } else { "none" })
    }
    async fn roster_put(
        &self,
        _: Aor,
        _: Aor,
        _: String,
        _: Option<String>,
        _: Option<String>,
    ) -> Result<PairInfo, Denied> {
        pair("to")
    }
    async fn roster_dump(&self, _: Option<String>, page: Page) -> Result<Vec<EntryInfo>, Denied> {
        let all = [entry("alice", "bob", "both"), entry("bob", "alice", "both"), entry("bob", "carol", "to")];
        page.cut(all.into(), |entry| format!("{} {}", entry.account, entry.user))
    }
    async fn roster_clear(&self, _: String) -> Result<usize, Denied> {
        Ok(3)
    }
    async fn roster_sync(&self, _: String, _: Option<String>, _: bool) -> Result<Vec<StepInfo>, Denied> {
        Ok(vec![StepInfo { change: "add", entry: entry("alice", "bob", "both") }])
    }
    async fn presence_show(&self, _: Aor) -> Result<PresenceInfo, Denied> {
        presence("auto", "")
    }
    async fn presence_set(&self, _: Aor, _: String, note: String) -> Result<PresenceInfo, Denied> {
        presence("away", &note)
    }
    async fn avatar_set(&self, _: Aor, data: Vec<u8>) -> Result<AvatarInfo, Denied> {
        Ok(AvatarInfo { bytes: data.len(), ..picture() })
    }
    async fn avatar_get(&self, _: Aor) -> Result<(AvatarInfo, Vec<u8>), Denied> {
        Ok((picture(), b"\x89PNG\r\n\x1a\n".to_vec()))
    }
    async fn avatar_find(&self, _: String) -> Result<(AvatarInfo, Vec<u8>), Denied> {
        Err(Denied::NotFound("no picture".into()))
    }
    async fn avatar_remove(&self, _: Aor) -> Result<(), Denied> {
        Ok(())
    }
}

impl Following for Fake {
    /// Somebody is written to, and something is lost; then nothing more comes. In the room quiet it takes a while.
    async fn tail(&self, room: Option<Aor>) -> Result<tokio::sync::mpsc::Receiver<Overheard>, Denied> {
        if room.as_ref().is_some_and(|room| room.user() == "nowhere") {
            return Err(Denied::NotFound("no room nowhere@example.org".into()));
        }
        let (told, heard) = tokio::sync::mpsc::channel(4);
        if room.is_some_and(|room| room.user() == "quiet") {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(400)).await;
                let _ = told.send(Overheard { kind: "post", ..Overheard::default() }).await;
            });
            return Ok(heard);
        }
        let line = |kind, lost| Overheard { kind, lost, ..Overheard::default() };
        for line in [line("direct", 0), line("lost", 3)] {
            told.try_send(line).unwrap();
        }
        Ok(heard)
    }
}

impl Management for Fake {
    fn default_domain(&self) -> String {
        "example.org".into()
    }
    fn known_as(&self, who: Aor) -> Aor {
        who
    }
    async fn account_add(&self, account: Aor, password: Option<String>) -> Result<(), Denied> {
        let mut accounts = self.accounts.lock().unwrap();
        if accounts.iter().any(|(a, _)| a.eq_ignore_ascii_case(account.as_str())) {
            return Err(Denied::Refused(format!("{account} is there already")));
        }
        accounts.push((account.to_string(), password));
        Ok(())
    }
    async fn account_remove(&self, account: Aor) -> Result<RemovedInfo, Denied> {
        let mut accounts = self.accounts.lock().unwrap();
        let before = accounts.len();
        accounts.retain(|(a, _)| a != account.as_str());
        if accounts.len() == before {
            return Err(Denied::NotFound(format!("no account {account}")));
        }
        Ok(RemovedInfo { account: account.to_string(), ..RemovedInfo::default() })
    }
    async fn account_passwd(&self, _: Aor, _: String) -> Result<(), Denied> {
        Err(Denied::Fault(Fault::Unavailable("the disk /dev/secret is full".into())))
    }
    async fn account_list(&self, domain: Option<String>, page: Page) -> Result<Vec<AccountInfo>, Denied> {
        let accounts = self.accounts.lock().unwrap();
        let of = |a: &str| domain.as_deref().is_none_or(|d| a.ends_with(&format!("@{d}")));
        let info = |(a, p): &(String, Option<String>)| AccountInfo {
            account: a.clone(),
            password: p.is_some(),
            contacts: 0,
        };
        let mut list: Vec<_> = accounts.iter().filter(|(a, _)| of(a)).map(info).collect();
        list.sort_by(|a, b| a.account.cmp(&b.account));
        page.cut(list, |info| info.account.clone())
    }
    async fn account_settings(&self, _: Aor) -> Result<Vec<SettingInfo>, Denied> {
        Ok(vec![SettingInfo { key: "offline", value: "on", values: "on or off".into() }])
    }
    async fn account_set(&self, _: Aor, _: String, _: String) -> Result<(), Denied> {
        Ok(())
    }
    async fn account_blocked(&self, _: Aor) -> Result<Vec<BlockedInfo>, Denied> {
        Ok(vec![BlockedInfo { user: "mallory@example.org".into() }])
    }
    async fn account_block(&self, _: Aor, _: Aor, _: bool) -> Result<(), Denied> {
        Ok(())
    }
    async fn offline_list(&self, _: Option<Aor>, page: Page) -> Result<Vec<LetterInfo>, Denied> {
        let letter = LetterInfo {
            id: 1,
            account: "bob@example.org".into(),
            from: "alice@example.org".into(),
            at: "2026-11-20 21:04:00".into(),
            expires: "2026-11-23 21:04:00".into(),
            media: "text/plain".into(),
            bytes: 5,
        };
        page.cut(vec![letter.clone(), LetterInfo { id: 2, ..letter }], |l| format!("{} {}", l.account, l.id))
    }
    async fn offline_purge(&self, _: Aor) -> Result<u64, Denied> {
        Ok(3)
    }
    async fn offline_deliver(&self, _: Aor) -> Result<(u64, usize), Denied> {
        Ok((2, 1))
    }
    async fn message_send(&self, _: Aor, _: Aor, _: String) -> Result<(), Denied> {
        Ok(())
    }
    async fn domain_list(&self) -> Result<Vec<DomainInfo>, Denied> {
        Ok(vec![self.domain_add("example.org".into()).await?])
    }
    async fn domain_add(&self, domain: String) -> Result<DomainInfo, Denied> {
        Ok(DomainInfo { domain, configured: true, accounts: 2, rooms: 1 })
    }
    async fn domain_remove(&self, _: String) -> Result<(), Denied> {
        Ok(())
    }
    async fn server_status(&self) -> Result<Status, Denied> {
        Ok(Status {
            version: "1".into(),
            pid: 1,
            uptime_s: 2,
            domains: vec!["example.org".into()],
            listeners: vec!["udp:127.0.0.1:5060".into()],
            auth: "open",
            accounts: 0,
            contacts: 0,
            rooms: 0,
        })
    }
    fn vitals(&self) -> Vitals {
        let (commits, deliveries) = (Spread::default(), Spread::default());
        Vitals { ready: true, uptime_s: 2, queued: 0, commits, deliveries }
    }
    fn begin(&self, command: &'static str, about: String) -> Result<Work, Denied> {
        self.works.begin(command, about, "2026-11-20 21:04:00".into())
    }
    fn works(&self) -> Vec<WorkInfo> {
        drop(self.begin("server.backup", "/tmp/x".into()));
        self.works.list()
    }
    async fn server_stats(&self) -> Result<Vec<Stat>, Denied> {
        Ok(vec![Stat { name: "active_rooms", value: 2 }, Stat { name: "delivered", value: 7 }])
    }
    async fn message_broadcast(
        &self,
        from: Aor,
        _: String,
        to: Option<Vec<Aor>>,
        work: Work,
    ) -> Result<BroadcastInfo, Denied> {
        let sent = to.map_or(1000, |to| to.len());
        work.end(Ok(BroadcastInfo { from: from.to_string(), sent, refused: Vec::new() }))
    }
    async fn binding_list(&self, _: Option<Aor>) -> Result<Vec<BindingInfo>, Denied> {
        let first = BindingInfo {
            account: "bob@example.org".into(),
            contact: "sip:bob@192.0.2.7:5062".into(),
            transport: "udp".into(),
            source: "192.0.2.7:5062".into(),
            expires_in: 3600,
            user_agent: "baresip".into(),
        };
        Ok(vec![first.clone(), BindingInfo { contact: "sip:bob@192.0.2.8".into(), ..first }])
    }
    async fn binding_drop(&self, _: Aor, _: Option<String>) -> Result<usize, Denied> {
        Ok(1)
    }
    async fn server_reload(&self) -> Result<ReloadInfo, Denied> {
        Ok(ReloadInfo { warnings: Vec::new(), needs_restart: vec!["sip.listen".into()] })
    }
    async fn server_backup(&self, _: PathBuf, _: Work) -> Result<u64, Denied> {
        Ok(4096)
    }
    async fn log_level(&self, _: Option<String>) -> Result<&'static str, Denied> {
        Ok("info")
    }
}

impl Imports for Fake {
    async fn import(
        &self,
        what: What,
        source: Source,
        dry_run: bool,
        realm: Option<String>,
        _: Work,
    ) -> Result<Vec<ImportInfo>, Denied> {
        let (outcome, why) = if dry_run { ("would be made", "") } else { ("made", "why") };
        let examples = vec![format!("{what:?} {source} {realm:?}")];
        Ok(vec![ImportInfo { table: "silo", outcome, rows: 1, why, examples }])
    }
}

impl Rooms for Fake {
    async fn room_list(&self, _: Option<String>, page: Page) -> Result<Vec<RoomInfo>, Denied> {
        let list = vec![self.room_show(Aor::new("team", "example.org").unwrap()).await?];
        page.cut(list, |room| room.room.clone())
    }
    async fn room_show(&self, room: Aor) -> Result<RoomInfo, Denied> {
        if room.user() != "team" && room.user() != "bob" {
            return Err(Denied::NotFound(format!("no room {room}")));
        }
        Ok(RoomInfo {
            room: room.to_string(),
            title: String::new(),
            owner: "alice@example.org".into(),
            private: false,
            members: 1,
            invited: 0,
        })
    }
    async fn member_list(&self, _: Aor) -> Result<Vec<MemberInfo>, Denied> {
        Ok(vec![MemberInfo { user: "alice@example.org".into(), role: "owner" }])
    }
    async fn room_create(&self, room: Aor, owner: Option<Aor>, private: bool) -> Result<RoomInfo, Denied> {
        let owner = owner.map(|owner| owner.to_string()).unwrap_or_default();
        Ok(RoomInfo { owner, private, ..self.room_show(room).await? })
    }
    async fn room_destroy(&self, _: Aor) -> Result<(), Denied> {
        Ok(())
    }
    async fn room_set(&self, room: Aor, key: String, value: String) -> Result<RoomInfo, Denied> {
        let title = if key == "title" { value } else { String::new() };
        Ok(RoomInfo { title, ..self.room_show(room).await? })
    }
    async fn room_post(&self, _: Aor, _: String) -> Result<(), Denied> {
        Ok(())
    }
    async fn room_history(&self, room: Aor, n: usize) -> Result<Vec<SaidInfo>, Denied> {
        let said = |n: usize| SaidInfo {
            at: "2026-11-20 21:04:00".into(),
            user: "alice@example.org".into(),
            text: if room.user() == "bulky" { "x".repeat(400) } else { n.to_string() },
        };
        Ok((0..n).map(said).collect())
    }
    async fn member_add(&self, _: Aor, user: Aor, role: String) -> Result<MemberInfo, Denied> {
        let role = if role == "admin" { "admin" } else { "member" };
        Ok(MemberInfo { user: user.to_string(), role })
    }
    async fn member_remove(&self, _: Aor, _: Aor) -> Result<(), Denied> {
        Ok(())
    }
    async fn member_role(&self, room: Aor, user: Aor, role: String) -> Result<MemberInfo, Denied> {
        self.member_add(room, user, role).await
    }
}
