//! What follows from a command or a post: changes of the room, notices, answers; or a refusal that says why.
//!
//! Prevents rights that differ from command to command, and silence: every refusal has a status and words (spec §4).
//! Never reads a clock or a table: a room, an actor, a command and the facts come in, a [`Decision`] goes out.

use std::sync::Arc;

use bytes::Bytes;

use super::command::{Command, Deed, Parsed, Right, Topic, Verb, row};
use super::dialect::{Dialect, Voice};
use super::room::Role;
pub use crate::config::WhoMayCreate;
use crate::refusal::Refusal;
use crate::types::{Aor, DeviceKey, EntryKind, Member, NewEntry, Place, Room, RoomChange, UnixMs};

/// How long a repeated invitation is not sent again (spec §4).
const INVITE_AGAIN_MS: UnixMs = 3_600_000;

/// How rooms are run here, and the request that is decided.
#[derive(Clone)]
pub struct Ctx<'a> {
    pub dialect: Dialect,
    /// The command character; see [`super::command::start_char`].
    pub start: &'a str,
    pub create_on_join: bool,
    pub check_on_create: bool,
    pub who_may_create: WhoMayCreate,
    /// Members and invited in a room, at most.
    pub member_max: usize,
    pub now: UnixMs,
    /// When delivery of what this request causes ends.
    pub expires: UnixMs,
    /// Max-Forwards of what it causes: its own − 1 (RFC 7332 §5).
    pub hops: u8,
    /// Header lines for what the room says because of it (In-Reply-To), each ended by CRLF, already checked.
    pub headers: Arc<str>,
    /// Whether a domain is served here.
    pub served: &'a (dyn Fn(&str) -> bool + Sync),
}

impl Ctx<'_> {
    pub(super) fn voice<'v>(&'v self, room: &'v Aor) -> Voice<'v> {
        Voice { dialect: self.dialect, start: self.start, room }
    }
}

/// Who speaks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Actor {
    pub aor: Aor,
    /// He has credentials or a binding here.
    pub is_account: bool,
    /// The management speaks.
    pub is_admin: bool,
    /// Of a domain that is not served.
    pub foreign: bool,
    /// The device it came from, if recognised.
    pub source: Option<DeviceKey>,
}

/// What is known of the user that a command names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Whom {
    /// Of ours, known or yet to come: a message to him waits.
    #[default]
    Ours,
    /// Of a foreign domain, and we may write there (spec §3).
    Foreign,
    /// Cannot exist: a room, the manager, no account where all accounts are known.
    Nobody,
    /// Of a foreign domain, and we may not write there.
    Barred,
    /// Takes no messages from the actor.
    Unwilling,
}

/// What the caller looked up for this command. The default is the plain case.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    pub user: Whom,
    /// The address is the manager: the command was to name a room.
    pub manager: bool,
    /// The room's name is an account's, or reserved by one (spec §3).
    pub taken: bool,
    /// This actor was turned away from this private room a short while ago: the members need not hear it again.
    pub knocked: bool,
}

/// What the caller must read to answer, and then put in words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wants {
    /// Rooms of the actor's view; then [`Voice::rooms`].
    Rooms,
    /// His last `n` posts; then [`super::history::history`].
    History { n: u16 },
}

/// Yes. Changes and entries belong into one commit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Decision {
    pub changes: Vec<RoomChange>,
    pub entries: Vec<NewEntry>,
    /// Asides to the asker, one MESSAGE each.
    pub words: Vec<String>,
    /// SIP status.
    pub status: u16,
    pub wants: Option<Wants>,
}

/// No. The words are an aside to the asker; the entries are what others hear of it, to be committed
/// without a change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    pub refusal: Refusal,
    pub words: Option<String>,
    pub entries: Vec<NewEntry>,
}

fn no(refusal: Refusal, words: String) -> Refused {
    Refused { refusal, words: Some(words), entries: Vec::new() }
}

type Verdict = Result<Decision, Refused>;

/// Whether a post of `sender` is heard. Only members are; an invitation is not enough.
pub fn may_post(room: &Room, sender: &Aor, ctx: &Ctx<'_>) -> Result<(), Refused> {
    if room.hears(sender) {
        return Ok(());
    }
    Err(no(Refusal::NOT_A_MEMBER, ctx.voice(&room.address).not_a_member()))
}

/// Says no to what could not be read; `None` if it could.
pub fn unreadable(parsed: &Parsed<'_>, address: &Aor, ctx: &Ctx<'_>) -> Option<Refused> {
    let voice = ctx.voice(address);
    match parsed {
        Parsed::Post(_) | Parsed::Command(_) => None,
        Parsed::Unknown(word) => Some(no(Refusal::UNKNOWN_COMMAND, voice.invalid_command(word))),
        Parsed::Empty => Some(no(Refusal::MALFORMED, voice.invalid_command(""))),
        Parsed::Malformed(verb, refusal) => Some(no(*refusal, voice.usage(row(*verb)))),
    }
}

/// Decides a command. `address` is the room it names, else the one it was sent to; `room` is what is there.
pub fn decide(
    room: Option<&Room>,
    address: &Aor,
    actor: &Actor,
    command: &Command,
    ctx: &Ctx<'_>,
    facts: &Facts,
) -> Verdict {
    let address = room.map_or(address, |room| &room.address);
    let case = Case { address, actor, ctx, facts, voice: ctx.voice(address), verb: command.verb() };
    match &command.deed {
        Deed::Create { private } => return case.create(room, *private),
        Deed::Join => return case.join(room),
        Deed::Rooms => return Ok(Decision { wants: Some(Wants::Rooms), ..yes() }),
        Deed::Help(topic) => return case.help(topic),
        _ => {}
    }
    if facts.manager {
        return Err(case.usage(Refusal::NEED_ROOM));
    }
    let Some(room) = room else { return Err(no(Refusal::NO_SUCH_ROOM, case.voice.not_found())) };
    let me = case.check_right(room)?;
    match &command.deed {
        Deed::Invite(user) => case.invite(room, user),
        Deed::Add(user) if facts.user == Whom::Foreign => case.invite(room, user),
        Deed::Add(user) => case.add(room, user),
        Deed::Modify(user, role) => case.modify(room, me, user, *role),
        Deed::Accept => case.accept(room, me),
        Deed::Reject => case.reject(room, me),
        Deed::Remove(user) => case.remove(room, user),
        Deed::Members => Ok(Decision { words: case.voice.members(room), ..yes() }),
        Deed::Leave => case.leave(me),
        Deed::Destroy => Ok(case.destroy()),
        Deed::History(n) => Ok(Decision { wants: Some(Wants::History { n: *n }), ..yes() }),
        // Decided above, with or without a room.
        Deed::Create { .. } | Deed::Join | Deed::Rooms | Deed::Help(_) => Ok(yes()),
        // No room has a say in it: the focus passes it to the person's own deeds.
        Deed::Personal(_) | Deed::Recall(_) | Deed::Reminder(_) | Deed::Buddies(_) => {
            Err(no(Refusal::MALFORMED, case.voice.invalid_command("")))
        }
    }
}

/// An invitation could not be delivered, or nobody answered it in time: it is withdrawn, and the inviter is told.
/// `None` if `who` is not invited (any more).
pub fn give_up_invitation(room: &Room, who: &Aor, ctx: &Ctx<'_>) -> Option<Decision> {
    let member = room.find(who).filter(|member| member.role() == Role::Invited)?;
    let text = ctx.voice(&room.address).could_not_invite(&member.who);
    let entries = inviter_of(room, member).map(|to| mailbox(ctx, &room.address, to, text));
    Some(Decision { changes: vec![drop_of(member, false)], entries: entries.into_iter().collect(), ..yes() })
}

pub(super) fn yes() -> Decision {
    Decision { status: 202, ..Decision::default() }
}

/// Rows that the peers wrote do not name the inviter; the owner answers for him.
fn inviter_of(room: &Room, member: &Member) -> Option<Aor> {
    match &member.invited {
        Some((inviter, _)) => Some(inviter.clone()),
        None => room.owner().map(|owner| owner.who.clone()),
    }
}

pub(super) fn drop_of(member: &Member, hears: bool) -> RoomChange {
    RoomChange::Drop { who: member.who.clone(), hears }
}

/// The invited becomes a member. He is listed anew, for lists are in the order of joining.
pub(super) fn let_in(member: &Member) -> [RoomChange; 2] {
    let admit = RoomChange::Admit { who: member.who.clone(), flags: Role::Member.flags(), invited: None };
    [drop_of(member, false), admit]
}

pub(super) fn given(member: &Member, role: Role) -> RoomChange {
    RoomChange::SetFlags { who: member.who.clone(), flags: role.flags() }
}

pub(super) fn mailbox(ctx: &Ctx<'_>, room: &Aor, to: Aor, text: String) -> NewEntry {
    notice(ctx, Place::Mailbox(to), Some(room.clone()), text)
}

pub(super) fn notice(ctx: &Ctx<'_>, place: Place, peer: Option<Aor>, text: String) -> NewEntry {
    NewEntry {
        place,
        kind: EntryKind::Notice,
        sender: None,
        peer,
        source: None,
        content_type: None,
        headers: ctx.headers.clone(),
        body: Bytes::from(text),
        at: ctx.now,
        expires: ctx.expires,
        hops: ctx.hops,
        private: false,
    }
}

/// One command on its way through the table.
struct Case<'a> {
    address: &'a Aor,
    actor: &'a Actor,
    ctx: &'a Ctx<'a>,
    facts: &'a Facts,
    voice: Voice<'a>,
    verb: Verb,
}

impl Case<'_> {
    fn who(&self) -> &Aor {
        &self.actor.aor
    }

    /// What all members hear.
    fn said(&self, text: String) -> NewEntry {
        notice(self.ctx, Place::Room, None, text)
    }

    /// What one person hears, member or not.
    fn told(&self, to: &Aor, text: String) -> NewEntry {
        mailbox(self.ctx, self.address, to.clone(), text)
    }

    fn usage(&self, refusal: Refusal) -> Refused {
        no(refusal, self.voice.usage(row(self.verb)))
    }

    fn not_permitted(&self) -> Refused {
        no(Refusal::NOT_ALLOWED, self.voice.no_permission(row(self.verb).deed))
    }

    /// The actor's place on the list, if the row of the command allows him to go on.
    fn check_right<'r>(&self, room: &'r Room) -> Result<&'r Member, Refused> {
        let right = row(self.verb).right;
        let Some(me) = room.find(self.who()) else {
            return Err(match right {
                Right::Invited => no(Refusal::NOTHING_TO_ACCEPT, self.voice.no_invitation()),
                _ => no(Refusal::NOT_A_MEMBER, self.voice.not_a_member()),
            });
        };
        let role = me.role();
        let allowed = match right {
            Right::Anyone | Right::Oneself | Right::Listed => true,
            Right::Invited => role == Role::Invited,
            Right::Member => role >= Role::Member,
            Right::Admin => role >= Role::Admin,
            Right::Owner => role == Role::Owner,
        };
        match role {
            _ if allowed => Ok(me),
            Role::Invited => Err(no(Refusal::NOT_A_MEMBER, self.voice.only_invited())),
            _ if self.verb == Verb::Accept => Err(no(Refusal::ALREADY_THERE, self.voice.already_in(&me.who))),
            _ if right == Right::Invited => Err(no(Refusal::NOTHING_TO_ACCEPT, self.voice.no_invitation())),
            _ => Err(self.not_permitted()),
        }
    }

    fn create(&self, room: Option<&Room>, private: bool) -> Verdict {
        let Some(room) = room else { return self.create_new(private) };
        if self.ctx.check_on_create {
            return Err(no(Refusal::ROOM_EXISTS, self.voice.exists()));
        }
        if room.hears(self.who()) {
            return Ok(Decision { words: vec![self.voice.exists_yours()], ..yes() });
        }
        if room.private {
            return Err(no(Refusal::ROOM_EXISTS, self.voice.exists_private()));
        }
        self.enter(room)
    }

    fn create_new(&self, private: bool) -> Verdict {
        if self.facts.manager {
            return Err(self.usage(Refusal::NEED_ROOM));
        }
        if !(self.ctx.served)(self.address.host()) {
            return Err(no(Refusal::DOMAIN_NOT_SERVED, self.voice.domain_not_served()));
        }
        if self.facts.taken {
            return Err(no(Refusal::NAME_TAKEN, self.voice.name_taken()));
        }
        let may = match self.ctx.who_may_create {
            WhoMayCreate::Everybody => true,
            WhoMayCreate::Accounts => self.actor.is_account && !self.actor.foreign,
            WhoMayCreate::Admins => false,
        };
        if !may && !self.actor.is_admin {
            return Err(self.not_permitted());
        }
        let owner = RoomChange::Admit { who: self.who().clone(), flags: Role::Owner.flags(), invited: None };
        Ok(Decision {
            changes: vec![RoomChange::Create { private }, owner],
            words: vec![self.voice.created()],
            ..yes()
        })
    }

    fn join(&self, room: Option<&Room>) -> Verdict {
        match room {
            Some(room) if room.hears(self.who()) => {
                Ok(Decision { words: vec![self.voice.already_in(self.who())], ..yes() })
            }
            Some(room) if room.private && room.find(self.who()).is_none() => Err(self.turned_away()),
            Some(room) => self.enter(room),
            // A domain that is not ours is refused as such, whether or not joining creates (spec §3).
            None if self.ctx.create_on_join
                || self.facts.manager
                || !(self.ctx.served)(self.address.host()) =>
            {
                self.create_new(false)
            }
            None => Err(no(Refusal::NO_SUCH_ROOM, self.voice.not_found())),
        }
    }

    fn turned_away(&self) -> Refused {
        let entries =
            if self.facts.knocked { Vec::new() } else { vec![self.said(self.voice.attempted(self.who()))] };
        Refused { entries, ..no(Refusal::NOT_ALLOWED, self.voice.by_invitation_only()) }
    }

    /// The actor becomes a member, invited before or not.
    fn enter(&self, room: &Room) -> Verdict {
        if let Some(me) = room.find(self.who()) {
            return self.accept(room, me);
        }
        self.check_capacity(room)?;
        let admit = RoomChange::Admit { who: self.who().clone(), flags: Role::Member.flags(), invited: None };
        Ok(Decision {
            changes: vec![admit],
            entries: vec![self.said(self.voice.joined(self.who()))],
            ..yes()
        })
    }

    fn check_capacity(&self, room: &Room) -> Result<(), Refused> {
        if room.members.len() < self.ctx.member_max {
            return Ok(());
        }
        Err(no(Refusal::ROOM_FULL, self.voice.full()))
    }

    fn accept(&self, room: &Room, me: &Member) -> Verdict {
        let joined = self.voice.joined(&me.who);
        let mut entries = vec![self.said(joined.clone())];
        // The inviter hears of it as a member; one who has left meanwhile hears of it too.
        if let Some(inviter) = inviter_of(room, me).filter(|inviter| !room.hears(inviter)) {
            entries.push(self.told(&inviter, joined));
        }
        Ok(Decision { changes: let_in(me).into(), entries, ..yes() })
    }

    fn reject(&self, room: &Room, me: &Member) -> Verdict {
        let text = self.voice.declined(&me.who);
        let told = inviter_of(room, me).map(|inviter| self.told(&inviter, text));
        Ok(Decision { changes: vec![drop_of(me, false)], entries: told.into_iter().collect(), ..yes() })
    }

    fn invite(&self, room: &Room, user: &Aor) -> Verdict {
        let listed = room.find(user);
        if let Some(member) = listed {
            if member.role() != Role::Invited {
                return Err(no(Refusal::ALREADY_THERE, self.voice.is_in_already(&member.who)));
            }
            let lately =
                |(_, at): &(Aor, UnixMs)| (0..INVITE_AGAIN_MS).contains(&self.ctx.now.saturating_sub(*at));
            if member.invited.as_ref().is_some_and(lately) {
                return Ok(Decision { words: vec![self.voice.invited(&member.who)], ..yes() });
            }
        }
        self.check_user(self.voice.could_not_invite(user))?;
        if listed.is_none() {
            self.check_capacity(room)?;
        }
        let invited = Some((self.who().clone(), self.ctx.now));
        let admit = RoomChange::Admit { who: user.clone(), flags: Role::Invited.flags(), invited };
        Ok(Decision {
            // A repeat starts the hour anew, and its inviter is the one who hears of the outcome.
            changes: listed.map(|member| drop_of(member, false)).into_iter().chain([admit]).collect(),
            entries: vec![self.told(user, self.voice.invitation(self.who()))],
            words: vec![self.voice.invited(user)],
            ..yes()
        })
    }

    fn check_user(&self, words: String) -> Result<(), Refused> {
        match self.facts.user {
            Whom::Ours | Whom::Foreign => Ok(()),
            Whom::Nobody => Err(no(Refusal::NO_SUCH_USER, words)),
            Whom::Barred => Err(no(Refusal::DOMAIN_NOT_SERVED, words)),
            Whom::Unwilling => Err(no(Refusal::NOT_WANTED, words)),
        }
    }

    fn add(&self, room: &Room, user: &Aor) -> Verdict {
        let changes = match room.find(user) {
            Some(member) if member.role() == Role::Invited => let_in(member).into(),
            Some(member) => return Err(no(Refusal::ALREADY_THERE, self.voice.is_in_already(&member.who))),
            None => {
                self.check_user(self.voice.could_not_add(user))?;
                self.check_capacity(room)?;
                vec![RoomChange::Admit { who: user.clone(), flags: Role::Member.flags(), invited: None }]
            }
        };
        Ok(Decision { changes, entries: vec![self.said(self.voice.joined(user))], ..yes() })
    }

    fn listed<'r>(&self, room: &'r Room, user: &Aor) -> Result<&'r Member, Refused> {
        room.find(user).ok_or_else(|| no(Refusal::NO_SUCH_MEMBER, self.voice.no_such_member(user)))
    }

    fn modify(&self, room: &Room, me: &Member, user: &Aor, role: Role) -> Verdict {
        let member = self.listed(room, user)?;
        if member.role() == Role::Invited {
            // A role is no way round his consent.
            return Err(no(Refusal::NO_SUCH_MEMBER, self.voice.no_such_member(&member.who)));
        }
        if role == Role::Owner && me.role() != Role::Owner {
            return Err(self.not_permitted());
        }
        if member.role() == role {
            return Ok(Decision { words: vec![self.voice.role_given(&member.who, role)], ..yes() });
        }
        if member.role() == Role::Owner {
            let words = if member.who == me.who {
                self.voice.hand_over_first()
            } else {
                self.voice.owner_is_safe(&member.who)
            };
            return Err(no(Refusal::NOT_ALLOWED, words));
        }
        let mut changes = vec![given(member, role)];
        let mut entries = vec![self.said(self.voice.role_given(&member.who, role))];
        if role == Role::Owner {
            changes.push(given(me, Role::Admin));
            entries.push(self.said(self.voice.role_given(&me.who, Role::Admin)));
        }
        Ok(Decision { changes, entries, ..yes() })
    }

    fn remove(&self, room: &Room, user: &Aor) -> Verdict {
        let member = self.listed(room, user)?;
        let told = self.told(&member.who, self.voice.removed_you());
        let changes = vec![drop_of(member, false)];
        match member.role() {
            Role::Owner => Err(no(Refusal::NOT_ALLOWED, self.voice.owner_is_safe(&member.who))),
            Role::Invited => Ok(Decision {
                changes,
                entries: vec![told],
                words: vec![self.voice.uninvited(&member.who)],
                ..yes()
            }),
            Role::Member | Role::Admin => {
                let entries = vec![told, self.said(self.voice.left(&member.who))];
                Ok(Decision { changes, entries, ..yes() })
            }
        }
    }

    fn leave(&self, me: &Member) -> Verdict {
        match (me.role(), self.ctx.dialect) {
            (Role::Owner, Dialect::Kamailio) => Err(no(Refusal::OWNER_STAYS, self.voice.owner_stays())),
            (Role::Owner, Dialect::Openser) => Ok(self.destroy()),
            (_, dialect) => Ok(Decision {
                // With OpenSER's words only the others hear of it.
                changes: vec![drop_of(me, dialect == Dialect::Kamailio)],
                entries: vec![self.said(self.voice.left(&me.who))],
                ..yes()
            }),
        }
    }

    fn destroy(&self) -> Decision {
        Decision {
            changes: vec![RoomChange::Destroy],
            entries: vec![self.said(self.voice.destroyed())],
            ..yes()
        }
    }

    fn help(&self, topic: &Topic) -> Verdict {
        let text = match topic {
            Topic::Everything => {
                let mut words = vec![self.voice.help()];
                words.extend(self.voice.help_for_oneself());
                return Ok(Decision { words, ..yes() });
            }
            Topic::Of(verb) => self.voice.help_about(*verb),
            Topic::Unknown(word) => {
                return Err(no(Refusal::UNKNOWN_COMMAND, self.voice.invalid_command(word)));
            }
        };
        Ok(Decision { words: vec![text], ..yes() })
    }
}
