//! A binding as text for the store: a JSON object.
//!
//! Prevents that the form on disk changes with a name in the code. Never keeps the connection of a flow: it does
//! not outlive the process.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{Binding, Learned};
use crate::types::{Flow, Transport, UnixMs};

/// The form on disk. A new field needs a default: old rows do not have it.
#[derive(Serialize, Deserialize)]
struct Stored {
    contact: String,
    instance: Option<String>,
    reg_id: Option<u32>,
    q: u16,
    path: Vec<String>,
    call_id: String,
    cseq: u32,
    expires_at: UnixMs,
    /// As in Via.
    transport: String,
    listener: u16,
    local: SocketAddr,
    remote: SocketAddr,
    to: String,
    name: Option<String>,
    user_agent: Option<String>,
    accept: Vec<String>,
    methods: Option<Vec<String>>,
    updated_at: UnixMs,
    #[serde(default)]
    learned: Learned,
}

impl Binding {
    /// One line of JSON, without the connection.
    pub fn to_json(&self) -> String {
        let b = self.clone();
        let stored = Stored {
            contact: b.contact,
            instance: b.instance.map(|instance| instance.to_string()),
            reg_id: b.reg_id,
            q: b.q,
            path: b.path,
            call_id: b.call_id,
            cseq: b.cseq,
            expires_at: b.expires_at,
            transport: b.flow.transport.via().to_owned(),
            listener: b.flow.listener,
            local: b.flow.local,
            remote: b.flow.remote,
            to: b.to,
            name: b.name,
            user_agent: b.user_agent,
            accept: b.accept,
            methods: b.methods,
            updated_at: b.updated_at,
            learned: b.learned,
        };
        serde_json::to_string(&stored).expect("texts and numbers always have a JSON form")
    }

    /// `None` if the text is not what [`Binding::to_json`] wrote.
    pub fn from_json(text: &str) -> Option<Binding> {
        let s: Stored = serde_json::from_str(text).ok()?;
        let transport = [Transport::Udp, Transport::Tcp].into_iter().find(|t| t.via() == s.transport)?;
        let flow = Flow { transport, listener: s.listener, local: s.local, remote: s.remote, conn: None };
        Some(Binding {
            contact: s.contact,
            instance: s.instance.map(Into::into),
            reg_id: s.reg_id,
            q: s.q,
            path: s.path,
            call_id: s.call_id,
            cseq: s.cseq,
            expires_at: s.expires_at,
            flow,
            to: s.to,
            name: s.name,
            user_agent: s.user_agent,
            accept: s.accept,
            methods: s.methods,
            updated_at: s.updated_at,
            learned: s.learned,
        })
    }
}
