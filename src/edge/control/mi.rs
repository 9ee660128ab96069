//! The doors of OpenSER, OpenSIPS and Kamailio on this machine: the MI FIFO, and the Unix datagram socket.
//!
//! Prevents that scripts and tools which manage those servers find nothing here, and that callers of these doors cost
//! the chat anything: they have a thread of their own. Requests are done one after the other, as they come, but for
//! those that take long; answers wait for their readers by themselves. Never takes more than its bounds of a caller who sends without end.

mod datagram;
mod fifo;
mod reply;
mod scan;
mod tree;

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

use self::datagram::Datagrams;
use self::fifo::Fifo;
use self::reply::{Replies, is_name};
use self::scan::{Request, Scanner};
use super::deeds::Management;
use super::peers::{self, Peer};
use super::table::{self, Command, Right};

/// How long half a request may wait for the rest while its writer has the FIFO open: he may be typing it.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often is looked whether the FIFO is still there, as OpenSIPS does; longer than [`PATIENCE`], which a look lets
/// begin again.
const LOOK: Duration = Duration::from_secs(30);

/// Commands that take long and are done beside the others; one more waits its turn like any other.
const LONG_MAX: usize = 8;

/// The doors, made and not yet served.
#[derive(Debug)]
pub struct MiDoors {
    fifo: Option<(Fifo, File)>,
    datagram: Option<Datagrams>,
    reply_dir: PathBuf,
}

/// Serves until it is dropped; then the files go.
#[derive(Debug)]
pub struct MiServing {
    stop: Option<watch::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for MiServing {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It ends with the command that it is at. If that one panicked, the files went with it.
            let _ = thread.join();
        }
    }
}

impl MiDoors {
    /// Answers go to FIFOs in `reply_dir`.
    pub fn new(reply_dir: PathBuf) -> MiDoors {
        MiDoors { fifo: None, datagram: None, reply_dir }
    }

    /// Makes the FIFO, if there is a path for it. `AddrInUse` if somebody reads it, `AlreadyExists` if something else
    /// is there.
    pub fn with_fifo(mut self, path: Option<&Path>) -> io::Result<MiDoors> {
        self.fifo = path.map(Fifo::make).transpose()?;
        Ok(self)
    }

    /// Binds the datagram socket, if there is a path for it. Errors as [`MiDoors::with_fifo`].
    pub fn with_datagram(mut self, path: Option<&Path>) -> io::Result<MiDoors> {
        self.datagram = path.map(Datagrams::bind).transpose()?;
        Ok(self)
    }

    /// Begins to serve, on a thread of its own. Whoever may write there has [`Right::Manage`]: the files' mode is
    /// the lock.
    pub fn start<M: Management>(self, management: Arc<M>) -> io::Result<MiServing> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, mut stopped) = watch::channel(());
        let MiDoors { fifo, datagram, reply_dir } = self;
        let thread = std::thread::Builder::new().name("mi".into()).spawn(move || {
            runtime.block_on(async {
                let fifo = async {
                    let Some((fifo, file)) = fifo else { return std::future::pending().await };
                    if let Err(error) = serve_fifo(&management, fifo, file, reply_dir).await {
                        tracing::error!(%error, "the FIFO is served no more");
                    }
                };
                let datagram = async {
                    let Some(socket) = datagram else { return std::future::pending().await };
                    if let Err(error) = socket.serve(&management).await {
                        tracing::error!(%error, "the datagram socket is served no more");
                    }
                };
                tokio::select! {
                    // Nothing is ever sent: it ends when the other side is dropped.
                    _ = stopped.changed() => {}
                    _ = async { tokio::join!(fifo, datagram) } => {}
                }
            });
            runtime.shutdown_background();
        })?;
        Ok(MiServing { stop: Some(stop), thread: Some(thread) })
    }
}

async fn serve_fifo<M: Management>(
    management: &Arc<M>,
    mut fifo: Fifo,
    file: File,
    reply_dir: PathBuf,
) -> io::Result<()> {
    let mut end = pipe::Receiver::from_file(file)?;
    let mut replies = Replies::new(reply_dir, fifo.group);
    let mut scanner = Scanner::default();
    let mut long: JoinSet<Option<(String, Vec<u8>)>> = JoinSet::new();
    let mut chunk = vec![0; 64 * 1024];
    let mut looks = interval_at(Instant::now() + LOOK, LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let read = tokio::select! {
            read = timeout(PATIENCE, end.read(&mut chunk)) => read,
            _ = looks.tick() => {
                if !fifo.is_there() {
                    end = again(&mut fifo).await?;
                }
                continue;
            }
            Some(done) = long.join_next() => {
                if let Ok(Some((reply, answer))) = done {
                    replies.send(&reply, answer);
                }
                continue;
            }
        };
        match read {
            Ok(Ok(0)) => {
                // All who wrote are gone. Until the next one comes, this end would tell the same again and again.
                scanner.give_up();
                end = again(&mut fifo).await?;
            }
            Ok(Ok(bytes)) => scanner.push(&chunk[..bytes]),
            Ok(Err(error)) => {
                tracing::warn!(%error, "FIFO: not readable");
                sleep(Duration::from_millis(100)).await;
                end = again(&mut fifo).await?;
            }
            Err(_) => scanner.give_up(),
        }
        while let Some(request) = scanner.next_request() {
            if long.len() < LONG_MAX && takes_long(&request) {
                let management = management.clone();
                long.spawn(async move { perform(&*management, request).await });
            } else if let Some((reply, answer)) = perform(&**management, request).await {
                replies.send(&reply, answer);
            }
            // Many requests at once are no reason not to stop when told to.
            tokio::task::yield_now().await;
        }
    }
}

/// Whether it is not to hold up those behind it.
fn takes_long(request: &Request) -> bool {
    match request {
        Request::Text { command, .. } => table::find(command).is_some_and(Command::takes_long),
        Request::Json { document, .. } => asks_long(document),
    }
}

/// The same of a document.
fn asks_long(document: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Asks<'a> {
        #[serde(borrow)]
        method: Cow<'a, str>,
    }
    let asks: Result<Asks, _> = serde_json::from_slice(document);
    asks.is_ok_and(|asks| table::find(&asks.method).is_some_and(Command::takes_long))
}

/// Another reading end, when there can be one.
async fn again(fifo: &mut Fifo) -> io::Result<pipe::Receiver> {
    let mut told = false;
    loop {
        match fifo.reopen() {
            Ok(file) => return pipe::Receiver::from_file(file),
            Err(error) if told => tracing::debug!(%error, "FIFO: still not to be made"),
            Err(error) => {
                told = true;
                tracing::error!(%error, "the FIFO cannot be made anew; tried again until it can");
            }
        }
        sleep(Duration::from_secs(1)).await;
    }
}

/// Without a reply name it is done in silence; with a bad one it is not done.
fn may_reply(name: &str) -> bool {
    name.is_empty() || is_name(name)
}

/// Does one request; where its answer goes, and the answer.
async fn perform<M: Management>(management: &M, request: Request) -> Option<(String, Vec<u8>)> {
    let right = Right::Manage;
    let (reply, answer) = match request {
        Request::Text { reply, .. } | Request::Json { reply, .. } if !may_reply(&reply) => return None,
        Request::Text { command, reply, params } => {
            let answer = tree::answer(management, right, &command, params).await;
            (reply, Some(answer))
        }
        Request::Json { peer: Peer::Kamailio, document, .. } => {
            // What is no JSON has no reply name either.
            let document: Value = serde_json::from_slice(&document).ok()?;
            let reply = document.get("reply_name").and_then(Value::as_str).unwrap_or_default().to_owned();
            if !may_reply(&reply) {
                return None;
            }
            (reply, peers::answer_value(management, right, Peer::Kamailio, document).await)
        }
        Request::Json { peer, reply, document } => {
            (reply, peers::answer(management, right, peer, &document).await)
        }
    };
    answer.filter(|_| !reply.is_empty()).map(|answer| (reply, answer))
}
