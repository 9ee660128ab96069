//! An answer that goes on: what is followed, line by line.
//!
//! Prevents that a follower's connection is cut for its age, that one who is gone is kept, and that one holds up the stop.
//! Never keeps what a follower does not take: that is lost where it is counted.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::body::Frame;
use hyper::header::CONTENT_TYPE;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use crate::edge::control::follow::{Overheard, notification};

/// After so long a silence comes an empty line: who is gone is found out by it.
const SILENCE: Duration = Duration::from_secs(5);

/// The connection that a request came by.
#[derive(Clone)]
pub(super) struct Caller {
    /// How many answers on it go on.
    pub following: watch::Sender<usize>,
    /// Ends when the door closes.
    pub stopped: watch::Receiver<()>,
}

/// A connection with this lives as long as it does.
struct Place(watch::Sender<usize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// `answer`, and then a line for all that is heard.
pub(super) fn told(answer: Vec<u8>, mut heard: mpsc::Receiver<Overheard>, caller: Caller) -> Response {
    let Caller { following, mut stopped } = caller;
    following.send_modify(|count| *count += 1);
    let place = Place(following);
    let (line, lines) = mpsc::channel::<Bytes>(1);
    tokio::spawn(async move {
        let mut next = answer;
        loop {
            next.push(b'\n');
            if line.send(next.into()).await.is_err() {
                return;
            }
            next = tokio::select! {
                // Nothing is ever sent: it ends when the other side is dropped.
                _ = stopped.changed() => return,
                () = line.closed() => return,
                () = sleep(SILENCE) => Vec::new(),
                heard = heard.recv() => match heard {
                    Some(heard) => notification(&heard),
                    None => return,
                },
            };
        }
    });
    let lines = Body::new(Lines { lines, _place: place });
    (StatusCode::OK, [(CONTENT_TYPE, "application/x-ndjson")], lines).into_response()
}

struct Lines {
    lines: mpsc::Receiver<Bytes>,
    _place: Place,
}

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.lines.poll_recv(context).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}
