//! The deeds of management about rosters, states and pictures, done with the services.

use super::Server;
use super::manage::missing;
use crate::edge::control::{AvatarInfo, BuddyInfo, Denied, PairInfo, PresenceInfo, Rosters};
use crate::presence::State;
use crate::presence::roster::{self, BUDDIES_MAX, Bond, Deed};
use crate::service::roster::HOPS;
use crate::store::{Account, Avatar, Called, Related};
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
