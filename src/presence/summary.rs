//! How many texts wait for an account, so that a desk phone lights its lamp (RFC 3842).
//!
//! Prevents that a number is larger than phones can hold. The account cannot end a line: an [`Aor`] has no character
//! that could. Never tells what waits or from whom.

use crate::types::Aor;

/// Media type of [`body`].
pub const MEDIA: &str = "application/simple-message-summary";

/// `new` are the texts that no device has got, `old` those that one has. Counts beyond 2^32 − 1 are told as that
/// (RFC 3842 §3.5). Nothing is urgent.
pub fn body(account: &Aor, new: u64, old: u64) -> Vec<u8> {
    let capped = |count: u64| count.min(u64::from(u32::MAX));
    let waiting = if new > 0 { "yes" } else { "no" };
    let (new, old) = (capped(new), capped(old));
    format!(
        "Messages-Waiting: {waiting}\r\nMessage-Account: {}\r\nText-Message: {new}/{old} (0/0)\r\n",
        account.uri()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(account: &str, new: u64, old: u64) -> String {
        String::from_utf8(body(&Aor::parse(account).unwrap(), new, old)).unwrap()
    }

    #[test]
    fn k05_what_waits_is_said_in_three_lines() {
        assert_eq!(
            text("alice@example.org", 3, 1),
            "Messages-Waiting: yes\r\nMessage-Account: sip:alice@example.org\r\nText-Message: 3/1 (0/0)\r\n"
        );
        assert!(text("alice@example.org", 0, 7).starts_with("Messages-Waiting: no\r\n"));
    }

    #[test]
    fn k05_no_count_is_above_two_to_the_32_minus_1() {
        let most = u64::from(u32::MAX);
        for count in [most, most + 1, u64::MAX] {
            assert!(text("a@x", count, count).ends_with("Text-Message: 4294967295/4294967295 (0/0)\r\n"));
        }
    }

    #[test]
    fn k06_no_account_is_long_or_ends_a_line() {
        for account in [&format!("{}@x", "a".repeat(4096)), "a\r\nVoice-Message: 1/0@x", "a@x\r\n", "<a>@x"] {
            assert_eq!(Aor::parse(account), None, "{account:?}");
        }
        let longest = format!("{}@{}", "&".repeat(255), "h".repeat(255));
        let said = text(&longest, 1, 0);
        assert_eq!((said.lines().count(), said.len() < 700), (3, true));
    }
}
