//! Somebody's account ends, and he leaves a room in order: what follows for the room.
//!
//! Prevents that a room stays without an owner, and that somebody who is no more goes on being listed. Never asks
//! whether he may go: the management has decided that.

use std::cmp::Reverse;

use super::decide::{Ctx, Decision, give_up_invitation, notice, yes};
use super::room::Role;
use crate::types::{Aor, Member, NewEntry, Place, Room, RoomChange};

/// What became of a room that somebody left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Parted {
    /// It goes on without him.
    Left,
    /// It was his, and is this one's now.
    HandedOver(Aor),
    /// It was his, and nobody else belonged to it.
    Destroyed,
}

/// `who` leaves: the members hear of it, not he. An owner's room goes to the admin who is in it the longest, else to
/// such a member; those of domains that are served come first. Without any it is destroyed. `None`: he is not listed.
pub fn depart(room: &Room, who: &Aor, ctx: &Ctx<'_>) -> Option<(Decision, Parted)> {
    let me = room.find(who)?;
    let voice = ctx.voice(&room.address);
    let said = |text: String| notice(ctx, Place::Room, None, text);
    let goes = RoomChange::Drop { who: me.who.clone(), hears: false };
    match (me.role(), heir(room, me, ctx)) {
        (Role::Invited, _) => give_up_invitation(room, who, ctx).map(|decision| (decision, Parted::Left)),
        (Role::Member | Role::Admin, _) => {
            let entries = vec![said(voice.left(&me.who))];
            Some((Decision { changes: vec![goes], entries, ..yes() }, Parted::Left))
        }
        (Role::Owner, Some(heir)) => {
            let gets = RoomChange::SetFlags { who: heir.who.clone(), flags: Role::Owner.flags() };
            let entries: Vec<NewEntry> =
                vec![said(voice.left(&me.who)), said(voice.role_given(&heir.who, Role::Owner))];
            let decision = Decision { changes: vec![gets, goes], entries, ..yes() };
            Some((decision, Parted::HandedOver(heir.who.clone())))
        }
        (Role::Owner, None) => {
            let entries = vec![said(voice.destroyed())];
            let decision = Decision { changes: vec![RoomChange::Destroy], entries, ..yes() };
            Some((decision, Parted::Destroyed))
        }
    }
}

/// Members are in the order in which they joined, and of equals the first is taken.
fn heir<'r>(room: &'r Room, me: &Member, ctx: &Ctx<'_>) -> Option<&'r Member> {
    let others = room.members.iter().filter(|member| member.who != me.who && member.role() > Role::Invited);
    others.min_by_key(|member| (!(ctx.served)(member.who.host()), Reverse(member.role())))
}

#[cfg(test)]
mod tests {
    use super::super::dialect::Dialect;
    use super::*;
    use crate::config::WhoMayCreate;
    use crate::types::ConvId;

    fn aor(user: &str) -> Aor {
        let host = if user.starts_with("far") { "example.net" } else { "example.org" };
        Aor::new(user, host).unwrap()
    }

    fn team(members: &[(&str, Role)]) -> Room {
        let mut room = Room::new(aor("team"), ConvId(1), false);
        for (user, role) in members {
            let invited = (*role == Role::Invited).then(|| (aor("alice"), 0));
            room.members.push(Member { who: aor(user), flags: role.flags(), invited });
        }
        room
    }

    /// Texts, who hears them in his mailbox, and what became of the room.
    fn goes(room: &mut Room, who: &str) -> Option<(Vec<String>, Parted)> {
        let served = |host: &str| host == "example.org";
        let ctx = Ctx {
            dialect: Dialect::Kamailio,
            start: "#",
            create_on_join: false,
            check_on_create: false,
            who_may_create: WhoMayCreate::Admins,
            member_max: 10,
            now: 0,
            expires: 0,
            hops: 70,
            headers: "".into(),
            served: &served,
        };
        let (decision, parted) = depart(room, &aor(who), &ctx)?;
        room.apply(&decision.changes);
        let text = |entry: &NewEntry| String::from_utf8_lossy(&entry.body).into_owned();
        Some((decision.entries.iter().map(text).collect(), parted))
    }

    #[test]
    fn a_room_goes_to_the_admin_who_is_in_it_the_longest_then_to_members_of_ours_then_to_others() {
        use Role::{Admin, Invited, Member, Owner};
        let mut room = team(&[
            ("guest", Invited),
            ("far", Admin),
            ("bob", Member),
            ("alice", Owner),
            ("carol", Admin),
            ("dave", Admin),
        ]);
        for (gone, next) in [("alice", "carol"), ("carol", "dave"), ("dave", "bob"), ("bob", "far")] {
            let (texts, parted) = goes(&mut room, gone).unwrap();
            assert_eq!(parted, Parted::HandedOver(aor(next)));
            let owner = format!("*** sip:{} is now owner", aor(next));
            assert_eq!(texts, [format!("*** [{gone}] has left the room"), owner]);
            assert_eq!(room.owner().map(|owner| &owner.who), Some(&aor(next)));
            assert_eq!(room.find(&aor(gone)), None);
        }
        let (texts, parted) = goes(&mut room, "far").unwrap();
        assert_eq!((texts, parted), (vec!["*** Room has been destroyed".into()], Parted::Destroyed));
        assert!(room.members.is_empty(), "an invitation is no membership");
        assert_eq!(goes(&mut room, "far"), None);
    }

    #[test]
    fn others_leave_and_the_room_goes_on() {
        use Role::{Admin, Invited, Member, Owner};
        let mut room = team(&[("alice", Owner), ("bob", Member), ("carol", Admin), ("dave", Invited)]);
        let left = |who: &str| Some((vec![format!("*** [{who}] has left the room")], Parted::Left));
        assert_eq!(goes(&mut room, "bob"), left("bob"));
        assert_eq!(goes(&mut room, "carol"), left("carol"));
        let told = vec!["*** [dave] could not be invited".into()];
        assert_eq!(goes(&mut room, "dave"), Some((told, Parted::Left)));
        assert_eq!(room.members.len(), 1);
        assert_eq!(goes(&mut room, "nobody"), None);
    }
}
