//! Validates documents against the schemas of the RFCs, which lie in `xsd/`, by xmllint.
//!
//! Prevents that only our own reader understands what we write.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// PIDF with all that may be in it.
pub const PRESENCE: &str = "presence.xsd";

/// Panics with what xmllint says, unless `xml` is valid by the schema of this name.
/// Without xmllint it panics too, unless `IMCD_SKIP_PEERS=1`.
#[track_caller]
pub fn validates(xml: &[u8], root_xsd: &str) {
    if let Err(why) = verdict(xml, root_xsd) {
        panic!("{why}\n{}", String::from_utf8_lossy(xml));
    }
}

pub fn verdict(xml: &[u8], root_xsd: &str) -> Result<(), String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules/presence/xsd");
    let xmllint = Command::new("xmllint")
        .args(["--nonet", "--noout", "--schema", root_xsd, "-"])
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut xmllint = match xmllint {
        Ok(child) => child,
        Err(_) if std::env::var("IMCD_SKIP_PEERS").is_ok_and(|v| v == "1") => return Ok(()),
        Err(why) => return Err(format!("xmllint: {why}; run tools/test-peers.sh, or set IMCD_SKIP_PEERS=1")),
    };
    // It may stop reading at the first error.
    let _ = xmllint.stdin.take().unwrap().write_all(xml);
    let output = xmllint.wait_with_output().unwrap();
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn the_schemas_tell_right_from_wrong() {
    let right = "<presence xmlns='urn:ietf:params:xml:ns:pidf' xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model' \
                 xmlns:rpid='urn:ietf:params:xml:ns:pidf:rpid' entity='sip:a@b'>\
                 <tuple id='t'><status><basic>open</basic></status><x xmlns='urn:x'/><note>n</note></tuple>\
                 <dm:person id='p'><rpid:activities><rpid:busy/></rpid:activities></dm:person></presence>";
    validates(right.as_bytes(), PRESENCE);
    for (from, to) in [
        ("open", "opened"),
        ("id='p'", "id='t'"),
        ("<rpid:busy/>", "<rpid:bussy/>"),
        ("entity='sip:a@b'", ""),
        ("<x xmlns='urn:x'/><note>n</note>", "<note>n</note><x xmlns='urn:x'/>"),
        ("<dm:person id='p'>", "<dm:person>"),
        ("</presence>", ""),
    ] {
        let wrong = right.replace(from, to);
        assert!(verdict(wrong.as_bytes(), PRESENCE).is_err(), "{from} -> {to}");
    }
}
