//! The doors of management, as the configuration asks for them.
//!
//! Prevents that the daemon runs without a door that somebody counts on: what cannot be opened ends the start, with
//! its name. Never serves: each door does.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::{Server, internal};
use crate::config::Config;
use crate::edge::control::{
    ControlServing, ControlSocket, Gate, HttpDoor, HttpLimits, HttpServing, MiDoors, MiServing, SocketLimits,
};
use crate::refusal::Fault;

/// How long the command that a door is at may hold up the stop.
const PATIENCE: Duration = Duration::from_secs(2);

/// Open doors.
pub(super) struct Doors {
    socket: ControlServing,
    http: Option<HttpServing>,
    mi: MiServing,
}

impl Doors {
    pub fn open(config: &Config, server: &Arc<Server>) -> Result<Doors, Fault> {
        // The socket first: it tells best that another daemon is there.
        let socket = control_socket(config, server)?;
        Ok(Doors { socket, mi: mi(config, server)?, http: http(config, server)? })
    }

    /// Takes no more commands; the files of the doors are gone then.
    pub async fn close(self) {
        let Doors { socket, http, mi } = self;
        drop(http);
        // Beside each other: each waits for the command that it is at.
        let ended = [spawn_blocking(|| drop(socket)), spawn_blocking(|| drop(mi))];
        let all = async {
            for end in ended {
                let _ = end.await;
            }
        };
        if tokio::time::timeout(PATIENCE, all).await.is_err() {
            warn!("a management command is cut off by the stop");
        }
    }
}

fn control_socket(config: &Config, server: &Arc<Server>) -> Result<ControlServing, Fault> {
    let path = config.control_socket();
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        std::fs::create_dir_all(dir).map_err(internal("run directory"))?;
    }
    let socket = ControlSocket::bind(&path).map_err(|error| {
        Fault::Internal(format!("cannot open the control socket {}: {error}", path.display()))
    })?;
    socket.start(server.clone(), SocketLimits::default()).map_err(internal("control socket"))
}

/// The MI FIFO and the datagram socket, as far as there are to be any.
fn mi(config: &Config, server: &Arc<Server>) -> Result<MiServing, Fault> {
    let (fifo, datagram) = (config.control_fifo(), config.control_datagram());
    let failed = |key: &'static str| {
        move |error| Fault::Internal(format!("cannot open {key}: {error} (\"\" there: none)"))
    };
    let doors = MiDoors::new(config.control.reply_dir.clone());
    let doors = doors.with_fifo(fifo.as_deref()).map_err(failed("control.fifo"))?;
    let doors = doors.with_datagram(datagram.as_deref()).map_err(failed("control.datagram"))?;
    doors.start(server.clone()).map_err(internal("control.fifo"))
}

/// The HTTP door, if there is to be one.
fn http(config: &Config, server: &Arc<Server>) -> Result<Option<HttpServing>, Fault> {
    let Some(address) = config.control.http else { return Ok(None) };
    let token = config.http_token().map_err(Fault::Internal)?;
    let names = config.domains.iter().chain(config.aliases.keys()).cloned();
    let failed = |error| {
        Fault::Internal(format!("cannot listen on control.http, {address}: {error} (\"\" there: no HTTP)"))
    };
    let door = HttpDoor::bind(address, Gate::new(token.as_deref(), names)).map_err(failed)?;
    info!(address = %door.address().map_err(failed)?, token = token.is_some(), "HTTP");
    door.start(server.clone(), HttpLimits::default()).map(Some).map_err(failed)
}
