//! What a final answer to a delivery means (spec §5.5).
//!
//! One table. Prevents that a phone's odd status loses a message, or blocks all that come after it.

/// What becomes of the entry, and of the way it was sent on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Taken.
    Done,
    /// Keep it: whoever is there cannot take it now.
    Away,
    /// Keep it: the next hop as a whole cannot take anything now.
    HopDown,
    /// Keep it: refused with 5xx, while other entries may pass. Five of these and this device is spared it.
    Poison,
    /// Keep it; this binding is not used again until it registers anew.
    Unbound,
    /// Convert or split, try once, then give up.
    Convert,
    /// This device does not get it.
    GiveUp,
}

/// Meaning of `status` (200–699). `route`: it came from the way to an address, not from a phone's binding.
pub fn outcome(status: u16, route: bool) -> Outcome {
    match status {
        200..=299 => Outcome::Done,
        401 | 403 | 404 | 405 | 407 | 410 | 604 if route => Outcome::Away,
        503 if route => Outcome::HopDown,
        404 | 405 | 410 => Outcome::Unbound,
        500 | 502 | 580 => Outcome::Poison,
        408 | 430 | 480 | 486 | 491 | 503 | 504 => Outcome::Away,
        413 | 415 | 488 | 513 => Outcome::Convert,
        _ => Outcome::GiveUp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_of_spec_5_5() {
        let table: &[(&[u16], Outcome, Outcome)] = &[
            (&[200, 202, 299], Outcome::Done, Outcome::Done),
            (&[408, 430, 480, 486, 491, 504], Outcome::Away, Outcome::Away),
            (&[500, 502, 580], Outcome::Poison, Outcome::Poison),
            (&[503], Outcome::Away, Outcome::HopDown),
            (&[404, 405, 410], Outcome::Unbound, Outcome::Away),
            (&[401, 403, 407, 604], Outcome::GiveUp, Outcome::Away),
            (&[413, 415, 488, 513], Outcome::Convert, Outcome::Convert),
            (&[300, 302, 400, 402, 406, 420, 481, 501, 505, 600, 603, 606], Outcome::GiveUp, Outcome::GiveUp),
        ];
        for (statuses, binding, route) in table {
            for status in *statuses {
                assert_eq!(outcome(*status, false), *binding, "{status} from a binding");
                assert_eq!(outcome(*status, true), *route, "{status} from a route");
            }
        }
    }
}
