//! Who may see when whom is there: what each of a pair is to the other, and what a deed of one makes of both.
//!
//! A pair is two rows, one each way, changed together. Prevents that somebody is seen who has not said yes, and that a
//! no is undone by the other's phone, which goes on asking. Never keeps anything, never sends anything.

use crate::chat::dialect::clean_to;

/// Buddies that one person can have.
pub const BUDDIES_MAX: usize = 1000;
/// Groups that one buddy can be in.
pub const GROUPS_MAX: usize = 32;
/// Characters of a nickname or of a group's name.
pub const NAME_MAX: usize = 64;
/// Characters of the note beside a state.
pub const NOTE_MAX: usize = 256;
/// The same person is asked by the same once in this time, in ms: a week.
pub const ASK_AGAIN: i64 = 7 * 86_400_000;

/// What one person is to another, in one direction: bits of `roster.flags`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Flags(pub u8);

impl Flags {
    pub const NONE: Flags = Flags(0);
    /// He sees when the other is there.
    pub const SEES: Flags = Flags(1);
    /// The other sees when he is there. Always as the other's SEES.
    pub const SEEN: Flags = Flags(2);
    /// He would see the other, who has not answered.
    pub const ASKED: Flags = Flags(4);
    /// He subscribes to the other, or lists him, or has added him.
    pub const WANTS: Flags = Flags(8);
    /// He has said no to the other, or removed him: only he himself can undo it, by accepting or adding him.
    pub const REFUSED: Flags = Flags(16);

    pub fn has(self, bits: Flags) -> bool {
        self.0 & bits.0 == bits.0
    }

    pub fn with(self, bits: Flags) -> Flags {
        Flags(self.0 | bits.0)
    }

    pub fn without(self, bits: Flags) -> Flags {
        Flags(self.0 & !bits.0)
    }

    /// He sees the other, or would.
    pub fn is_more_than_no(self) -> bool {
        self.0 & (Flags::SEES.0 | Flags::ASKED.0 | Flags::WANTS.0) != 0
    }

    /// Of a row that is kept: the other is one of his buddies. A no alone is no friendship.
    pub fn is_listed(self) -> bool {
        self != Flags::REFUSED
    }
}

/// How it is shown (as XMPP calls it, RFC 6121 §2.1.2.5, with the unanswered question as a state of its own).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Bond {
    /// Neither sees the other.
    None,
    /// He sees the other.
    To,
    /// The other sees him.
    From,
    Both,
    /// Neither sees the other, and the other was asked.
    Asked,
}

impl Bond {
    pub fn of(flags: Flags) -> Bond {
        match (flags.has(Flags::SEES), flags.has(Flags::SEEN)) {
            (true, true) => Bond::Both,
            (true, false) => Bond::To,
            (false, true) => Bond::From,
            (false, false) if flags.has(Flags::ASKED) => Bond::Asked,
            (false, false) => Bond::None,
        }
    }

    /// `none`, `to`, `from`, `both`, `asked`.
    pub fn named(word: &str) -> Option<Bond> {
        let all = [Bond::None, Bond::To, Bond::From, Bond::Both, Bond::Asked];
        all.into_iter().find(|bond| bond.word().eq_ignore_ascii_case(word))
    }

    /// What the one sees of the other, and the other of him.
    fn sight(self) -> (bool, bool) {
        match self {
            Bond::None | Bond::Asked => (false, false),
            Bond::To => (true, false),
            Bond::From => (false, true),
            Bond::Both => (true, true),
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Bond::None => "none",
            Bond::To => "to",
            Bond::From => "from",
            Bond::Both => "both",
            Bond::Asked => "asked",
        }
    }
}

/// What the one does about the other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Deed {
    /// Sends a SUBSCRIBE for him alone.
    Subscribes,
    /// Has him on a list that he subscribes to.
    Lists,
    /// `#buddy add`.
    Adds,
    /// `#buddy accept`.
    Accepts,
    /// `#buddy refuse`, also later.
    Refuses,
    /// `#buddy remove`.
    Removes,
    /// An administrator confirms both.
    Links,
    /// An administrator takes the sight from both, and leaves their entries.
    Unlinks,
    /// An administrator puts the other on his roster, seeing what this says: as [`Bond::Asked`], nothing.
    Puts(Bond),
    /// An administrator takes the entry off, as if it had never been: nobody has said no.
    Drops,
}

impl Deed {
    pub const ALL: [Deed; 13] = [
        Deed::Subscribes,
        Deed::Lists,
        Deed::Adds,
        Deed::Accepts,
        Deed::Refuses,
        Deed::Removes,
        Deed::Links,
        Deed::Unlinks,
        Deed::Puts(Bond::None),
        Deed::Puts(Bond::To),
        Deed::Puts(Bond::From),
        Deed::Puts(Bond::Both),
        Deed::Drops,
    ];
}

/// What a deed makes of a pair.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    pub mine: Flags,
    pub his: Flags,
    /// He is to be asked, unless he was within [`ASK_AGAIN`] or may not be written to.
    pub asks: bool,
}

/// The one who does it has `mine` towards the other, who has `his` towards him. `None`: there is nothing to accept or
/// to refuse.
pub fn decide(mine: Flags, his: Flags, deed: Deed) -> Option<Change> {
    use Flags as F;
    const SIGHT: F = F(F::SEES.0 | F::SEEN.0);
    let plain = |mine, his| Some(Change { mine, his, asks: false });
    let refused = mine.has(F::REFUSED) || his.has(F::REFUSED);
    match deed {
        Deed::Subscribes | Deed::Lists | Deed::Adds => {
            let mine = match deed {
                Deed::Adds => mine.without(F::REFUSED),
                _ => mine,
            };
            let refused = if deed == Deed::Adds { his.has(F::REFUSED) } else { refused };
            let mine = mine.with(F::WANTS);
            if his.has(F::WANTS) && !refused {
                return confirmed(mine, his);
            }
            // Whoever adds somebody who would see him lets him.
            let (mine, his) = match deed == Deed::Adds && his.has(F::WANTS) {
                true => (mine.with(F::SEEN), his.with(F::SEES).without(F::ASKED)),
                false => (mine, his),
            };
            // A phone that goes on after its owner has said no asks for nobody: he himself does.
            let asks = deed != Deed::Lists && !mine.has(F::SEES) && !mine.has(F::REFUSED);
            let mine = if asks { mine.with(F::ASKED) } else { mine };
            Some(Change { mine, his, asks })
        }
        Deed::Accepts => {
            if !his.has(F::WANTS) && !his.has(F::SEES) {
                return None;
            }
            let (mine, his) = (mine.without(F::REFUSED).with(F::SEEN), his.without(F::ASKED).with(F::SEES));
            match mine.has(F::WANTS) && !his.has(F::REFUSED) {
                true => confirmed(mine, his),
                false => plain(mine, his),
            }
        }
        Deed::Refuses => {
            if !his.has(F::WANTS) && !his.has(F::SEES) {
                return None;
            }
            plain(mine.without(F::SEEN).with(F::REFUSED), his.without(F::SEES).without(F::ASKED))
        }
        Deed::Removes => plain(F::REFUSED, if his.has(F::REFUSED) { F::REFUSED } else { F::NONE }),
        Deed::Links => confirmed(mine.with(F::WANTS), his.with(F::WANTS)),
        Deed::Unlinks => {
            let less = SIGHT.with(F::ASKED).with(F::WANTS);
            plain(mine.without(less), his.without(less))
        }
        Deed::Puts(bond) => {
            let (to, from) = bond.sight();
            let sees = |flags: Flags, sees: bool, other_sees: bool| {
                let flags = flags.without(SIGHT).without(F::ASKED);
                let flags = if sees { flags.with(F::SEES).with(F::WANTS) } else { flags };
                if other_sees { flags.with(F::SEEN).without(F::REFUSED) } else { flags }
            };
            // On the roster of the one who is given it, he is no stranger any more.
            plain(sees(mine.without(F::REFUSED), to, from), sees(his, from, to))
        }
        Deed::Drops => plain(F::NONE, his.without(SIGHT)),
    }
}

fn confirmed(mine: Flags, his: Flags) -> Option<Change> {
    let both = |flags: Flags| {
        flags.with(Flags::SEES).with(Flags::SEEN).without(Flags::ASKED).without(Flags::REFUSED)
    };
    Some(Change { mine: both(mine), his: both(his), asks: false })
}

/// A nickname as it is kept: without controls, bounded. `None`: nothing is left of it.
pub fn name(typed: &str) -> Option<String> {
    let name = clean_to(typed.trim(), NAME_MAX);
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// Names of groups as they are kept: in their order, each once in any case, without commas, at most [`GROUPS_MAX`].
pub fn groups<'a>(typed: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut groups: Vec<String> = Vec::new();
    for group in typed.into_iter().flat_map(|typed| typed.split(',')).filter_map(name) {
        if groups.len() < GROUPS_MAX && !groups.iter().any(|known| same(known, &group)) {
            groups.push(group);
        }
    }
    groups
}

/// Names of groups are equal in any case.
pub fn same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

/// The note beside a state, as it is kept.
pub fn note(typed: &str) -> String {
    clean_to(typed.trim(), NOTE_MAX).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const N: Flags = Flags::NONE;
    const W: Flags = Flags::WANTS;
    const R: Flags = Flags::REFUSED;
    const ASKING: Flags = Flags(4 | 8);
    const TO: Flags = Flags(1 | 8);
    const FROM: Flags = Flags(2);
    const BOTH: Flags = Flags(1 | 2 | 8);

    /// Every state of a pair that deeds lead to, from a pair that knows nothing of each other.
    fn reachable() -> Vec<(Flags, Flags)> {
        let mut found = vec![(N, N)];
        let mut at = 0;
        while at < found.len() {
            let (a, b) = found[at];
            at += 1;
            for deed in Deed::ALL {
                let one = decide(a, b, deed).map(|c| (c.mine, c.his));
                let other = decide(b, a, deed).map(|c| (c.his, c.mine));
                for next in [one, other].into_iter().flatten() {
                    if !found.contains(&next) {
                        found.push(next);
                    }
                }
            }
        }
        found
    }

    #[test]
    fn what_each_deed_makes_of_each_pair() {
        use Deed::*;
        let change = |mine, his, asks| Some(Change { mine, his, asks });
        #[rustfmt::skip]
        let table: &[(Flags, Flags, Deed, Option<Change>)] = &[
            // Nobody knows anybody.
            (N, N, Subscribes, change(ASKING, N, true)),
            (N, N, Lists, change(W, N, false)),
            (N, N, Adds, change(ASKING, N, true)),
            (N, N, Accepts, None),
            (N, N, Refuses, None),
            (N, N, Removes, change(R, N, false)),
            (N, N, Links, change(BOTH, BOTH, false)),
            (N, N, Unlinks, change(N, N, false)),
            // The other has asked me, or lists me.
            (N, ASKING, Subscribes, change(BOTH, BOTH, false)),
            (N, ASKING, Lists, change(BOTH, BOTH, false)),
            (N, ASKING, Adds, change(BOTH, BOTH, false)),
            (N, ASKING, Accepts, change(FROM, TO, false)),
            (N, ASKING, Refuses, change(R, W, false)),
            (N, ASKING, Removes, change(R, N, false)),
            (N, W, Subscribes, change(BOTH, BOTH, false)),
            (N, W, Lists, change(BOTH, BOTH, false)),
            (N, W, Accepts, change(FROM, TO, false)),
            // I have asked, and ask again; or list as well.
            (ASKING, N, Subscribes, change(ASKING, N, true)),
            (ASKING, N, Lists, change(ASKING, N, false)),
            (ASKING, N, Removes, change(R, N, false)),
            (W, ASKING, Accepts, change(BOTH, BOTH, false)),
            // He said no: my phone goes on, which changes nothing for him.
            (W, R, Subscribes, change(ASKING, R, true)),
            (W, R, Lists, change(W, R, false)),
            (W, R, Adds, change(ASKING, R, true)),
            (ASKING, R, Removes, change(R, R, false)),
            // I said no to somebody whose phone goes on.
            (R, ASKING, Subscribes, change(W.with(R), ASKING, false)),
            (R, ASKING, Lists, change(W.with(R), ASKING, false)),
            (R, ASKING, Adds, change(BOTH, BOTH, false)),
            (R, ASKING, Accepts, change(FROM, TO, false)),
            (R, ASKING, Refuses, change(R, W, false)),
            // We said no to each other, and I change my mind: he may see me, I ask.
            (R, W.with(R), Adds, change(ASKING.with(FROM), TO.with(R), true)),
            // He sees me.
            (FROM, TO, Subscribes, change(BOTH, BOTH, false)),
            (FROM, TO, Refuses, change(R, W, false)),
            (FROM, TO, Removes, change(R, N, false)),
            (TO, FROM, Subscribes, change(TO, FROM, false)),
            (TO, FROM, Refuses, None),
            // Both.
            (BOTH, BOTH, Subscribes, change(BOTH, BOTH, false)),
            (BOTH, BOTH, Accepts, change(BOTH, BOTH, false)),
            (BOTH, BOTH, Refuses, change(TO.with(R), FROM.with(W), false)),
            (BOTH, BOTH, Removes, change(R, N, false)),
            (BOTH, BOTH, Unlinks, change(N, N, false)),
            // An administrator's word stands for both.
            (N, N, Puts(Bond::None), change(N, N, false)),
            (N, N, Puts(Bond::To), change(TO, FROM, false)),
            (N, ASKING, Puts(Bond::From), change(FROM, TO, false)),
            (R, ASKING, Puts(Bond::Both), change(BOTH, BOTH, false)),
            (ASKING, R, Puts(Bond::To), change(TO, FROM, false)),
            (BOTH, BOTH, Puts(Bond::To), change(TO, FROM.with(W), false)),
            (BOTH, BOTH, Drops, change(N, W, false)),
            (R, ASKING, Drops, change(N, ASKING, false)),
        ];
        for (mine, his, deed, wanted) in table {
            assert_eq!(decide(*mine, *his, *deed), *wanted, "{mine:?} {his:?} {deed:?}");
        }
    }

    #[test]
    fn in_every_state_what_the_one_sees_the_other_shows() {
        let states = reachable();
        assert!(states.len() > 20, "{}", states.len());
        for (a, b) in states {
            assert_eq!(a.has(Flags::SEES), b.has(Flags::SEEN), "{a:?} {b:?}");
            assert_eq!(b.has(Flags::SEES), a.has(Flags::SEEN), "{a:?} {b:?}");
            for (x, y) in [(a, b), (b, a)] {
                assert!(!(x.has(Flags::REFUSED) && y.has(Flags::SEES)), "a no is a no: {x:?} {y:?}");
                assert!(!(x.has(Flags::ASKED) && x.has(Flags::SEES)), "an answer is an answer: {x:?}");
            }
        }
    }

    #[test]
    fn nobody_is_seen_by_deeds_of_others_alone() {
        let own = [Deed::Subscribes, Deed::Lists, Deed::Adds, Deed::Accepts, Deed::Refuses, Deed::Removes];
        for start in [N, R] {
            let mut found = vec![(start, N)];
            let mut at = 0;
            while at < found.len() {
                let (mine, his) = found[at];
                at += 1;
                assert!(!mine.has(Flags::SEEN), "{mine:?} {his:?}");
                for deed in own {
                    let next = decide(his, mine, deed).map(|c| (c.his, c.mine));
                    found.extend(next.filter(|next| !found.contains(next)));
                }
            }
        }
    }

    #[test]
    fn names_are_clean_bounded_and_each_group_once() {
        assert_eq!(name(" Bob\r\n\u{202e} "), Some("Bob".into()));
        assert_eq!(name("\u{0} \t"), None);
        assert_eq!(name(&"x".repeat(1000)).map(|n| n.chars().count()), Some(NAME_MAX));
        assert_eq!(groups(["work,Work", "ÄRZTE", "ärzte", "", "home"]), ["work", "ÄRZTE", "home"]);
        let many: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        assert_eq!(groups(many.iter().map(String::as_str)).len(), GROUPS_MAX);
        assert_eq!(note(&"é".repeat(1000)).chars().count(), NOTE_MAX);
    }

    proptest! {
        #[test]
        fn whatever_people_do_sight_is_symmetrical_and_a_repetition_changes_nothing(
            deeds in proptest::collection::vec((any::<bool>(), 0..Deed::ALL.len()), 0..40)
        ) {
            let (mut a, mut b) = (N, N);
            for (mine, deed) in deeds {
                let deed = Deed::ALL[deed];
                let once = if mine { decide(a, b, deed) } else { decide(b, a, deed) };
                let Some(once) = once else { continue };
                let again = decide(once.mine, once.his, deed);
                if let Some(again) = again {
                    prop_assert_eq!((again.mine, again.his), (once.mine, once.his));
                }
                (a, b) = if mine { (once.mine, once.his) } else { (once.his, once.mine) };
                prop_assert_eq!(a.has(Flags::SEES), b.has(Flags::SEEN));
                prop_assert_eq!(a.has(Flags::SEEN), b.has(Flags::SEES));
                prop_assert_eq!(Bond::of(a) == Bond::Both, Bond::of(b) == Bond::Both);
            }
        }
    }
}
