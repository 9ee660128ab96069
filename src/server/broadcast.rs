//! The same text to many.
//!
//! Prevents that a broadcast ends half-way because whoever asked for it hung up. Never says it twice to one.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::edge::control::{BroadcastInfo, Denied, Work};
use crate::refusal::Fault;
use crate::service::offline::Offline;
use crate::types::Aor;

/// Letters that are written at the same time: they share commits.
const SAID_AT_ONCE: usize = 32;
/// Whom it was not said to: so many are named.
const REFUSED_TOLD: usize = 100;

/// Whom to say it to, as the caller spelled him; and as he is known, or why not.
type Whom = (Aor, Result<Aor, String>);

/// Says `text` to each of `to`, and goes on to the end even if nobody waits for that.
pub(super) async fn broadcast(
    offline: Arc<Offline>,
    from: Aor,
    text: Arc<str>,
    to: Vec<Whom>,
    work: Work,
) -> Result<BroadcastInfo, Denied> {
    let task = tokio::spawn(async move {
        let said = say(&offline, &from, &text, to, &work).await;
        work.end(said)
    });
    Ok(task.await.map_err(|error| Fault::Internal(error.to_string()))??)
}

async fn say(
    offline: &Arc<Offline>,
    from: &Aor,
    text: &Arc<str>,
    to: Vec<Whom>,
    work: &Work,
) -> Result<BroadcastInfo, Fault> {
    let mut info = BroadcastInfo { from: from.to_string(), sent: 0, refused: Vec::new() };
    let total = to.len() as u64;
    work.at("saying it", 0, total);
    let (mut waiting, mut saying) = (to.into_iter(), JoinSet::new());
    loop {
        for (whom, canonical) in waiting.by_ref().take(SAID_AT_ONCE - saying.len()) {
            let (offline, from, text) = (offline.clone(), from.clone(), text.clone());
            saying.spawn(async move {
                let done = match canonical {
                    Ok(to) => match offline.send(&from, &to, &text).await? {
                        Ok(()) => Ok(()),
                        Err(refusal) => Err(refusal.reason.to_owned()),
                    },
                    Err(why) => Err(why),
                };
                Ok::<_, Fault>((whom, done))
            });
        }
        let Some(done) = saying.join_next().await else { break };
        match done.map_err(|error| Fault::Internal(error.to_string()))?? {
            (_, Ok(())) => info.sent += 1,
            (whom, Err(why)) if info.refused.len() < REFUSED_TOLD => {
                info.refused.push(format!("{whom}: {why}"));
            }
            _ => {}
        }
        work.add(1);
    }
    info.refused.sort_unstable();
    Ok(info)
}
