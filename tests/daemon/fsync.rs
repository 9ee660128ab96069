//! A 202 leaves only after the post is on disk: seen in the system calls of the running daemon.

use std::process::Command;

use crate::chat::room;
use crate::kit::{Over, PATIENCE, Setup};

/// One line of the trace that matters here.
#[derive(Debug)]
enum Call {
    /// Bytes came in or went out; the text as strace prints it.
    Moved {
        text: String,
    },
    /// A sync of the database began, or ended well.
    SyncBegun {
        pid: String,
    },
    SyncDone {
        pid: String,
    },
}

fn read_trace(text: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut unfinished: std::collections::HashMap<String, bool> = std::collections::HashMap::new();
    for line in text.lines() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let (pid, rest) = (pid.to_string(), rest.trim_start());
        let sync = rest.starts_with("fdatasync(") || rest.starts_with("fsync(");
        let on_database = rest.contains("imcd.db");
        if sync && rest.contains("<unfinished") {
            unfinished.insert(pid.clone(), on_database);
            if on_database {
                calls.push(Call::SyncBegun { pid });
            }
        } else if sync && on_database && rest.ends_with("= 0") {
            calls.push(Call::SyncBegun { pid: pid.clone() });
            calls.push(Call::SyncDone { pid });
        } else if rest.contains("sync resumed>") && rest.ends_with("= 0") {
            if unfinished.remove(&pid).unwrap_or(false) {
                calls.push(Call::SyncDone { pid });
            }
        } else if rest.contains("SIP/2.0") {
            calls.push(Call::Moved { text: rest.to_string() });
        }
    }
    calls
}

#[test]
fn a_202_leaves_after_the_fsync_of_what_it_promises() {
    let strace = Command::new("strace").arg("-V").output();
    assert!(
        strace.is_ok_and(|o| o.status.success()),
        "strace is needed for this proof and is not installed: `make test` installs it where it may"
    );
    let setup = Setup::new();
    let trace = setup.dir().join("strace.out");
    let trace_name = trace.display().to_string();
    // -D: the daemon stays our child, strace watches from the side.
    let calls =
        "trace=fsync,fdatasync,read,readv,recvfrom,recvmsg,recvmmsg,write,writev,sendto,sendmsg,sendmmsg";
    let daemon =
        setup.wrap(&["strace", "-D", "-f", "-y", "-v", "-s", "3000", "-e", calls, "-o", &trace_name]).start();
    let (alice, bob) = (daemon.phone("alice").over(Over::Udp).registered(), daemon.tcp("bob"));
    room("team", &alice, &[&bob]);
    let mut ids = Vec::new();
    for n in 0..20 {
        for phone in [&alice, &bob] {
            let post = phone.message("team", &format!("post {n}"));
            ids.push(post.call_id.clone());
            let answer = phone.ask(post);
            assert_eq!(answer.status(), 202, "{}", answer.start);
        }
    }
    let mut daemon = daemon;
    daemon.terminate();

    // strace ends after the daemon; its file is whole when the last 202 is in it.
    let deadline = std::time::Instant::now() + PATIENCE;
    let calls = loop {
        let calls = read_trace(&String::from_utf8_lossy(&std::fs::read(&trace).unwrap()));
        let last = ids.last().unwrap();
        let is_last = |c: &Call| matches!(c, Call::Moved { text } if text.contains("SIP/2.0 202") && text.contains(last));
        if calls.iter().any(is_last) {
            break calls;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "the trace shows no 202 for the last post:\n{calls:#?}"
        );
        std::thread::yield_now();
    };
    for id in &ids {
        let of = |mark: &str| {
            let found = calls.iter().position(
                |c| matches!(c, Call::Moved { text } if text.contains(mark) && text.contains(&format!("Call-ID: {id}"))),
            );
            found.unwrap_or_else(|| panic!("the trace has no {mark:?} with Call-ID {id}"))
        };
        let (came, left) = (of("MESSAGE sip:team@"), of("SIP/2.0 202"));
        assert!(came < left, "the 202 left before the post came?");
        let synced = calls[came..left].iter().enumerate().any(|(at, begun)| match begun {
            Call::SyncBegun { pid } => calls[came + at..left]
                .iter()
                .any(|done| matches!(done, Call::SyncDone { pid: p } if p == pid)),
            _ => false,
        });
        assert!(
            synced,
            "no fsync of the database between the post {id} and its 202:\n{:#?}",
            &calls[came..=left]
        );
    }
}
