//! The Unix datagram socket: a document in, a document back to the address that the caller bound (`imc.md` §3.5).
//!
//! Prevents that a caller who does not read holds up the others. Never answers an address that is no file.

use std::io;
use std::os::unix::net::UnixDatagram as StdDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::net::UnixDatagram;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::super::deeds::Management;
use super::super::peers::{self, Peer};
use super::super::socket::SocketFile;
use super::super::table::Right;
use super::scan::{MAX_REQUEST, Request, Scanner};
use super::{asks_long, tree};

/// Longest answer, in bytes: the peers' buffer, and what their clients are ready to read.
const MAX_ANSWER: usize = 65_456;
/// A caller whose queue is full is asked again so often, after so long a pause.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);
/// Answers that are being worked at, or that wait for room in their callers' queues.
const MAX_WAITING: usize = 256;

/// The bound socket. Its file goes when it does.
#[derive(Debug)]
pub struct Datagrams {
    socket: StdDatagram,
    _file: SocketFile,
}

impl Datagrams {
    /// Binds with mode 0660; errors as [`SocketFile::bind`].
    pub fn bind(path: &Path) -> io::Result<Datagrams> {
        let (file, socket) = SocketFile::bind(path, socket2::Type::DGRAM)?;
        Ok(Datagrams { socket: std::os::fd::OwnedFd::from(socket).into(), _file: file })
    }

    pub async fn serve<M: Management>(self, management: &Arc<M>) -> io::Result<()> {
        let socket = UnixDatagram::from_std(self.socket.try_clone()?)?;
        let answers = Arc::new(self.socket);
        let mut waiting = JoinSet::new();
        let mut buffer = vec![0; MAX_REQUEST];
        loop {
            let (bytes, from) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                Err(error) => {
                    tracing::warn!(%error, "datagram socket: not readable");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            while waiting.try_join_next().is_some() {}
            let (request, path) = (&buffer[..bytes], from.as_pathname());
            if waiting.len() < MAX_WAITING && asks_long(request) {
                let (management, answers) = (management.clone(), answers.clone());
                let (request, path) = (request.to_vec(), path.map(Path::to_path_buf));
                waiting.spawn(async move {
                    if let (Some(answer), Some(path)) = (perform(&*management, &request).await, path) {
                        send_later(answers, path, answer).await;
                    }
                });
                continue;
            }
            let (Some(answer), Some(path)) = (perform(&**management, request).await, path) else { continue };
            if !sent(&answers, path, &answer) && waiting.len() < MAX_WAITING {
                waiting.spawn(send_later(answers.clone(), path.to_path_buf(), answer));
            }
        }
    }
}

/// Whether there is nothing more to do: it went, or never will.
fn sent(socket: &StdDatagram, path: &Path, answer: &[u8]) -> bool {
    match socket.send_to(answer, path) {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
        Err(error) => {
            tracing::debug!(path = %path.display(), %error, "datagram socket: answer not taken");
            true
        }
    }
}

async fn send_later(socket: Arc<StdDatagram>, path: PathBuf, answer: Vec<u8>) {
    for _ in 0..TRIES {
        if sent(&socket, &path, &answer) {
            return;
        }
        sleep(PAUSE).await;
    }
}

/// Does what a datagram asks, in the form in which it asks.
async fn perform<M: Management>(management: &M, datagram: &[u8]) -> Option<Vec<u8>> {
    let right = Right::Manage;
    if datagram.trim_ascii_start().first() == Some(&b':') {
        let mut scanner = Scanner::default();
        scanner.push(datagram);
        // The end of the datagram is the end of the request.
        scanner.push(b"\n\n");
        let Some(Request::Text { command, params, .. }) = scanner.next_request() else { return None };
        let answer = tree::answer(management, right, &command, params).await;
        return Some(if answer.len() > MAX_ANSWER { b"500 Reply too long\n".to_vec() } else { answer });
    }
    let Ok(document) = serde_json::from_slice::<Value>(datagram) else {
        // As everybody says that it is no JSON.
        return peers::answer(management, right, Peer::OpenSips, datagram).await;
    };
    let peer = document.get("method").and_then(Value::as_str).map_or(Peer::Kamailio, Peer::of);
    let id = document.get("id").cloned();
    let answer = peers::answer_value(management, right, peer, document).await?;
    Some(if answer.len() > MAX_ANSWER { peers::too_long(peer, id) } else { answer })
}
