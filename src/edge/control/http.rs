//! The HTTP door of management: JSON-RPC, the peers' forms of it, metrics, health, pictures.
//!
//! Prevents that a slow, greedy or hostile caller costs the chat anything: the door has a thread of its own, a bound
//! on connections, sizes and times. Never speaks TLS, never lets another site's page in: see [`gate`].

mod gate;
mod metrics;
mod pages;
mod stream;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::stream::Caller;
use super::deeds::Management;
pub use gate::Gate;

/// What callers may use.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// Open connections.
    pub connections: usize,
    /// Open connections from one address that is not loopback.
    pub from_one: usize,
    /// For the head of a request, also of the next one of the connection.
    pub head: Duration,
    /// For its body.
    pub body: Duration,
    /// For a connection as a whole; what is being answered then may end.
    pub life: Duration,
}

impl Default for HttpLimits {
    fn default() -> HttpLimits {
        HttpLimits {
            connections: 128,
            from_one: 32,
            head: Duration::from_secs(10),
            body: Duration::from_secs(10),
            life: Duration::from_secs(120),
        }
    }
}

/// How long a request may go on after its connection was told to end.
const GRACE: Duration = Duration::from_secs(2);
/// Bytes of a request's head.
const HEAD_MAX: usize = 16 * 1024;

/// The bound address.
#[derive(Debug)]
pub struct HttpDoor {
    listener: std::net::TcpListener,
    gate: Gate,
}

/// Serves until it is dropped.
#[derive(Debug)]
pub struct HttpServing {
    /// Its end is the sign to stop.
    _stop: watch::Sender<()>,
}

impl HttpDoor {
    /// Binds `address`. Whoever `gate` lets in manages the server.
    pub fn bind(address: SocketAddr, gate: Gate) -> io::Result<HttpDoor> {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
        // Connections of the daemon before us may linger on the port.
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(256)?;
        Ok(HttpDoor { listener: socket.into(), gate })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Begins to serve, on a thread of its own: a listing of a hundred thousand rooms delays other callers of the
    /// door and nobody else.
    pub fn start<M: Management>(self, management: Arc<M>, limits: HttpLimits) -> io::Result<HttpServing> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = watch::channel(());
        std::thread::Builder::new().name("http".into()).spawn(move || {
            runtime.block_on(self.serve(management, limits, stopped));
        })?;
        Ok(HttpServing { _stop: stop })
    }

    async fn serve<M: Management>(
        self,
        management: Arc<M>,
        limits: HttpLimits,
        mut stopped: watch::Receiver<()>,
    ) {
        let listener = match TcpListener::from_std(self.listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "the HTTP door does not open"),
        };
        let pages = pages::routes(management, self.gate, limits.body);
        let places = Places::default();
        let mut callers = JoinSet::new();
        loop {
            let (stream, from) = tokio::select! {
                // Nothing is ever sent: it ends when the other side is dropped.
                _ = stopped.changed() => break,
                Some(_) = callers.join_next() => continue,
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, "HTTP: accept failed");
                        // Out of file descriptors, most likely: do not spin until some are free.
                        sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            let Some(place) = places.take(from.ip(), limits) else {
                refuse(&stream);
                continue;
            };
            let (pages, stopped) = (pages.clone(), stopped.clone());
            callers.spawn(async move {
                converse(stream, pages, limits, stopped).await;
                drop(place);
            });
        }
        // What is not answered by then is cut off.
        let _ = timeout(GRACE, async { while callers.join_next().await.is_some() {} }).await;
    }
}

async fn converse(stream: TcpStream, pages: Router, limits: HttpLimits, mut stopped: watch::Receiver<()>) {
    // Answers are small and written at once: to wait for more would only delay them.
    let _ = stream.set_nodelay(true);
    let (following, mut followed) = watch::channel(0);
    let caller = Caller { following, stopped: stopped.clone() };
    let pages = TowerToHyperService::new(pages);
    let pages = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(caller.clone());
        pages.call(request)
    });
    let life = async {
        sleep(limits.life).await;
        // What is followed has no end of its own.
        let _ = followed.wait_for(|count| *count == 0).await;
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD_MAX)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), pages);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = life => None,
        _ = stopped.changed() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            timeout(GRACE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "HTTP: connection ended");
    }
}

/// Tells a caller beyond the limit why it is not served; as far as that goes without waiting.
fn refuse(stream: &TcpStream) {
    tracing::debug!("HTTP: too many connections");
    let _ = stream.try_write(
        b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    );
}

/// Who has how many connections.
#[derive(Clone, Default)]
struct Places(Arc<Mutex<HashMap<IpAddr, usize>>>);

struct Place {
    places: Places,
    of: IpAddr,
}

impl Places {
    fn take(&self, of: IpAddr, limits: HttpLimits) -> Option<Place> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = taken.values().sum();
        let own = taken.get(&of).copied().unwrap_or(0);
        if all >= limits.connections || (own >= limits.from_one && !of.is_loopback()) {
            return None;
        }
        taken.insert(of, own + 1);
        Some(Place { places: self.clone(), of })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.of) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_does_not_take_every_place_and_a_place_comes_back() {
        let limits = HttpLimits { connections: 5, from_one: 2, ..HttpLimits::default() };
        let places = Places::default();
        let [far, other, near] = [[192, 0, 2, 1], [192, 0, 2, 2], [127, 0, 0, 1]].map(IpAddr::from);
        let first = places.take(far, limits).unwrap();
        let _second = places.take(far, limits).unwrap();
        assert!(places.take(far, limits).is_none());
        let _third = places.take(other, limits).unwrap();
        drop(first);
        let _again = places.take(far, limits).unwrap();
        // Loopback has the rest of them: behind a proxy everybody comes from there.
        let near: Vec<_> = (0..4).map_while(|_| places.take(near, limits)).collect();
        assert_eq!(near.len(), 2);
        assert!(places.take(other, limits).is_none());
        drop(near);
        assert_eq!(places.0.lock().unwrap().len(), 2, "who has none is not remembered");
    }
}
