//! `tail`: one answer, then a notification for each thing that is said, until somebody hangs up.
//!
//! Prevents a connection that is kept for a follower who is gone. Never shows what people write to each other: only
//! that they do.

use std::future::Future;
use std::io;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};

use super::deeds::{Denied, Management};
use super::rpc::{self, RpcError};
use super::socket::send;
use super::values::Values;
use crate::types::Aor;

/// Something that was said, as management overhears it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Overheard {
    /// In the server's time zone; empty for `lost`.
    pub at: String,
    /// `post`: somebody in a room. `notice`: a room, to all in it. `direct`: to one person. `lost`: what did not fit.
    pub kind: &'static str,
    /// The room it was said in; empty: none.
    pub room: String,
    /// `user@domain`; empty for what a room says to all in it.
    pub from: String,
    /// `user@domain`, for what is said to one person.
    pub to: String,
    /// Empty for what is said to one person.
    pub text: String,
    /// How many were lost here, because the follower was too slow.
    #[serde(skip_serializing_if = "is_zero")]
    pub lost: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// What is said can be followed.
pub trait Following: Send + Sync + 'static {
    /// From now on: one room, or the whole server. It ends when the receiver is dropped.
    fn tail(
        &self,
        room: Option<Aor>,
    ) -> impl Future<Output = Result<mpsc::Receiver<Overheard>, Denied>> + Send;
}

/// A request for it.
pub(super) struct Asked {
    id: Value,
    room: Result<Option<Aor>, RpcError>,
}

/// Whether this document asks for `tail` and wants an answer.
pub(super) fn asked(document: &[u8], default_domain: impl FnOnce() -> String) -> Option<Asked> {
    // Most documents are something else, and are not to be read twice.
    memchr::memmem::find(document, b"\"tail\"")?;
    let request: Value = serde_json::from_slice(document).ok()?;
    let named = request["jsonrpc"] == "2.0" && request["method"] == "tail";
    let id = request.get("id").filter(|id| matches!(id, Value::String(_) | Value::Number(_)))?.clone();
    named.then(|| {
        let room = rpc::call("tail", request.get("params")).and_then(|call| {
            let values = Values::check(call.command, call.given, default_domain());
            Ok(values.map_err(rpc::invalid_params)?.address(0))
        });
        Asked { id, room }
    })
}

/// The answer, and if it is a yes, what will be heard.
pub(super) async fn start<M: Management>(
    management: &M,
    asked: Asked,
) -> (Vec<u8>, Option<mpsc::Receiver<Overheard>>) {
    let Asked { id, room } = asked;
    let heard = match room {
        Ok(room) => {
            let following = room.as_ref().map(ToString::to_string).unwrap_or_default();
            management.tail(room).await.map(|heard| (heard, following)).map_err(RpcError::from)
        }
        Err(error) => Err(error),
    };
    let (answer, heard) = match heard {
        Ok((heard, following)) => {
            (json!({ "jsonrpc": "2.0", "result": { "following": following }, "id": id }), Some(heard))
        }
        Err(error) => (rpc::failed(id, error), None),
    };
    (answer.to_string().into_bytes(), heard)
}

/// Tells what is said until the client speaks or goes, or `stopped` says so.
pub(super) async fn tell(
    stream: &mut UnixStream,
    mut heard: mpsc::Receiver<Overheard>,
    idle: Duration,
    mut stopped: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut word = [0; 1];
    loop {
        let line = tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return Ok(()),
            spoken = stream.read(&mut word) => match spoken {
                // The end of the line that asked: some write it by itself.
                Ok(1) if word[0].is_ascii_whitespace() => continue,
                other => return other.map(drop),
            },
            line = heard.recv() => line,
        };
        let Some(line) = line else { return Ok(()) };
        send(stream, notification(&line), idle).await?;
    }
}

/// What is said, as followers are told of it.
pub(super) fn notification(line: &Overheard) -> Vec<u8> {
    json!({ "jsonrpc": "2.0", "method": "tail", "params": line }).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

    #[tokio::test]
    async fn the_end_of_the_line_that_asked_may_come_late_and_a_word_ends_it() {
        let (client, mut stream) = UnixStream::pair().unwrap();
        let (told, heard) = mpsc::channel(4);
        let (_running, stopped) = watch::channel(false);
        let telling =
            tokio::spawn(async move { tell(&mut stream, heard, Duration::from_secs(60), stopped).await });
        let mut client = BufReader::new(client);
        client.write_all(b"\r\n").await.unwrap();
        for _ in 0..2 {
            told.send(Overheard { kind: "post", ..Overheard::default() }).await.unwrap();
            let mut line = String::new();
            client.read_line(&mut line).await.unwrap();
            assert!(line.contains("post"), "{line}");
            client.write_all(b"\n").await.unwrap();
        }
        client.write_all(b"{").await.unwrap();
        telling.await.unwrap().unwrap();
        assert!(told.is_closed());
    }
}
