//! What management overhears, in the words of management.
//!
//! Prevents that the writer's thread renders anything for a follower. Never gives away what one person writes to
//! another.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::Server;
use super::manage::civil;
use crate::edge::control::{Denied, Following, Overheard};
use crate::refusal::Fault;
use crate::service::focus::shown_text;
use crate::service::followers::Heard;
use crate::store::Store;
use crate::types::{Aor, Entry, EntryKind};

impl Following for Server {
    async fn tail(&self, room: Option<Aor>) -> Result<mpsc::Receiver<Overheard>, Denied> {
        let room = room.map(|room| self.room(&room)).transpose()?.map(|room| room.address);
        let follower = self.followers.follow(room);
        let mut follower = follower.ok_or_else(|| Denied::Refused("too many follow already".into()))?;
        // What waits, waits in the follower's own queue, where it is counted.
        let (told, hears) = mpsc::channel(1);
        let store = self.store.clone();
        tokio::spawn(async move {
            loop {
                let heard = tokio::select! {
                    () = told.closed() => return,
                    heard = follower.next() => heard,
                };
                let line = match heard {
                    None => return,
                    Some(Heard::Lost(lost)) => Overheard { kind: "lost", lost, ..Overheard::default() },
                    Some(Heard::Entry(entry)) => match overheard(&store, &entry) {
                        Ok(line) => line,
                        // It is told of as lost, which for the follower it is.
                        Err(fault) => {
                            tracing::warn!(%fault, "what was said cannot be shown");
                            Overheard { kind: "lost", lost: 1, ..Overheard::default() }
                        }
                    },
                };
                if told.send(line).await.is_err() {
                    return;
                }
            }
        });
        Ok(hears)
    }
}

fn overheard(store: &Store, entry: &Arc<Entry>) -> Result<Overheard, Fault> {
    let at = civil(entry.at);
    let from = entry.from.aor.to_string();
    let sender = entry.sender.as_ref().map(|(_, who)| who.to_string()).unwrap_or_default();
    if entry.kind == EntryKind::Post {
        let text = shown_text(entry);
        return Ok(Overheard { at, kind: "post", room: from, from: sender, text, ..Overheard::default() });
    }
    let owner = store.owner_of(entry.conversation)?;
    Ok(match owner {
        // In a person's mailbox: that it was written, and no more.
        Some(to) => Overheard { at, kind: "direct", from, to: to.to_string(), ..Overheard::default() },
        None => Overheard { at, kind: "notice", room: from, text: shown_text(entry), ..Overheard::default() },
    })
}
