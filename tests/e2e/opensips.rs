//! The daemon behind a real OpenSIPS, as `examples/opensips.cfg` puts it there.
//!
//! Debian has no OpenSIPS: these tests run where somebody has installed one, and say so where they do not.

use crate::evening;
use crate::kit::{Daemon, OpenSips, Server, free_port, installed, there};

fn an_evening(tell: &'static str) {
    if !there("opensips") || !installed(&["baresip", "sipp"]) {
        return;
    }
    let port = free_port();
    let opensips = OpenSips::start(port, tell);
    let mut imcd = Daemon::behind(port, opensips.port());
    evening::behind(&opensips, &mut imcd);
}

#[test]
fn an_evening_behind_an_opensips_that_looks_everybody_up() {
    an_evening("SAY_HE_IS_BACK");
}

#[test]
fn an_evening_behind_an_opensips_that_shows_the_way_to_everybody() {
    an_evening("SHOW_THE_WAY");
}
