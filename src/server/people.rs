//! The deeds of management about rosters, states and pictures, done with the services.

use std::collections::HashSet;

use super::Server;
use super::manage::missing;
use crate::edge::control::{
    AvatarInfo, BuddyInfo, Denied, EntryInfo, Page, PairInfo, PresenceInfo, Rosters, StepInfo, read_address,
};
use crate::presence::State;
use crate::presence::roster::{self, BUDDIES_MAX, Bond, Deed};
use crate::presence::sync::{self, Step};
use crate::service::roster::HOPS;
use crate::store::{Account, Avatar, Called, Put, Related};
use crate::types::Aor;

impl Server {
    /// Anybody, spelled as he is known.
    pub(super) fn anybody(&self, who: &Aor) -> Result<Aor, Denied> {
        let none = std::net::Ipv4Addr::UNSPECIFIED.into();
        let who = match self.domains.canonical(who.host(), none).is_some() {
            true => self.ours(who)?,
            false => who.clone(),
        };
        Ok(self.store.account(&who)?.map_or(who, |account| account.address))
    }

    async fn relate(&self, account: &Aor, user: &Aor, deed: Deed) -> Result<PairInfo, Denied> {
        let (who, whom) = (self.known_account(account)?.address, self.anybody(user)?);
        if who == whom {
            return Err(Denied::Refused(format!("{who} sees itself already")));
        }
        match self.focus.roster.relate(&who, &whom, deed, HOPS).await? {
            Related::Done { pair, .. } => Ok(PairInfo {
                account: who.to_string(),
                user: whom.to_string(),
                sight: Bond::of(pair.after.0).word(),
            }),
            Related::Full => Err(Denied::Refused(format!("one of both has {BUDDIES_MAX} buddies already"))),
            Related::Nothing => Err(no_buddy(&who, &whom)),
        }
    }

    fn presence_of(&self, account: &Account) -> PresenceInfo {
        let (says, note) = match &account.status {
            Some((state, note)) => (state.word(), note.to_string()),
            None => ("auto", String::new()),
        };
        PresenceInfo {
            account: account.address.to_string(),
            state: self.focus.roster.state(&account.address).map_or("", State::word),
            says,
            note,
            avatar: account.avatar.as_deref().unwrap_or_default().to_owned(),
        }
    }
}

impl Server {
    /// The rosters of a domain's accounts, or all.
    fn entries(&self, domain: Option<&str>) -> Result<Vec<sync::Entry>, Denied> {
        let domain = domain.map(|domain| self.served(domain)).transpose()?;
        let mut entries = Vec::new();
        for owner in self.store.roster_owners(domain.as_deref())? {
            entries.extend(self.store.buddies(&owner)?.into_iter().map(|buddy| sync::Entry {
                account: owner.clone(),
                user: buddy.contact,
                bond: Bond::of(buddy.flags),
                nick: buddy.nick,
                groups: buddy.groups,
            }));
        }
        Ok(entries)
    }
}

fn entry_info(entry: &sync::Entry) -> EntryInfo {
    EntryInfo {
        account: entry.account.to_string(),
        user: entry.user.to_string(),
        sight: entry.bond.word(),
        nick: entry.nick.clone().unwrap_or_default(),
        groups: entry.groups.clone(),
    }
}

fn step_info(step: &Step) -> StepInfo {
    let (change, entry) = match step {
        Step::Add(entry) => ("add", entry_info(entry)),
        Step::Change(entry) => ("change", entry_info(entry)),
        Step::Remove { account, user } => {
            let (account, user) = (account.to_string(), user.to_string());
            ("remove", EntryInfo { account, user, sight: "none", nick: String::new(), groups: Vec::new() })
        }
    };
    StepInfo { change, entry }
}

fn put_of(step: Step) -> Put {
    match step {
        Step::Add(entry) | Step::Change(entry) => Put {
            owner: entry.account,
            contact: entry.user,
            bond: Some(entry.bond),
            nick: entry.nick,
            groups: entry.groups,
        },
        Step::Remove { account, user } => {
            Put { owner: account, contact: user, bond: None, nick: None, groups: Vec::new() }
        }
    }
}

fn no_buddy(who: &Aor, whom: &Aor) -> Denied {
    Denied::NotFound(format!("{whom} is no buddy of {who}"))
}

fn avatar_info(account: &Aor, avatar: &Avatar) -> AvatarInfo {
    AvatarInfo {
        account: account.to_string(),
        media: avatar.media.clone(),
        sha1: avatar.sha1.clone(),
        bytes: avatar.data.len(),
    }
}

impl Rosters for Server {
    async fn roster_list(&self, account: Aor) -> Result<Vec<BuddyInfo>, Denied> {
        let who = self.known_account(&account)?.address;
        let roster = &self.focus.roster;
        let line = |buddy: crate::store::Buddy| BuddyInfo {
            sight: roster.bond(&buddy).word(),
            state: roster.state(&buddy.contact).map_or("", State::word),
            user: buddy.contact.to_string(),
            nick: buddy.nick.unwrap_or_default(),
            groups: buddy.groups,
        };
        Ok(roster.buddies(&who)?.into_iter().map(line).collect())
    }

    async fn roster_add(
        &self,
        account: Aor,
        user: Aor,
        nick: Option<String>,
        groups: Option<String>,
    ) -> Result<PairInfo, Denied> {
        let pair = self.relate(&account, &user, Deed::Adds).await?;
        if nick.is_some() || groups.is_some() {
            let called = Called {
                nick: nick.map(|nick| roster::name(&nick)),
                groups: groups.map(|groups| roster::groups([groups.as_str()])),
            };
            let (who, whom) = (self.known_account(&account)?.address, self.anybody(&user)?);
            self.focus.roster.call(&who, &whom, called).await?;
        }
        Ok(pair)
    }

    async fn roster_remove(&self, account: Aor, user: Aor) -> Result<PairInfo, Denied> {
        let (who, whom) = (self.known_account(&account)?.address, self.anybody(&user)?);
        if self.store.buddy(&who, &whom)?.is_none() {
            return Err(no_buddy(&who, &whom));
        }
        self.relate(&account, &user, Deed::Removes).await
    }

    async fn roster_link(&self, account: Aor, user: Aor, link: bool) -> Result<PairInfo, Denied> {
        self.relate(&account, &user, if link { Deed::Links } else { Deed::Unlinks }).await
    }

    async fn roster_put(
        &self,
        account: Aor,
        user: Aor,
        sight: String,
        nick: Option<String>,
        groups: Option<String>,
    ) -> Result<PairInfo, Denied> {
        let (who, whom) = (self.known_account(&account)?.address, self.anybody(&user)?);
        if who == whom {
            return Err(Denied::Refused(format!("{who} sees itself already")));
        }
        let put = Put {
            owner: who.clone(),
            contact: whom.clone(),
            bond: Bond::named(&sight),
            nick: nick.and_then(|nick| roster::name(&nick)),
            groups: roster::groups(groups.as_deref()),
        };
        let bond = put.bond.unwrap_or(Bond::None).word();
        if !self.focus.roster.put(vec![put]).await?.is_empty() {
            return Err(Denied::Refused(format!("one of both has {BUDDIES_MAX} buddies already")));
        }
        Ok(PairInfo { account: who.to_string(), user: whom.to_string(), sight: bond })
    }

    async fn roster_dump(&self, domain: Option<String>, page: Page) -> Result<Vec<EntryInfo>, Denied> {
        let entries = self.entries(domain.as_deref())?;
        page.cut(entries.iter().map(entry_info).collect(), |entry| {
            format!("{} {}", entry.account, entry.user)
        })
    }

    async fn roster_clear(&self, of: String) -> Result<usize, Denied> {
        let owners = match (of.as_str(), self.served(&of)) {
            ("all", _) => self.store.roster_owners(None)?,
            (_, Ok(domain)) => self.store.roster_owners(Some(&domain))?,
            (one, Err(_)) => {
                let who = read_address(one, self.domains.default_domain());
                let who = who.ok_or_else(|| Denied::Refused(format!("{one} is no address")))?;
                vec![self.known_account(&who)?.address]
            }
        };
        let mut gone = Vec::new();
        for owner in owners {
            gone.extend(self.store.buddies(&owner)?.into_iter().map(|buddy| Put {
                owner: owner.clone(),
                contact: buddy.contact,
                bond: None,
                nick: None,
                groups: Vec::new(),
            }));
        }
        let removed = gone.len();
        self.focus.roster.put(gone).await?;
        Ok(removed)
    }

    async fn roster_sync(
        &self,
        text: String,
        domain: Option<String>,
        dry_run: bool,
    ) -> Result<Vec<StepInfo>, Denied> {
        let domain = domain.map(|domain| self.served(&domain)).transpose()?;
        let default = domain.as_deref().unwrap_or(self.domains.default_domain());
        let mut wanted = sync::read(&text, default).map_err(Denied::Refused)?;
        let now = self.entries(domain.as_deref())?;
        let named: HashSet<(Aor, Aor)> =
            wanted.iter().map(|entry| (entry.user.clone(), entry.account.clone())).collect();
        for entry in &mut wanted {
            // One that an account's entry makes anyway may be there too: what was dumped can be put back.
            entry.account = match self.known_account(&entry.account) {
                Ok(account) => account.address,
                Err(_) if named.contains(&(entry.account.clone(), entry.user.clone())) => {
                    self.anybody(&entry.account)?
                }
                Err(denied) => return Err(denied),
            };
            entry.user = self.anybody(&entry.user)?;
        }
        if let Some(domain) = &domain
            && let Some(entry) =
                wanted.iter().find(|entry| !entry.account.host().eq_ignore_ascii_case(domain))
        {
            return Err(Denied::Refused(format!("{} is not of the domain {domain}", entry.account)));
        }
        // What one line says of two is on both rosters: of the other's only where it is one of these.
        let ours = |who: &Aor| domain.as_deref().is_none_or(|domain| who.host().eq_ignore_ascii_case(domain));
        let mut steps = sync::plan(&now, &wanted);
        steps.retain(|step| match step {
            Step::Add(entry) | Step::Change(entry) => ours(&entry.account),
            Step::Remove { account, .. } => ours(account),
        });
        let mut infos: Vec<StepInfo> = steps.iter().map(step_info).collect();
        if !dry_run {
            let full = self.focus.roster.put(steps.into_iter().map(put_of).collect()).await?;
            for put in full {
                let left_out = infos.iter_mut().find(|info| {
                    info.entry.account == put.owner.as_str() && info.entry.user == put.contact.as_str()
                });
                if let Some(info) = left_out {
                    info.change = "full";
                }
            }
        }
        Ok(infos)
    }

    async fn presence_show(&self, account: Aor) -> Result<PresenceInfo, Denied> {
        Ok(self.presence_of(&self.known_account(&account)?))
    }

    async fn presence_set(&self, account: Aor, state: String, note: String) -> Result<PresenceInfo, Denied> {
        let who = self.known_account(&account)?.address;
        let status = match State::of_word(&state) {
            Some(state) => Some((state, roster::note(&note))),
            None if state.eq_ignore_ascii_case("auto") => None,
            None => {
                let words: Vec<&str> = State::ALL.into_iter().map(State::word).collect();
                return Err(Denied::Refused(format!(
                    "no such state; it can be {} or auto",
                    words.join(", ")
                )));
            }
        };
        self.focus.roster.set_status(&who, status).await?;
        Ok(self.presence_of(&self.known_account(&who)?))
    }

    async fn avatar_set(&self, account: Aor, data: Vec<u8>) -> Result<AvatarInfo, Denied> {
        let who = self.known_account(&account)?.address;
        match self.focus.roster.set_avatar(&who, data).await? {
            Some(avatar) => Ok(avatar_info(&who, &avatar)),
            None => Err(Denied::Refused("this is no PNG, JPEG, GIF or WebP of at most 64 KiB".into())),
        }
    }

    async fn avatar_get(&self, account: Aor) -> Result<(AvatarInfo, Vec<u8>), Denied> {
        let who = self.known_account(&account)?.address;
        match self.focus.roster.avatar(&who)? {
            Some(avatar) => Ok((avatar_info(&who, &avatar), avatar.data)),
            None => Err(missing("picture of", &who)),
        }
    }

    async fn avatar_find(&self, sha1: String) -> Result<(AvatarInfo, Vec<u8>), Denied> {
        let found = self.store.avatar_by_hash(&sha1)?;
        let (who, avatar) = found.ok_or_else(|| Denied::NotFound("no such picture".into()))?;
        Ok((avatar_info(&who, &avatar), avatar.data))
    }

    async fn avatar_remove(&self, account: Aor) -> Result<(), Denied> {
        let who = self.known_account(&account)?.address;
        if self.focus.roster.remove_avatar(&who).await? { Ok(()) } else { Err(missing("picture of", &who)) }
    }
}
