//! A storm of changes of state: few words, in each dialog one at a time, and the truth at the end.
//!
//! All watchers are on one socket, which answers a NOTIFY only when nothing more comes: a second one in a dialog whose
//! first has no answer would be seen, however fast the daemon or the machine.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::kit::sip::{param, uri_of};
use crate::kit::watch::pidf;
use crate::kit::wire::Datagrams;
use crate::kit::{Daemon, Msg, Over, PATIENCE, Phone, Req, Setup, long_form};
use crate::presence::saved;

/// Silence after which all that has come is answered.
const QUIET: Duration = Duration::from_millis(2);
/// What has no answer is sent again after this long.
const AGAIN: Duration = Duration::from_millis(500);

/// One subscription.
#[derive(Default)]
struct Dialog {
    request: Option<Req>,
    answered: bool,
    /// Branch of its NOTIFY that has no answer yet.
    open: Option<String>,
    /// Branches and CSeqs of those that came.
    told: Vec<(String, u32)>,
    /// The last document, and the last Subscription-State.
    shown: String,
    state: String,
}

struct Watchers {
    socket: Datagrams,
    dialogs: Vec<Dialog>,
    names: HashMap<String, usize>,
    answers: Vec<Vec<u8>>,
}

impl Watchers {
    fn new(daemon: &Daemon) -> Watchers {
        let socket = Datagrams::new(daemon.addr);
        Watchers { socket, dialogs: Vec::new(), names: HashMap::new(), answers: Vec::new() }
    }

    fn subscribe(&mut self, watcher: usize, whom: &str) {
        let (local, me) = (self.socket.local(), format!("watcher{watcher}"));
        let request = Req::new("SUBSCRIBE", whom, &format!("sip:{me}@example.org"))
            .header("Event: presence")
            .header("Expires: 600")
            .header(&format!("Contact: <sip:{me}@{local}>"));
        self.names.insert(request.call_id.clone(), self.dialogs.len());
        let at = self.dialogs.len();
        self.dialogs.push(Dialog::default());
        self.ask(at, request);
    }

    /// Ends the subscription, in its dialog.
    fn unsubscribe(&mut self, at: usize) {
        let mut request = self.dialogs[at].request.take().unwrap().again();
        request.headers.retain(|line| !line.starts_with("Expires"));
        self.ask(at, request.header("Expires: 0"));
    }

    /// Sends until it is answered 200.
    fn ask(&mut self, at: usize, request: Req) {
        let bytes = request.bytes(Over::Udp, self.socket.local(), None);
        self.dialogs[at].request = Some(request);
        self.dialogs[at].answered = false;
        let begun = Instant::now();
        while !self.dialogs[at].answered {
            assert!(begun.elapsed() < PATIENCE, "a SUBSCRIBE is not answered");
            self.socket.send(&bytes);
            let sent = Instant::now();
            while !self.dialogs[at].answered && sent.elapsed() < AGAIN {
                self.turn();
            }
        }
    }

    /// Reads until nothing more comes, then answers all of it.
    fn turn(&mut self) {
        while let Some(datagram) = self.socket.receive(QUIET) {
            let msg = Msg::parse(&datagram).unwrap();
            let at = self.names[msg.call_id()];
            match msg.is_request() {
                true => self.notified(at, &msg),
                false => self.answered(at, &msg),
            }
        }
        for answer in self.answers.drain(..) {
            self.socket.send(&answer);
        }
        self.dialogs.iter_mut().for_each(|dialog| dialog.open = None);
    }

    fn answered(&mut self, at: usize, msg: &Msg) {
        assert_eq!(msg.status(), 200, "{}", msg.start);
        let dialog = &mut self.dialogs[at];
        dialog.answered = true;
        let request = dialog.request.as_mut().unwrap();
        // What comes next goes to where the daemon says that it is.
        request.uri = uri_of(msg.header("Contact"));
        let tag = param(msg.header("To"), "tag").unwrap();
        request.to = format!("{}>;tag={tag}", uri_of(msg.header("To")));
    }

    fn notified(&mut self, at: usize, msg: &Msg) {
        self.answers.push(ok(msg));
        let (dialog, branch) = (&mut self.dialogs[at], msg.branch());
        if dialog.told.iter().any(|(known, _)| *known == branch) {
            return;
        }
        assert_eq!(dialog.open, None, "two NOTIFYs are open in one dialog: {branch}");
        dialog.open = Some(branch.clone());
        dialog.told.push((branch, msg.cseq().split(' ').next().unwrap().parse().unwrap()));
        (dialog.shown, dialog.state) = (msg.text(), msg.header("Subscription-State").to_owned());
    }

    fn until(&mut self, what: &str, is_it: impl Fn(&Dialog) -> bool) {
        let begun = Instant::now();
        while !self.dialogs.iter().all(&is_it) {
            let found = self.dialogs.iter().filter(|dialog| !is_it(dialog)).count();
            assert!(begun.elapsed() < PATIENCE, "{what}: not {found} of {}", self.dialogs.len());
            self.turn();
        }
    }

    fn told(&self) -> usize {
        self.dialogs.iter().map(|dialog| dialog.told.len()).sum()
    }
}

fn ok(msg: &Msg) -> Vec<u8> {
    let mut text = String::from("SIP/2.0 200 OK\r\n");
    for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
        for value in msg.all(name) {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    (text + "Content-Length: 0\r\n\r\n").into_bytes()
}

/// One state after the other, each when the one before is accepted.
fn says(phone: &Phone, states: usize) {
    let mut tag: Option<String> = None;
    for state in 1..=states {
        let activity = if state % 2 == 0 { "<rpid:busy/>" } else { "<rpid:away/>" };
        let note = format!("</status><note>state {state} of {states}</note>");
        let document = pidf(&phone.aor()["sip:".len()..], "open", activity).replace("</status>", &note);
        let answer = phone.publishes(tag.as_deref(), 600, &document);
        assert_eq!(answer.status(), 200, "{}", answer.start);
        tag = Some(answer.header("SIP-ETag").to_owned());
    }
}

#[test]
fn a_storm_of_changes_keeps_one_notify_open_in_a_dialog_and_ends_in_the_truth() {
    let (accounts, changes) = if long_form() { (1000, 100) } else { (100, 20) };
    let watchers_of_each = 4;
    let daemon = Setup::new().set("presence.open", "true").set("presence.throttle", "false").start();
    let phones: Vec<Phone> = (0..accounts).map(|n| daemon.phone(&format!("user{n}")).up()).collect();
    let mut watchers = Watchers::new(&daemon);
    for n in 0..accounts * watchers_of_each {
        watchers.subscribe(n / 10, &phones[n % accounts].aor());
    }
    watchers.until("the first state", |dialog| !dialog.told.is_empty());
    let (told, before) = (watchers.told(), daemon.rss_kib());
    let last = format!("state {changes} of {changes}");
    std::thread::scope(|scope| {
        for some in phones.chunks(accounts.div_ceil(8)) {
            scope.spawn(move || some.iter().for_each(|phone| says(phone, changes)));
        }
        watchers.until("the last state", |dialog| dialog.shown.contains(&last));
    });
    let (said, grown) = (watchers.told() - told, daemon.rss_kib().saturating_sub(before));
    println!(
        "{} changes towards {} subscriptions: {said} NOTIFYs, {grown} KiB more",
        accounts * changes,
        accounts * watchers_of_each
    );
    let most = accounts * changes * watchers_of_each;
    assert!(said <= most, "{said} NOTIFYs of {most} that can be");
    for dialog in &watchers.dialogs {
        assert!(dialog.told.windows(2).all(|two| two[0].1 < two[1].1), "{:?}", dialog.told);
    }
    // A publication is its document and what was read from it; a NOTIFY on its way, the document: a few KiB in all.
    assert!(grown < 20_000 + 16 * accounts as u64, "{grown} KiB more for {accounts} accounts");

    for at in 0..watchers.dialogs.len() {
        watchers.unsubscribe(at);
    }
    watchers.until("the end", |dialog| dialog.state == "terminated;reason=timeout");
    saved(&daemon, "SELECT count(*) FROM subscription", 0);
    saved(&daemon, "SELECT count(*) FROM publication", accounts as i64);
    let told = watchers.told();
    says(&phones[0], 1);
    watchers.turn();
    assert_eq!(watchers.told(), told, "who watches no more is told nothing");
}
