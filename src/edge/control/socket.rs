//! The Unix stream socket of management: JSON documents in, an answer and a newline out for each.
//!
//! Prevents a socket that others may open, one that a crash leaves behind for ever, and one that a forgotten
//! client keeps busy. Never replaces the socket of a living daemon. Whoever may open it has [`Right::Manage`]:
//! the file's mode is the lock.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::stat::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::deeds::Management;
use super::follow;
use super::frame::Frames;
use super::rpc;
use super::table::Right;

/// What clients of the socket may use.
#[derive(Clone, Copy, Debug)]
pub struct SocketLimits {
    /// Open connections.
    pub connections: usize,
    /// A connection that says nothing, or takes no answer, for so long is closed.
    pub idle: Duration,
}

impl Default for SocketLimits {
    fn default() -> SocketLimits {
        SocketLimits { connections: 64, idle: Duration::from_secs(300) }
    }
}

/// How long running commands may take to end after [`ControlSocket::serve`] was told to stop.
const DRAIN: Duration = Duration::from_secs(2);

/// The file of a bound socket. It goes when this does.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode: the file is removed only if it is still this one.
    identity: (u64, u64),
}

impl SocketFile {
    /// Binds with mode 0660. A file left by a dead daemon is replaced;
    /// `AddrInUse` if somebody listens, `AlreadyExists` if something else than a socket is there.
    pub fn bind(path: &Path, kind: Type) -> io::Result<(SocketFile, Socket)> {
        clear_the_way(path, kind)?;
        let socket = Socket::new(Domain::UNIX, kind.nonblocking().cloexec(), None)?;
        // The file is made with the mode of the socket, less the umask: at no time may others open it.
        fchmod(&socket, Mode::from_bits_truncate(0o660))?;
        socket.bind(&SockAddr::unix(path)?)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
        let meta = fs::symlink_metadata(path)?;
        Ok((SocketFile { path: path.to_path_buf(), identity: (meta.dev(), meta.ino()) }, socket))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.identity);
        if ours {
            // Nothing is lost if it stays: the next start replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The bound socket. Its file goes when it does.
#[derive(Debug)]
pub struct ControlSocket {
    listener: StdListener,
    _file: SocketFile,
}

/// Serves until it is dropped; then the file goes.
#[derive(Debug)]
pub struct ControlServing {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for ControlServing {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It ends when its commands do, or [`DRAIN`] later. If it panicked, the file went with it.
            let _ = thread.join();
        }
    }
}

impl ControlSocket {
    /// Binds with mode 0660. A file left by a dead daemon is replaced; `AddrInUse` if somebody listens,
    /// `AlreadyExists` if something else than a socket is there.
    pub fn bind(path: &Path) -> io::Result<ControlSocket> {
        let (file, socket) = SocketFile::bind(path, Type::STREAM)?;
        // Nobody can connect before listen(): so nobody slips in before the mode is right.
        socket.listen(64)?;
        Ok(ControlSocket { listener: std::os::fd::OwnedFd::from(socket).into(), _file: file })
    }

    /// Begins to serve, on a thread of its own: a long list delays other callers of the door and nobody else.
    pub fn start<M: Management>(
        self,
        management: Arc<M>,
        limits: SocketLimits,
    ) -> io::Result<ControlServing> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("control".into()).spawn(move || {
            // Nothing is ever sent: it is ready when the other side is dropped.
            let served = self.serve(management, limits, async { drop(stopped.await) });
            if let Err(error) = runtime.block_on(served) {
                tracing::error!(%error, "the control socket is not served");
            }
            runtime.shutdown_background();
        })?;
        Ok(ControlServing { stop: Some(stop), thread: Some(thread) })
    }

    /// Serves until `stop` is ready, then lets running commands end.
    pub async fn serve<M: Management>(
        self,
        management: Arc<M>,
        limits: SocketLimits,
        stop: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let listener = UnixListener::from_std(self.listener)?;
        let places = Arc::new(Semaphore::new(limits.connections));
        let (stopping, stopped) = watch::channel(false);
        let mut clients = JoinSet::new();
        tokio::pin!(stop);
        loop {
            let stream = tokio::select! {
                () = &mut stop => break,
                Some(_) = clients.join_next() => continue,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(e) => {
                        tracing::warn!(error = %e, "control socket: accept failed");
                        // Out of file descriptors, most likely: do not spin until some are free.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            let Ok(place) = places.clone().try_acquire_owned() else {
                refuse(&stream);
                continue;
            };
            let (management, stopped) = (management.clone(), stopped.clone());
            clients.spawn(async move {
                if let Err(e) = converse(stream, &*management, limits.idle, stopped).await {
                    tracing::debug!(error = %e, "control socket: connection ended");
                }
                drop(place);
            });
        }
        stopping.send_replace(true);
        let drained = timeout(DRAIN, async { while clients.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            tracing::warn!("control socket: commands cut off by the stop");
        }
        Ok(())
    }
}

fn clear_the_way(path: &Path, kind: Type) -> io::Result<()> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    let told = |kind, what: &str| Err(io::Error::new(kind, format!("{}: {what}", path.display())));
    if !meta.file_type().is_socket() {
        return told(io::ErrorKind::AlreadyExists, "is there already and is not a socket");
    }
    match Socket::new(Domain::UNIX, kind.cloexec(), None)?.connect(&SockAddr::unix(path)?) {
        Ok(()) => told(io::ErrorKind::AddrInUse, "another daemon listens there"),
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(e) => told(e.kind(), "cannot tell whether a daemon listens there"),
    }
}

/// Tells a client beyond the limit why it is not served; as far as that goes without waiting.
fn refuse(stream: &UnixStream) {
    tracing::warn!("control socket: too many connections");
    let mut line = rpc::too_many();
    line.push(b'\n');
    let _ = stream.try_write(&line);
}

async fn converse<M: Management>(
    mut stream: UnixStream,
    management: &M,
    idle: Duration,
    mut stopped: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut frames = Frames::default();
    let mut chunk = vec![0; 16 * 1024];
    loop {
        let document = match frames.next_document() {
            Ok(document) => document,
            Err(_) => return send(&mut stream, rpc::too_long(), idle).await,
        };
        if let Some(document) = document {
            if let Some(asked) = follow::asked(&document, || management.default_domain()) {
                let (answer, heard) = follow::start(management, asked).await;
                send(&mut stream, answer, idle).await?;
                match heard {
                    Some(heard) => return follow::tell(&mut stream, heard, idle, stopped).await,
                    None => continue,
                }
            }
            if let Some(reply) = rpc::answer(management, Right::Manage, &document).await {
                send(&mut stream, reply, idle).await?;
            }
            if *stopped.borrow() {
                return Ok(());
            }
            continue;
        }
        let read = tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return Ok(()),
            read = timeout(idle, stream.read(&mut chunk)) => read,
        };
        match read {
            Err(_) => return Ok(()),
            Ok(Ok(0)) => break,
            Ok(read) => frames.push(&chunk[..read?]),
        }
    }
    // A client may shut its side instead of ending the line.
    if let Some(document) = frames.rest()
        && let Some(reply) = rpc::answer(management, Right::Manage, &document).await
    {
        send(&mut stream, reply, idle).await?;
    }
    Ok(())
}

pub(super) async fn send(stream: &mut UnixStream, mut reply: Vec<u8>, idle: Duration) -> io::Result<()> {
    reply.push(b'\n');
    timeout(idle, stream.write_all(&reply)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
