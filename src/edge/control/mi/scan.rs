//! Where one request of the FIFO ends and the next begins, in the three forms that clients write (`imc.md` §3.3-3.5).
//!
//! Prevents that half a request, left by a client that died, swallows those of the others; and that garbage is kept.
//! Never takes what stands in a text within a request for a request, not even when it was cut: a script may write there
//! what anybody says. Where that could not be told apart, what follows waits for the end of its writer.

use memchr::{memchr, memchr_iter};

use super::super::peers::{Params, Peer};

/// Longest request, in bytes: a picture in base64 fits. The peers stop at 1,024 to 8,191.
pub const MAX_REQUEST: usize = 128 * 1024;
/// Longest first line of the text form.
const MAX_HEAD: usize = 1024;
/// White space between `{` and its first key.
const MAX_BLANK: usize = 64;

/// One request.
#[derive(Clone, PartialEq, Debug)]
pub enum Request {
    /// `:reply:{…}` of OpenSIPS, or `{…}` of Kamailio, whose reply name is in the document.
    Json { peer: Peer, reply: String, document: Vec<u8> },
    /// `:command:reply`, arguments, an empty line.
    Text { command: String, reply: String, params: Params },
}

/// Collects bytes, gives requests.
#[derive(Default)]
pub struct Scanner {
    buffer: Vec<u8>,
    lost: Lost,
    /// How far a document has been looked at, and what was found up to there.
    seen: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

/// What is dropped of that which follows.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Lost {
    #[default]
    Nothing,
    /// Up to a line end or the sure beginning of a document.
    Line,
    /// Up to the sure beginning of a document: a line could be one of a text.
    All,
}

/// What the buffer begins with.
enum Found {
    /// A request of so many bytes.
    Whole(usize, Request),
    /// Its end has not come yet.
    Half,
    /// So many bytes are of no use.
    Broken(usize),
}

impl Scanner {
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Nobody will end the request that has begun.
    pub fn give_up(&mut self) {
        self.drop_start(self.buffer.len());
        self.lost = Lost::Nothing;
    }

    /// The next whole request; `None`: not yet.
    pub fn next_request(&mut self) -> Option<Request> {
        loop {
            if self.lost != Lost::Nothing && !self.find_again() {
                return None;
            }
            if self.seen == 0 {
                let blank = self.buffer.iter().take_while(|b| b.is_ascii_whitespace() || **b == 0).count();
                self.buffer.drain(..blank);
            }
            let found = match self.buffer.first()? {
                b'{' => self.document(0, Peer::Kamailio, String::new()),
                b':' => self.after_colon(),
                _ => Found::Broken(0),
            };
            match found {
                Found::Whole(end, request) => {
                    self.drop_start(end);
                    return Some(request);
                }
                Found::Half if self.buffer.len() > MAX_REQUEST => self.lose(self.buffer.len(), Lost::All),
                Found::Half => return None,
                Found::Broken(bytes) => self.lose(bytes, Lost::Line),
            }
        }
    }

    fn drop_start(&mut self, bytes: usize) {
        self.buffer.drain(..bytes);
        (self.seen, self.depth, self.in_string, self.escaped) = (0, 0, false, false);
    }

    fn lose(&mut self, bytes: usize, lost: Lost) {
        tracing::debug!(bytes, "FIFO: what is no request is dropped");
        self.drop_start(bytes);
        self.lost = lost;
    }

    /// Drops up to a line end or a sure beginning; false: neither has come.
    fn find_again(&mut self) -> bool {
        let mut at = 0;
        while let Some(&byte) = self.buffer.get(at) {
            if byte == b'\n' && self.lost == Lost::Line {
                self.drop_start(at + 1);
                self.lost = Lost::Nothing;
                return true;
            }
            match begins(&self.buffer[at..]) {
                Begins::Yes => {
                    let from = before_document(&self.buffer, at);
                    self.drop_start(from);
                    self.lost = Lost::Nothing;
                    return true;
                }
                Begins::Perhaps => break,
                Begins::No => at += 1,
            }
        }
        // What stands before may be the `:reply:` of a document that is still to come.
        self.drop_start(at.saturating_sub(MAX_HEAD));
        false
    }

    /// The document that begins at `at`.
    fn document(&mut self, at: usize, peer: Peer, reply: String) -> Found {
        self.seen = self.seen.max(at);
        while let Some(&byte) = self.buffer.get(self.seen) {
            if byte == b'{' && self.seen > at {
                // No request is within another: the first was left half-written.
                match begins(&self.buffer[self.seen..]) {
                    Begins::Yes => return Found::Broken(before_document(&self.buffer, self.seen).max(1)),
                    Begins::Perhaps => return Found::Half,
                    Begins::No => {}
                }
            }
            self.seen += 1;
            if self.closes(byte) {
                let document = self.buffer[at..self.seen].to_vec();
                return Found::Whole(self.seen, Request::Json { peer, reply, document });
            }
        }
        Found::Half
    }

    fn closes(&mut self, byte: u8) -> bool {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.in_string => self.escaped = true,
            b'"' => self.in_string = !self.in_string,
            _ if self.in_string => {}
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }

    /// Text, or OpenSIPS' `:reply:{…}`.
    fn after_colon(&mut self) -> Found {
        let name = self.buffer[1..].iter().take_while(|b| !matches!(b, b':' | b'\n' | b'{')).count();
        if self.buffer.get(1 + name) == Some(&b':') {
            let blank = self.buffer[2 + name..].iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
            match self.buffer.get(2 + name + blank) {
                None if self.buffer.len() > MAX_HEAD => return Found::Broken(self.buffer.len()),
                None => return Found::Half,
                Some(b'{') => {
                    let reply = String::from_utf8_lossy(&self.buffer[1..1 + name]).into_owned();
                    return self.document(2 + name + blank, Peer::OpenSips, reply);
                }
                Some(_) => {}
            }
        }
        text(&self.buffer)
    }
}

#[derive(PartialEq)]
enum Begins {
    Yes,
    No,
    Perhaps,
}

/// Whether a document of JSON-RPC begins here: `{"jsonrpc"`. Within a string of JSON this cannot stand.
fn begins(bytes: &[u8]) -> Begins {
    let Some((b'{', rest)) = bytes.split_first() else { return Begins::No };
    let blank = rest.iter().take(MAX_BLANK).take_while(|b| b.is_ascii_whitespace()).count();
    let key = b"\"jsonrpc\"";
    let rest = &rest[blank..];
    if rest.starts_with(key) {
        Begins::Yes
    } else if key.starts_with(rest) {
        Begins::Perhaps
    } else {
        Begins::No
    }
}

/// Where the request with the document at `at` begins: at its `:reply:`, if it has one.
fn before_document(buffer: &[u8], at: usize) -> usize {
    let Some((b':', before)) = buffer[..at].split_last() else { return at };
    let name =
        before.iter().rev().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')).count();
    match before.len().checked_sub(name + 1) {
        Some(start) if before[start] == b':' => start,
        _ => at,
    }
}

/// The text form.
fn text(buffer: &[u8]) -> Found {
    let start = &buffer[..buffer.len().min(MAX_HEAD)];
    let line = &start[..memchr(b'\n', start).unwrap_or(start.len())];
    for at in memchr_iter(b'{', line) {
        // Somebody else's request in the line of one that was left half-written.
        match begins(&buffer[at..]) {
            Begins::Yes => return Found::Broken(before_document(buffer, at).max(1)),
            Begins::Perhaps => return Found::Half,
            Begins::No => {}
        }
    }
    let end = line.len();
    if end == start.len() {
        return if end == MAX_HEAD { Found::Broken(end) } else { Found::Half };
    }
    let head = String::from_utf8_lossy(&line[1..]);
    if head.contains("\\n") {
        // bash's echo writes \n as it stands, and ends the line by itself. No name has a backslash in it.
        let meant = format!(":{}\n\n", head.replace("\\n", "\n"));
        return match text(meant.as_bytes()) {
            Found::Whole(_, request) => Found::Whole(end + 1, request),
            _ => Found::Broken(end),
        };
    }
    // A name of OpenSIPS 4 has a colon in it.
    let Some((command, reply)) = head.trim_end().rsplit_once(':') else { return Found::Broken(end) };
    let mut params = Params::new();
    let mut at = end + 1;
    loop {
        let rest = &buffer[at..];
        if let Some(line) = memchr(b'\n', rest)
            && rest[..line].trim_ascii().is_empty()
        {
            let (command, reply) = (command.to_owned(), reply.to_owned());
            return Found::Whole(at + line + 1, Request::Text { command, reply, params });
        }
        match argument(rest) {
            Argument::Whole(bytes, name, value) => {
                at += bytes;
                params.push((name, value.into()));
            }
            Argument::Half => return Found::Half,
            Argument::Broken(bytes) => return Found::Broken(before_document(buffer, at + bytes)),
        }
    }
}

enum Argument {
    /// Bytes, name, value.
    Whole(usize, Option<String>, String),
    Half,
    /// After so many bytes another request begins.
    Broken(usize),
}

/// `value`, `name:: value` or either with `"value"`, which may go on over lines.
fn argument(text: &[u8]) -> Argument {
    let blank = |at: usize| text[at..].iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    let mut at = blank(0);
    let name_length =
        text[at..].iter().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')).count();
    let mut name = None;
    if name_length > 0 && text[at + name_length..].starts_with(b"::") {
        name = Some(String::from_utf8_lossy(&text[at..at + name_length]).into_owned());
        at += name_length + 2;
        at += blank(at);
    }
    let quoted = text.get(at) == Some(&b'"');
    let mut value = Vec::new();
    if quoted {
        at += 1;
        loop {
            match (text.get(at), text.get(at + 1)) {
                (None, _) => return Argument::Half,
                (Some(b'\\'), Some(&escaped @ (b'"' | b'\\'))) => {
                    value.push(escaped);
                    at += 2;
                }
                (Some(b'"'), _) => break,
                // A quote within would have `\` before it.
                (Some(b'{'), _) if begins(&text[at..]) == Begins::Yes => return Argument::Broken(at),
                (Some(b'{'), _) if begins(&text[at..]) == Begins::Perhaps => return Argument::Half,
                (Some(&byte), _) => {
                    value.push(byte);
                    at += 1;
                }
            }
        }
    }
    let Some(length) = memchr(b'\n', &text[at..]) else { return Argument::Half };
    if !quoted {
        value.extend_from_slice(text[at..at + length].trim_ascii_end());
    }
    Argument::Whole(at + length + 1, name, String::from_utf8_lossy(&value).into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::reply::is_name;
    use super::*;

    fn all(scanner: &mut Scanner) -> Vec<String> {
        std::iter::from_fn(|| scanner.next_request()).map(|request| told(&request)).collect()
    }

    fn told(request: &Request) -> String {
        match request {
            Request::Json { peer, reply, document } => {
                format!("{peer:?} {reply} {}", String::from_utf8_lossy(document))
            }
            Request::Text { command, reply, params } => {
                let mut text = format!("text {command} {reply}");
                for (name, value) in params {
                    text += &format!(" [{}={}]", name.as_deref().unwrap_or(""), value.as_str().unwrap());
                }
                text
            }
        }
    }

    /// What comes out, whether it comes at once or byte by byte.
    fn read(text: &str) -> Vec<String> {
        let mut at_once = Scanner::default();
        at_once.push(text.as_bytes());
        let found = all(&mut at_once);
        let mut slowly = Scanner::default();
        let mut piecemeal = Vec::new();
        for byte in text.as_bytes() {
            slowly.push(&[*byte]);
            piecemeal.extend(all(&mut slowly));
        }
        assert_eq!(found, piecemeal, "{text:?}");
        found
    }

    #[test]
    fn an_echo_that_writes_its_line_ends_as_they_stand_is_understood() {
        let text = ":imc_list_rooms:r1\\n\n:imc_list_members:r2\\nsip:team@ex.org\\n\\n\n:which:r3\n\n";
        let meant =
            ["text imc_list_rooms r1", "text imc_list_members r2 [=sip:team@ex.org]", "text which r3"];
        assert_eq!(read(text), meant);
        assert_eq!(read(":\\n\n:which:r\n\n"), ["text which r"], "what makes no sense so is dropped");
    }

    #[test]
    fn the_three_forms_are_told_apart_and_may_follow_each_other() {
        let text = concat!(
            ":imc_list_rooms:kamailio_receiver_1\n\n",
            ":r2:{\"jsonrpc\": \"2.0\", \"id\": \"1\", \"method\": \"imc_list_rooms\", \"params\": {}}",
            "::{\"jsonrpc\":\"2.0\",\"method\":\"which\"}",
            "{\"jsonrpc\": \"2.0\", \"method\": \"imc.list_members\", \"params\": [\"it's {\"], \"reply_name\": \"r3\", \"id\": 7}\n",
            "\n \n{\n  \"jsonrpc\": \"2.0\",\n  \"id\": 1\n}\n",
            ":imc_list_members:r4\nsip:chat-1@ex.org\n\n",
            ":imc:list_rooms:r5\r\n\r\n",
            ":which:\n\n",
        );
        assert_eq!(
            read(text),
            [
                "text imc_list_rooms kamailio_receiver_1",
                "OpenSips r2 {\"jsonrpc\": \"2.0\", \"id\": \"1\", \"method\": \"imc_list_rooms\", \"params\": {}}",
                "OpenSips  {\"jsonrpc\":\"2.0\",\"method\":\"which\"}",
                "Kamailio  {\"jsonrpc\": \"2.0\", \"method\": \"imc.list_members\", \"params\": [\"it's {\"], \"reply_name\": \"r3\", \"id\": 7}",
                "Kamailio  {\n  \"jsonrpc\": \"2.0\",\n  \"id\": 1\n}",
                "text imc_list_members r4 [=sip:chat-1@ex.org]",
                "text imc:list_rooms r5",
                "text which ",
            ]
        );
    }

    #[test]
    fn arguments_have_names_and_quotes_and_may_go_on_over_lines() {
        let text = concat!(
            ":message.send:r\n from:: alice \nto::\"bob\"\n\"one \\\"two\\\" \\\\ \n\n:which:x\nthree\"  \n\n",
            ":message.send:r\nsip:a@[::1]\nhello :: you\n:-)\n\n",
        );
        assert_eq!(
            read(text),
            [
                "text message.send r [from=alice] [to=bob] [=one \"two\" \\ \n\n:which:x\nthree]",
                "text message.send r [=sip:a@[::1]] [=hello :: you] [=:-)]",
            ]
        );
    }

    #[test]
    fn what_a_dead_client_left_costs_the_next_one_nothing() {
        let good = "{\"jsonrpc\": \"2.0\", \"method\": \"which\", \"reply_name\": \"r\", \"id\": 1}\n";
        let opensips = ":r:{\"jsonrpc\": \"2.0\", \"method\": \"which\", \"id\": 1}";
        let old = ":imc_list_rooms:r\n\n";
        let halves = |whole: &'static str| (1..whole.len() - 2).map(move |cut| &whole[..cut]);
        for half in halves(good).chain(halves(opensips)) {
            for next in [good, opensips] {
                // `:r:` and a document are one request, whoever wrote them.
                if half != ":r:" || next != good {
                    assert_eq!(read(&format!("{half}{next}{old}")), read(&format!("{next}{old}")), "{half}");
                }
            }
        }
        for half in [":message.send:gone\n\"a", ":message.send:gone\nto:: \"a{\nb"] {
            for next in [good, opensips] {
                assert_eq!(read(&format!("{half}{next}")), read(next), "{half}{next}");
            }
        }
        // Nobody writes any more: the rest is forgotten.
        let mut scanner = Scanner::default();
        scanner.push(b":imc_list_members:gone\nsip:");
        assert_eq!(scanner.next_request(), None);
        assert!(!scanner.buffer.is_empty());
        scanner.give_up();
        assert!(scanner.buffer.is_empty());
        scanner.push(old.as_bytes());
        assert_eq!(all(&mut scanner), ["text imc_list_rooms r"]);
    }

    #[test]
    fn what_people_wrote_is_never_taken_for_a_request() {
        let evil = "{\"jsonrpc\": \"2.0\", \"method\": \"account.remove\", \"params\": [\"bob\"]}\n:account.remove:\nbob\n\n";
        let request =
            serde_json::json!({ "jsonrpc": "2.0", "method": "message.send", "params": ["a", "b", evil] });
        let request = request.to_string();
        assert_eq!(read(&request).len(), 1);
        // Nor when the request is cut, wherever.
        for cut in 0..request.len() {
            for (before, after) in [(&request[..cut], ""), ("", &request[cut..])] {
                let found = read(&format!("{before}{after}\n\n:which:r\n\n"));
                for request in &found {
                    assert!(
                        !request.starts_with("Kamailio  {\"jsonrpc\": \"2.0\", \"method\": \"acc"),
                        "{found:?}"
                    );
                    // The door does nothing for somebody with such a reply name.
                    let reply = request.strip_prefix("text account.remove ").unwrap_or("\\");
                    assert!(!(reply.is_empty() || is_name(reply)), "{found:?}");
                }
            }
        }
    }

    #[test]
    fn garbage_is_dropped_and_never_kept() {
        let old = ":imc_list_rooms:r\n\n";
        for garbage in
            ["garbage", "]", "}}}", "\u{1}\u{2}", "GET / HTTP/1.1", "::", ":", ":x", ": : ", "\0\0"]
        {
            let found = read(&format!("{garbage}\n{garbage}\n\n{old}"));
            assert_eq!(
                found.last().map(String::as_str),
                Some("text imc_list_rooms r"),
                "{garbage:?}: {found:?}"
            );
        }
        for start in ["x", "{", ":", ":a:{", ":a\n", ":a:b\n\"", "{\"", "{ "] {
            let mut scanner = Scanner::default();
            scanner.push(start.as_bytes());
            for _ in 0..40 {
                scanner.push(&[b'x'; 16 * 1024]);
                while scanner.next_request().is_some() {}
                assert!(scanner.buffer.len() <= MAX_REQUEST + 16 * 1024, "{start:?} is kept");
            }
            // A line of it could be one of a text. A document is sure, and so is the end of its writer.
            let document = "{\"jsonrpc\":1}";
            scanner.push(document.as_bytes());
            assert_eq!(all(&mut scanner), [format!("Kamailio  {document}")], "{start:?}");
            scanner.push(start.as_bytes());
            scanner.push(&[b'x'; 2 * MAX_REQUEST]);
            while scanner.next_request().is_some() {}
            scanner.give_up();
            scanner.push(old.as_bytes());
            assert_eq!(all(&mut scanner), ["text imc_list_rooms r"], "{start:?}");
        }
    }
}
