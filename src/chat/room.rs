//! What a room is, and how a change moves it from one state to the next.
//!
//! Prevents that memory and disk disagree: a [`RoomChange`] means here what it means to the store. Never decides
//! whether a change is allowed; see [`crate::chat::decide`].

use crate::types::{Aor, ConvId, Member, Room, RoomChange, member_flag};

/// What somebody on the list of a room is. In rising order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    Invited,
    Member,
    Admin,
    Owner,
}

impl Role {
    /// From `imc_members.flag`. INVITED outweighs the rest: who has not accepted has no rights.
    pub fn of(flags: u8) -> Role {
        if flags & member_flag::INVITED != 0 {
            Role::Invited
        } else if flags & member_flag::OWNER != 0 {
            Role::Owner
        } else if flags & member_flag::ADMIN != 0 {
            Role::Admin
        } else {
            Role::Member
        }
    }

    /// As `imc_members.flag` has it.
    pub fn flags(self) -> u8 {
        match self {
            Role::Invited => member_flag::INVITED,
            Role::Member => 0,
            Role::Admin => member_flag::ADMIN,
            Role::Owner => member_flag::OWNER,
        }
    }

    /// The role that a command names, without case. Nobody is made invited by name.
    pub fn named(word: &str) -> Option<Role> {
        [Role::Owner, Role::Admin, Role::Member]
            .into_iter()
            .find(|role| role.word().eq_ignore_ascii_case(word))
    }

    pub fn word(self) -> &'static str {
        match self {
            Role::Invited => "invited",
            Role::Member => "member",
            Role::Admin => "admin",
            Role::Owner => "owner",
        }
    }
}

impl Member {
    pub fn role(&self) -> Role {
        Role::of(self.flags)
    }
}

impl Room {
    /// A room that nothing was committed to yet: version 0, nobody in it. The first [`Room::apply`] makes it 1.
    pub fn new(address: Aor, conversation: ConvId, private: bool) -> Room {
        Room { address, conversation, version: 0, private, title: None, members: Vec::new() }
    }

    /// Somebody on the list, a member or invited.
    pub fn find(&self, who: &Aor) -> Option<&Member> {
        self.members.iter().find(|member| member.who == *who)
    }

    /// `None` for who is not on the list.
    pub fn role(&self, who: &Aor) -> Option<Role> {
        self.find(who).map(Member::role)
    }

    /// Whether he hears what is said: on the list, and not only invited.
    pub fn hears(&self, who: &Aor) -> bool {
        self.role(who).is_some_and(|role| role > Role::Invited)
    }

    /// Whether he may know that the room is there (spec §4, `#rooms`).
    pub fn visible_to(&self, who: &Aor) -> bool {
        !self.private || self.find(who).is_some()
    }

    pub fn owner(&self) -> Option<&Member> {
        self.members.iter().find(|member| member.role() == Role::Owner)
    }

    /// The members as lists show them: owner first, then the newest first. The invited are not among them.
    pub fn listed(&self) -> Vec<&Member> {
        let mut all: Vec<&Member> = self.members.iter().rev().filter(|m| m.role() != Role::Invited).collect();
        all.sort_by_key(|member| member.role() != Role::Owner);
        all
    }

    /// Moves the room through one commit; the version rises by one if there is any change.
    ///
    /// Who is admitted is the newest. A change of somebody who is not listed changes nothing.
    pub fn apply(&mut self, changes: &[RoomChange]) {
        for change in changes {
            self.step(change);
        }
        if !changes.is_empty() {
            self.version += 1;
        }
    }

    fn step(&mut self, change: &RoomChange) {
        match change {
            RoomChange::Create { private } => self.private = *private,
            RoomChange::Admit { who, flags, invited } => {
                self.members.retain(|member| member.who != *who);
                self.members.push(Member { who: who.clone(), flags: *flags, invited: invited.clone() });
            }
            RoomChange::SetFlags { who, flags } => {
                let Some(member) = self.members.iter_mut().find(|member| member.who == *who) else { return };
                member.flags = *flags;
                if member.role() != Role::Invited {
                    member.invited = None;
                }
            }
            RoomChange::Drop { who, .. } => self.members.retain(|member| member.who != *who),
            RoomChange::Destroy => self.members.clear(),
            RoomChange::Title(title) => self.title = title.clone(),
            RoomChange::Private(private) => self.private = *private,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aor(user: &str) -> Aor {
        Aor::new(user, "example.org").unwrap()
    }

    fn admit(user: &str, role: Role) -> RoomChange {
        let invited = (role == Role::Invited).then(|| (aor("alice"), 7));
        RoomChange::Admit { who: aor(user), flags: role.flags(), invited }
    }

    fn team() -> Room {
        let mut room = Room::new(aor("team"), ConvId(1), false);
        room.apply(&[RoomChange::Create { private: true }, admit("alice", Role::Owner)]);
        room.apply(&[admit("bob", Role::Member)]);
        room.apply(&[admit("dave", Role::Invited)]);
        room.apply(&[admit("carol", Role::Member)]);
        room
    }

    fn names(room: &Room) -> Vec<&str> {
        room.listed().iter().map(|m| m.who.user()).collect()
    }

    #[test]
    fn the_version_rises_by_one_with_every_commit() {
        let mut room = team();
        assert_eq!(room.version, 4);
        room.apply(&[]);
        assert_eq!(room.version, 4);
        assert!(room.private);
    }

    #[test]
    fn lists_show_the_owner_then_the_newest_and_not_the_invited() {
        let mut room = team();
        assert_eq!(names(&room), ["alice", "carol", "bob"]);
        let flags = Role::Member.flags();
        room.apply(&[RoomChange::SetFlags { who: aor("DAVE"), flags }]);
        assert_eq!(names(&room), ["alice", "carol", "dave", "bob"]);
        assert_eq!(room.find(&aor("dave")).unwrap().invited, None);
    }

    #[test]
    fn a_new_role_does_not_change_the_order_of_joining() {
        let mut room = team();
        room.apply(&[
            RoomChange::SetFlags { who: aor("bob"), flags: Role::Owner.flags() },
            RoomChange::SetFlags { who: aor("alice"), flags: Role::Admin.flags() },
        ]);
        assert_eq!(names(&room), ["bob", "carol", "alice"]);
        assert_eq!(room.owner().unwrap().who, aor("bob"));
    }

    #[test]
    fn the_invited_see_a_private_room_and_hear_nothing() {
        let room = team();
        assert!(room.visible_to(&aor("dave")) && !room.hears(&aor("dave")));
        assert!(!room.visible_to(&aor("erin")) && !room.hears(&aor("erin")));
        assert!(room.hears(&aor("Bob")));
    }

    #[test]
    fn flags_of_the_peers_are_read_and_written_back() {
        for role in [Role::Invited, Role::Member, Role::Admin, Role::Owner] {
            assert_eq!(Role::of(role.flags()), role);
        }
        assert_eq!(Role::of(member_flag::INVITED | member_flag::OWNER), Role::Invited);
        assert_eq!(Role::of(member_flag::OWNER | member_flag::ADMIN), Role::Owner);
    }

    #[test]
    fn changes_of_strangers_and_the_end_of_a_room_do_no_harm() {
        let mut room = team();
        room.apply(&[
            RoomChange::SetFlags { who: aor("zoe"), flags: 1 },
            RoomChange::Drop { who: aor("zoe"), hears: true },
        ]);
        assert_eq!(room.members.len(), 4);
        room.apply(&[RoomChange::Destroy]);
        assert!(room.members.is_empty());
    }
}
