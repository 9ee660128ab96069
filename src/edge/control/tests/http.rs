//! The HTTP door over a management of ours: what depends on its limits.

use std::net::{SocketAddr, TcpStream};

use super::*;

/// All that a connection carries until the door closes it.
fn said(door: SocketAddr, method: &str, params: Value) -> String {
    let document = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
    let mut stream = TcpStream::connect(door).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head = format!("POST /rpc HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", document.len());
    stream.write_all((head + &document).as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_connection_ends_at_its_age_but_not_while_something_is_followed_on_it() {
    let door = HttpDoor::bind("127.0.0.1:0".parse().unwrap(), Gate::new(None, [])).unwrap();
    let address = door.address().unwrap();
    let limits = HttpLimits { life: Duration::from_millis(50), ..HttpLimits::default() };
    let _serving = door.start(Arc::new(Fake::default()), limits).unwrap();
    let version = said(address, "server.version", json!([]));
    assert!(version.contains("\"result\":\"imcd "), "{version}");
    let quiet = said(address, "tail", json!(["quiet"]));
    assert!(quiet.contains("\"following\":\"quiet@example.org\""), "{quiet}");
    assert!(quiet.contains("\"kind\":\"post\"") && quiet.ends_with("0\r\n\r\n"), "{quiet}");
}
