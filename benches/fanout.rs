//! Deliveries per CPU second of the daemon, as a ratio to what the kernel alone allows on this machine.
//!
//! `cargo bench --bench fanout`. Rooms of 10, 100 and 1000 registered members on one UDP socket of ours; every post
//! is on disk before it is delivered. The floor is a bare `sendto` and `recvfrom` of messages of the same size in
//! the same run: absolute figures mean little on a shared machine, the ratio does. Loopback only, bounded in time.

#![allow(clippy::unwrap_used)]

#[path = "kit.rs"]
mod kit;

use std::time::{Duration, Instant};

use kit::{Daemon, Room, cpu_seconds, socket};

const TIME: Duration = Duration::from_secs(4);

fn main() {
    let floor = floor();
    println!("kernel floor: {floor:.0} round trips per CPU second");
    println!("{:>8} {:>12} {:>14} {:>8}", "members", "deliveries", "per CPU second", "floor");
    for members in [10, 100, 1000] {
        let (delivered, cpu) = run(members);
        let rate = delivered as f64 / cpu;
        println!("{members:>8} {delivered:>12} {rate:>14.0} {:>7.0}%", 100.0 * rate / floor);
    }
}

/// Sends 600 bytes and takes 350, in one thread: the least that a delivery can cost.
fn floor() -> f64 {
    let (a, b) = (socket(), socket());
    let (to_a, to_b) = (a.local_addr().unwrap(), b.local_addr().unwrap());
    let mut buffer = [0; 1500];
    let (start, mut count, cpu) = (Instant::now(), 0u64, cpu_seconds("self"));
    while start.elapsed() < Duration::from_secs(1) {
        for _ in 0..100 {
            a.send_to(&buffer[..600], to_b).unwrap();
            b.recv(&mut buffer).unwrap();
            b.send_to(&buffer[..350], to_a).unwrap();
            a.recv(&mut buffer).unwrap();
            count += 1;
        }
    }
    // Two sends and two receipts were paid for; a delivery needs one of each.
    2.0 * count as f64 / (cpu_seconds("self") - cpu)
}

fn run(members: usize) -> (u64, f64) {
    let daemon = Daemon::start(&[]);
    let mut room = Room::new(&daemon.address, members);
    let cpu = cpu_seconds(&daemon.pid());
    let (_, delivered) = room.post(TIME);
    (delivered, cpu_seconds(&daemon.pid()) - cpu)
}
