//! Bindings that end without a REGISTER: expired, dropped by an administrator, gone with their account.
//!
//! Prevents that a way is used that nobody is behind any more, and that a connection is held open for nobody. Never
//! takes a device's position away: whoever registers again gets what waits.

use tracing::{debug, warn};

use super::{Arc, Registered, Registrar, read, stored, write};
use crate::refusal::Fault;
use crate::registration::Binding;
use crate::types::Aor;

impl Registrar {
    /// Lets expired bindings go. Called every second or so.
    pub async fn expire(&self) {
        let now = self.clock.steady();
        let stale: Vec<(Aor, Arc<Registered>)> = self
            .accounts
            .iter()
            .filter(|entry| read(&entry.value().state).bindings.iter().any(|b| b.expires_at <= now))
            .map(|entry| (entry.key().clone(), entry.value().clone()))
            .collect();
        for (who, known) in stale {
            // Somebody registers right now: next time.
            let Ok(_turn) = known.gate.try_lock() else { continue };
            match self.let_go(&who, &known, |binding| binding.expires_at > now).await {
                Ok(gone) => debug!(account = %who, expired = gone.len(), "bindings expired"),
                Err(fault) => warn!(account = %who, %fault, "cannot tell delivery of expired bindings"),
            }
            self.prune(&who);
        }
    }

    /// Lets go of all bindings of an account that goes; on disk they go with it.
    pub async fn forget(&self, who: &Aor) -> Result<(), Fault> {
        let Some(known) = self.known(who) else { return Ok(()) };
        let _turn = known.gate.lock().await;
        self.let_go(who, &known, |_| false).await?;
        self.prune(who);
        Ok(())
    }

    /// Drops the bindings of `who` with this contact, or all, until their phones register again: on disk, then for
    /// delivery. Tells which they were.
    pub async fn drop_bindings(&self, who: &Aor, contact: Option<&str>) -> Result<Vec<Binding>, Fault> {
        let Some(known) = self.known(who) else { return Ok(Vec::new()) };
        let _turn = known.gate.lock().await;
        let now = self.clock.steady();
        let goes = |binding: &Binding| contact.is_none_or(|contact| binding.contact == contact);
        let stays = |binding: &Binding| binding.expires_at > now && !goes(binding);
        if self.current(who).iter().any(goes) {
            let left = self.current(who).iter().filter(|binding| stays(binding)).map(stored).collect();
            self.store.bind(who, left, Vec::new()).await?;
        }
        let mut gone = self.let_go(who, &known, stays).await?;
        gone.retain(goes);
        self.prune(who);
        Ok(gone)
    }

    /// Every account with live bindings, and these.
    pub fn all(&self) -> Vec<(Aor, Vec<Binding>)> {
        let everybody: Vec<Aor> = self.accounts.iter().map(|entry| entry.key().clone()).collect();
        let bound = everybody.into_iter().map(|who| (self.current(&who), who));
        bound.filter(|(bindings, _)| !bindings.is_empty()).map(|(bindings, who)| (who, bindings)).collect()
    }

    /// Keeps of the bindings those that `stays` says, and tells whoever cares. The caller holds the gate.
    async fn let_go(
        &self,
        who: &Aor,
        known: &Registered,
        stays: impl Fn(&Binding) -> bool,
    ) -> Result<Vec<Binding>, Fault> {
        let (id, before, after) = {
            let mut state = write(&known.state);
            let before = state.bindings.clone();
            state.bindings.retain(&stays);
            (state.id, before, state.bindings.clone())
        };
        self.watch_flows(who, &before, &after);
        if let Some(id) = id.filter(|_| self.proxy.is_some() && after.is_empty()) {
            self.delivery.close(id).await;
        }
        self.reach(who, &[])?;
        Ok(before.into_iter().filter(|binding| !stays(binding)).collect())
    }
}
