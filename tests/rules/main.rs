//! The rules floor, tested without sockets, disk or clock.

mod scenario;
