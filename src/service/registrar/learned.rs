//! What phones have shown of themselves: media types that they send, list and refuse.
//!
//! Prevents that a phone is offered again what it refused, also by the next run. Forgotten with the User-Agent.

use std::sync::{Arc, PoisonError};

use tracing::warn;

use super::{KINDS, Registered, Registrar, key_of, read, same_place, stored, write};
use crate::chat::phones::Takes;
use crate::registration::Binding;
use crate::types::{AccountId, Aor, Flow};

impl Registrar {
    /// A phone has sent these media types, or said that it takes them.
    pub async fn heard(&self, who: &Aor, flow: &Flow, types: Vec<String>) {
        let Some(known) = self.known(who) else { return };
        let is_it = |binding: &Binding| same_place(&binding.flow, flow);
        let news = |binding: &Binding| is_it(binding) && binding.learned.clone().add(&types, &[]);
        if !read(&known.state).bindings.iter().any(news) {
            return;
        }
        self.learn(who, &known, is_it, &types, &[]).await;
    }

    /// A contact has refused a media type; `accept`: those it takes, comma-separated.
    pub async fn refused(&self, account: AccountId, contact: &str, refuses: String, accept: Option<&str>) {
        let Some(who) = self.by_id.get(&account).map(|who| who.clone()) else { return };
        let Some(known) = self.known(&who) else { return };
        let listed = accept.unwrap_or_default().split(", ");
        let takes: Vec<String> =
            listed.filter(|kind| !kind.is_empty() && *kind != refuses).map(str::to_owned).collect();
        self.learn(&who, &known, |binding| *key_of(binding) == *contact, &takes, &[refuses]).await;
    }

    /// Keeps what was learned of a binding, in memory and for the next run, and tells delivery.
    async fn learn(
        &self,
        who: &Aor,
        known: &Registered,
        is_it: impl Fn(&Binding) -> bool,
        takes: &[String],
        refuses: &[String],
    ) {
        let _turn = known.gate.lock().await;
        let list = {
            let mut state = write(&known.state);
            let mut news = false;
            for binding in state.bindings.iter_mut().filter(|binding| is_it(binding)) {
                news |= binding.learned.add(takes, refuses);
            }
            if !news {
                return;
            }
            state.bindings.iter().map(stored).collect()
        };
        // Lost, it is learned again.
        let told = self.store.bind(who, list, Vec::new()).await.map(drop).and_then(|()| self.reach(who, &[]));
        if let Err(fault) = told {
            warn!(account = %who, %fault, "what a phone takes is not kept");
        }
    }

    pub(super) fn takes(&self, binding: &Binding) -> Arc<Takes> {
        let (listed, learned) = (&binding.accept, &binding.learned);
        let takes = listed.iter().chain(&learned.takes).map(String::as_str);
        let takes =
            Takes::new(binding.user_agent.as_deref(), takes, learned.refuses.iter().map(String::as_str));
        let mut kinds = self.phones.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kinds.get(&takes) {
            return known.clone();
        }
        let takes = Arc::new(takes);
        if kinds.len() < KINDS {
            kinds.insert(takes.clone());
        }
        takes
    }
}
