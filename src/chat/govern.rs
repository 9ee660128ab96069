//! What an administrator does to a room, by management: the same changes and the same words as people's commands
//! have, without their rights.
//!
//! Prevents that management leaves a room in a state that no command could: two owners, an owner who is only invited,
//! more members than there may be. Never asks who the administrator is: the door knows.

use std::sync::Arc;

use super::decide::{Ctx, Decision, Whom, drop_of, give_up_invitation, given, let_in, mailbox, notice, yes};
use super::depart::depart;
use super::dialect::clean_to;
use super::room::Role;
use crate::types::{Aor, Member, NewEntry, Place, Room, RoomChange};

/// Characters of a title: phones show it as a display name, in one line.
pub const TITLE_MAX: usize = 64;

/// What is to become of a room.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Order {
    /// Without an owner nobody but the administrator changes it.
    Create {
        owner: Option<Aor>,
        private: bool,
    },
    Destroy,
    /// Without asking the user, be he invited or not. Of an owner the room had before, an admin.
    Add(Aor, Role),
    /// Be he the owner, the room goes to the next one, as when an account ends.
    Remove(Aor),
    Role(Aor, Role),
    /// Display name; `None`: the room is shown by its name again.
    Title(Option<Arc<str>>),
    Private(bool),
    /// Something that the room itself says.
    Say(String),
}

/// Why it is not done. The text is for the administrator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Undone {
    NotFound(String),
    Refused(String),
}

/// What was looked up: about the user that the order names, and whether the address belongs to somebody.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Known {
    pub user: Whom,
    /// The address is an account's, reserved by one, or the manager's.
    pub taken: bool,
}

impl Order {
    /// Whom it is about.
    pub fn user(&self) -> Option<&Aor> {
        match self {
            Order::Create { owner, .. } => owner.as_ref(),
            Order::Add(user, _) | Order::Remove(user) | Order::Role(user, _) => Some(user),
            Order::Destroy | Order::Title(_) | Order::Private(_) | Order::Say(_) => None,
        }
    }

    /// Reads a setting of a room, as `room set` takes it. The error says what there is.
    pub fn setting(key: &str, value: &str) -> Result<Order, String> {
        match key.to_ascii_lowercase().as_str() {
            "title" => Ok(Order::Title(title(value)?)),
            "private" => match value.to_ascii_lowercase().as_str() {
                "yes" | "true" | "on" | "1" => Ok(Order::Private(true)),
                "no" | "false" | "off" | "0" => Ok(Order::Private(false)),
                _ => Err("private can be yes or no".into()),
            },
            _ => Err("no such setting; it can be title or private".into()),
        }
    }
}

/// A display name as it may be; `None`: none.
fn title(typed: &str) -> Result<Option<Arc<str>>, String> {
    if typed.trim().chars().count() > TITLE_MAX {
        return Err(format!("a title has at most {TITLE_MAX} characters"));
    }
    let title = clean_to(typed.trim(), TITLE_MAX);
    Ok((!title.is_empty()).then(|| title.into()))
}

/// Carries out an order. `address` is what the order names, `room` what is there.
pub fn govern(
    room: Option<&Room>,
    address: &Aor,
    order: &Order,
    ctx: &Ctx<'_>,
    known: Known,
) -> Result<Decision, Undone> {
    let refused = |why: String| Err(Undone::Refused(why));
    if let Order::Create { owner, private } = order {
        return match room {
            Some(room) => refused(format!("the room {} exists already", room.address)),
            None if known.taken => refused(format!("the name {address} belongs to somebody")),
            None => create(owner.as_ref(), *private, known),
        };
    }
    let Some(room) = room else { return Err(Undone::NotFound(format!("no room {address}"))) };
    let case = Case { room, ctx, known };
    match order {
        Order::Create { .. } => refused(format!("the room {address} exists already")),
        Order::Destroy => Ok(case.says(ctx.voice(&room.address).destroyed(), vec![RoomChange::Destroy])),
        Order::Add(user, role) => case.add(user, *role),
        Order::Remove(user) => case.remove(user),
        Order::Role(user, role) => case.role(user, *role),
        Order::Title(title) if *title == room.title => Ok(yes()),
        Order::Title(title) => {
            let shown = title.as_deref().unwrap_or(room.address.user());
            let text = ctx.voice(&room.address).titled(shown);
            Ok(case.says(text, vec![RoomChange::Title(title.clone())]))
        }
        Order::Private(private) if *private == room.private => Ok(yes()),
        Order::Private(private) => {
            let text = ctx.voice(&room.address).closed(*private);
            Ok(case.says(text, vec![RoomChange::Private(*private)]))
        }
        Order::Say(text) => Ok(case.says(text.clone(), Vec::new())),
    }
}

fn create(owner: Option<&Aor>, private: bool, known: Known) -> Result<Decision, Undone> {
    let mut changes = vec![RoomChange::Create { private }];
    if let Some(owner) = owner {
        check_user(owner, known)?;
        let flags = Role::Owner.flags();
        changes.push(RoomChange::Admit { who: owner.clone(), flags, invited: None });
    }
    Ok(Decision { changes, ..yes() })
}

fn check_user(user: &Aor, known: Known) -> Result<(), Undone> {
    match known.user {
        Whom::Ours | Whom::Foreign => Ok(()),
        Whom::Nobody => Err(Undone::NotFound(format!("no user {user}"))),
        Whom::Barred => {
            Err(Undone::Refused(format!("the domain {} is not served here, and not relayed to", user.host())))
        }
        Whom::Unwilling => Err(Undone::Refused(format!("{user} takes no messages from here"))),
    }
}

struct Case<'a> {
    room: &'a Room,
    ctx: &'a Ctx<'a>,
    known: Known,
}

impl Case<'_> {
    /// All members hear it.
    fn entry(&self, text: String) -> NewEntry {
        notice(self.ctx, Place::Room, None, text)
    }

    fn says(&self, text: String, changes: Vec<RoomChange>) -> Decision {
        Decision { changes, entries: vec![self.entry(text)], ..yes() }
    }

    /// Who owns the room becomes an admin, for somebody else gets it.
    fn old_owner(&self, heir: &Aor) -> Option<(RoomChange, NewEntry)> {
        let owner = self.room.owner().filter(|owner| owner.who != *heir)?;
        let text = self.ctx.voice(&self.room.address).role_given(&owner.who, Role::Admin);
        Some((given(owner, Role::Admin), self.entry(text)))
    }

    fn listed(&self, user: &Aor) -> Result<&Member, Undone> {
        let room = &self.room.address;
        self.room.find(user).ok_or_else(|| Undone::NotFound(format!("{user} is no member of {room}")))
    }

    fn add(&self, user: &Aor, role: Role) -> Result<Decision, Undone> {
        let voice = self.ctx.voice(&self.room.address);
        let mut changes = match self.room.find(user) {
            Some(member) if member.role() == Role::Invited => let_in(member).to_vec(),
            Some(member) => {
                let (who, room) = (&member.who, &self.room.address);
                return Err(Undone::Refused(format!("{who} is a member of {room} already")));
            }
            None => {
                check_user(user, self.known)?;
                if self.room.members.len() >= self.ctx.member_max {
                    let most = self.ctx.member_max;
                    return Err(Undone::Refused(format!("the room is full: it may have {most} members")));
                }
                vec![RoomChange::Admit { who: user.clone(), flags: Role::Member.flags(), invited: None }]
            }
        };
        let mut entries = vec![self.entry(voice.joined(user))];
        if role > Role::Member {
            changes.push(RoomChange::SetFlags { who: user.clone(), flags: role.flags() });
            entries.push(self.entry(voice.role_given(user, role)));
        }
        if role == Role::Owner
            && let Some((change, entry)) = self.old_owner(user)
        {
            changes.push(change);
            entries.push(entry);
        }
        Ok(Decision { changes, entries, ..yes() })
    }

    fn remove(&self, user: &Aor) -> Result<Decision, Undone> {
        let member = self.listed(user)?;
        let text = self.ctx.voice(&self.room.address).removed_you();
        let told = mailbox(self.ctx, &self.room.address, member.who.clone(), text);
        let gone = match member.role() {
            Role::Invited => give_up_invitation(self.room, user, self.ctx)
                .map(|_| Decision { changes: vec![drop_of(member, false)], ..yes() }),
            _ => depart(self.room, user, self.ctx).map(|(decision, _)| decision),
        };
        let mut decision = gone.unwrap_or_else(yes);
        decision.entries.insert(0, told);
        Ok(decision)
    }

    fn role(&self, user: &Aor, role: Role) -> Result<Decision, Undone> {
        let member = self.listed(user)?;
        let (who, voice) = (&member.who, self.ctx.voice(&self.room.address));
        match member.role() {
            now if now == role => return Ok(yes()),
            Role::Invited => return Err(Undone::Refused(format!("{who} is only invited; add him first"))),
            Role::Owner => {
                return Err(Undone::Refused(format!(
                    "{who} is the owner; make somebody else the owner instead"
                )));
            }
            Role::Admin | Role::Member => {}
        }
        let mut decision = self.says(voice.role_given(who, role), vec![given(member, role)]);
        if role == Role::Owner
            && let Some((change, entry)) = self.old_owner(who)
        {
            decision.changes.push(change);
            decision.entries.push(entry);
        }
        Ok(decision)
    }
}

#[cfg(test)]
mod tests {
    use super::super::dialect::Dialect;
    use super::*;
    use crate::config::WhoMayCreate;
    use crate::types::ConvId;

    fn aor(user: &str) -> Aor {
        Aor::new(user, "example.org").unwrap()
    }

    fn team() -> Room {
        let mut room = Room::new(aor("team"), ConvId(1), false);
        for (user, role) in [("alice", Role::Owner), ("bob", Role::Member), ("carol", Role::Invited)] {
            let invited = (role == Role::Invited).then(|| (aor("alice"), 0));
            room.members.push(Member { who: aor(user), flags: role.flags(), invited });
        }
        room
    }

    /// What members hear (`*`) or one of them does (`bob`), after the room has moved on.
    fn order(room: &mut Room, order: Order) -> Result<Vec<String>, Undone> {
        let served = |host: &str| host == "example.org";
        let ctx = Ctx {
            dialect: Dialect::Kamailio,
            start: "#",
            create_on_join: false,
            check_on_create: false,
            who_may_create: WhoMayCreate::Admins,
            member_max: 4,
            now: 0,
            expires: 0,
            hops: 70,
            headers: "".into(),
            served: &served,
        };
        let user = match order.user().map(Aor::user) {
            Some("nobody") => Whom::Nobody,
            _ => Whom::Ours,
        };
        let decision = govern(Some(room), &aor("team"), &order, &ctx, Known { user, taken: false })?;
        room.apply(&decision.changes);
        let owners = room.members.iter().filter(|member| member.role() == Role::Owner).count();
        assert!(owners <= 1 && room.members.len() <= 4, "{room:?}");
        let heard = |entry: &NewEntry| {
            let text = String::from_utf8_lossy(&entry.body).into_owned();
            match &entry.place {
                Place::Room => format!("* {text}"),
                Place::Mailbox(who) => format!("{} {text}", who.user()),
            }
        };
        Ok(decision.entries.iter().map(heard).collect())
    }

    fn roles(room: &Room) -> Vec<(&str, Role)> {
        room.members.iter().map(|member| (member.who.user(), member.role())).collect()
    }

    #[test]
    fn who_is_added_as_the_owner_makes_the_old_one_an_admin() {
        let mut room = team();
        let heard = order(&mut room, Order::Add(aor("dave"), Role::Owner)).unwrap();
        assert_eq!(
            heard,
            [
                "* *** [dave] has joined the room",
                "* *** sip:dave@example.org is now owner",
                "* *** sip:alice@example.org is now admin"
            ]
        );
        assert_eq!(
            roles(&room),
            [("alice", Role::Admin), ("bob", Role::Member), ("carol", Role::Invited), ("dave", Role::Owner)]
        );
        let full = Undone::Refused("the room is full: it may have 4 members".into());
        assert_eq!(order(&mut room, Order::Add(aor("erin"), Role::Member)), Err(full));
        // The invited has a place already.
        assert_eq!(
            order(&mut room, Order::Add(aor("carol"), Role::Member)).unwrap(),
            ["* *** [carol] has joined the room"]
        );
        assert!(matches!(order(&mut room, Order::Add(aor("carol"), Role::Admin)), Err(Undone::Refused(_))));
    }

    #[test]
    fn an_owner_who_is_removed_leaves_an_owner_behind() {
        let mut room = team();
        let heard = order(&mut room, Order::Remove(aor("alice"))).unwrap();
        assert_eq!(
            heard,
            [
                "alice *** You have been removed from the room",
                "* *** [alice] has left the room",
                "* *** sip:bob@example.org is now owner"
            ]
        );
        let heard = order(&mut room, Order::Remove(aor("carol"))).unwrap();
        assert_eq!(heard, ["carol *** You have been removed from the room"]);
        assert_eq!(roles(&room), [("bob", Role::Owner)]);
        let gone = Err(Undone::NotFound("carol@example.org is no member of team@example.org".into()));
        assert_eq!(order(&mut room, Order::Remove(aor("carol"))), gone);
    }

    #[test]
    fn roles_are_given_and_the_owner_is_made_by_giving_it_to_another() {
        let mut room = team();
        assert!(matches!(order(&mut room, Order::Role(aor("alice"), Role::Member)), Err(Undone::Refused(_))));
        assert!(matches!(order(&mut room, Order::Role(aor("carol"), Role::Admin)), Err(Undone::Refused(_))));
        assert_eq!(order(&mut room, Order::Role(aor("bob"), Role::Member)), Ok(Vec::new()));
        let heard = order(&mut room, Order::Role(aor("bob"), Role::Owner)).unwrap();
        assert_eq!(
            heard,
            ["* *** sip:bob@example.org is now owner", "* *** sip:alice@example.org is now admin"]
        );
    }

    #[test]
    fn settings_are_read_told_and_changed_once() {
        let mut room = team();
        let set = |room: &mut Room, key: &str, value: &str| {
            order(room, Order::setting(key, value).map_err(Undone::Refused)?)
        };
        let called = "* *** The room is now called Tea & cake".to_owned();
        assert_eq!(set(&mut room, "title", "  Tea & cake ").unwrap(), [called]);
        assert_eq!(room.title.as_deref(), Some("Tea & cake"));
        assert_eq!(set(&mut room, "Title", "Tea & cake"), Ok(Vec::new()));
        assert_eq!(set(&mut room, "title", "").unwrap(), ["* *** The room is now called team"]);
        assert_eq!(room.title, None);
        assert_eq!(set(&mut room, "private", "yes").unwrap(), ["* *** The room is now private"]);
        assert!(room.private);
        for (key, value) in [("owner", "bob"), ("private", "perhaps"), ("title", &"x".repeat(65))] {
            assert!(matches!(set(&mut room, key, value), Err(Undone::Refused(_))), "{key} {value}");
        }
    }

    #[test]
    fn a_room_is_made_once_and_by_no_name_of_somebody() {
        let served = |_: &str| true;
        let ctx = Ctx {
            dialect: Dialect::Openser,
            start: "#",
            create_on_join: false,
            check_on_create: false,
            who_may_create: WhoMayCreate::Admins,
            member_max: 4,
            now: 0,
            expires: 0,
            hops: 70,
            headers: "".into(),
            served: &served,
        };
        let make = Order::Create { owner: Some(aor("alice")), private: true };
        let plain = Known::default();
        let decision = govern(None, &aor("team"), &make, &ctx, plain).unwrap();
        let owner = RoomChange::Admit { who: aor("alice"), flags: Role::Owner.flags(), invited: None };
        assert_eq!(decision.changes, [RoomChange::Create { private: true }, owner]);
        let taken = Known { taken: true, ..plain };
        assert!(matches!(govern(None, &aor("team"), &make, &ctx, taken), Err(Undone::Refused(_))));
        assert!(matches!(govern(Some(&team()), &aor("team"), &make, &ctx, plain), Err(Undone::Refused(_))));
        let nobody = Known { user: Whom::Nobody, ..plain };
        assert!(matches!(govern(None, &aor("team"), &make, &ctx, nobody), Err(Undone::NotFound(_))));
        for order in [Order::Destroy, Order::Say("x".into()), Order::Remove(aor("bob"))] {
            assert!(matches!(govern(None, &aor("team"), &order, &ctx, plain), Err(Undone::NotFound(_))));
        }
    }
}
