//! The deeds of management about rooms, done with the services.

use super::Server;
use super::manage::{civil, missing};
use crate::chat::govern::{Order, Undone};
use crate::chat::room::Role;
use crate::edge::control::{Denied, MemberInfo, Page, RoomInfo, Rooms, SaidInfo};
use crate::service::focus::shown_text;
use crate::store::RoomLine;
use crate::types::{Aor, Member, Room};

impl Server {
    pub(super) fn room(&self, address: &Aor) -> Result<Room, Denied> {
        self.room_at(&self.ours(address)?)
    }

    /// The room of this very address, whether or not its domain is served by now.
    fn room_at(&self, address: &Aor) -> Result<Room, Denied> {
        let cell = self.store.room(address)?.ok_or_else(|| missing("room", address))?;
        let room = cell.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(room.clone())
    }

    async fn order(&self, room: &Aor, order: Order) -> Result<(), Denied> {
        let room = self.ours(room)?;
        match self.focus.govern(&room, &order).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Undone::NotFound(why))) => Err(Denied::NotFound(why)),
            Ok(Err(Undone::Refused(why))) => Err(Denied::Refused(why)),
            // Its domain may have gone meanwhile.
            Err(fault) => self.ours(&room).and(Err(fault.into())),
        }
    }

    fn member(&self, room: &Aor, user: &Aor) -> Result<MemberInfo, Denied> {
        let room = self.room(room)?;
        // Somebody else may have removed him in the meantime.
        room.find(user).map(member_info).ok_or_else(|| missing("member", user))
    }
}

fn info(room: &Room) -> RoomInfo {
    let invited = room.members.iter().filter(|member| !room.hears(&member.who)).count();
    RoomInfo {
        room: room.address.to_string(),
        title: room.title.as_deref().unwrap_or_default().to_owned(),
        owner: room.owner().map(|owner| owner.who.to_string()).unwrap_or_default(),
        private: room.private,
        members: room.members.len() - invited,
        invited,
    }
}

fn member_info(member: &Member) -> MemberInfo {
    MemberInfo { user: member.who.to_string(), role: member.role().word() }
}

fn role(word: &str) -> Result<Role, Denied> {
    Role::named(word).ok_or_else(|| Denied::Refused("no such role; it can be owner, admin or member".into()))
}

impl Rooms for Server {
    async fn room_list(&self, domain: Option<String>, page: Page) -> Result<Vec<RoomInfo>, Denied> {
        let domain = domain.map(|domain| self.served(&domain)).transpose()?;
        let after = page.after.as_deref().and_then(Aor::parse);
        // From the disk: a list of all rooms does not bring all of them into memory.
        let lines = self.store.some_rooms(domain.as_deref(), after.as_ref(), page.limit)?;
        let info = |line: RoomLine| RoomInfo {
            room: line.address.to_string(),
            title: line.title.unwrap_or_default(),
            owner: line.owner.map(|owner| owner.to_string()).unwrap_or_default(),
            private: line.private,
            members: line.members,
            invited: line.invited,
        };
        Ok(lines.into_iter().map(info).collect())
    }

    async fn room_show(&self, room: Aor) -> Result<RoomInfo, Denied> {
        Ok(info(&self.room(&room)?))
    }

    async fn room_create(&self, room: Aor, owner: Option<Aor>, private: bool) -> Result<RoomInfo, Denied> {
        let owner = owner.map(|owner| self.anybody(&owner)).transpose()?;
        let room = self.ours(&room)?;
        self.order(&room, Order::Create { owner, private }).await?;
        Ok(info(&self.room_at(&room)?))
    }

    async fn room_destroy(&self, room: Aor) -> Result<(), Denied> {
        self.order(&room, Order::Destroy).await
    }

    async fn room_set(&self, room: Aor, key: String, value: String) -> Result<RoomInfo, Denied> {
        self.order(&room, Order::setting(&key, &value).map_err(Denied::Refused)?).await?;
        self.room_show(room).await
    }

    async fn room_post(&self, room: Aor, text: String) -> Result<(), Denied> {
        self.order(&room, Order::Say(text)).await
    }

    async fn room_history(&self, room: Aor, n: usize) -> Result<Vec<SaidInfo>, Denied> {
        let posts = self.store.posts(self.room(&room)?.conversation, n)?;
        let said = posts.iter().map(|post| SaidInfo {
            at: civil(post.at),
            user: post.sender.as_ref().map(|(_, who)| who.to_string()).unwrap_or_default(),
            text: shown_text(post),
        });
        Ok(said.collect())
    }

    async fn member_list(&self, room: Aor) -> Result<Vec<MemberInfo>, Denied> {
        let room = self.room(&room)?;
        let invited = room.members.iter().filter(|member| !room.hears(&member.who));
        Ok(room.listed().into_iter().chain(invited).map(member_info).collect())
    }

    async fn member_add(&self, room: Aor, user: Aor, word: String) -> Result<MemberInfo, Denied> {
        let user = self.anybody(&user)?;
        self.order(&room, Order::Add(user.clone(), role(&word)?)).await?;
        self.member(&room, &user)
    }

    async fn member_remove(&self, room: Aor, user: Aor) -> Result<(), Denied> {
        self.order(&room, Order::Remove(self.anybody(&user)?)).await
    }

    async fn member_role(&self, room: Aor, user: Aor, word: String) -> Result<MemberInfo, Denied> {
        let user = self.anybody(&user)?;
        self.order(&room, Order::Role(user.clone(), role(&word)?)).await?;
        self.member(&room, &user)
    }
}
