//! Questions to whoever sits at the terminal: passwords, and whether it is meant.
//!
//! Prevents passwords on the screen, and a room destroyed by a slip of the hand. Never asks where nobody can answer.

use std::io::{BufRead, IsTerminal, Read, Write};

use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};

use super::Failure;

/// From the terminal without echo, twice; else the first line of standard input.
pub fn password() -> Result<String, Failure> {
    let stdin = std::io::stdin();
    let password = if stdin.is_terminal() {
        let password = silently("Password: ")?;
        if !password.is_empty() && silently("Again: ")? != password {
            return Err(Failure::Usage("the passwords differ".into()));
        }
        password
    } else {
        one_line(&mut stdin.lock())?
    };
    match password.as_str() {
        "" => Err(Failure::Usage("no password given".into())),
        _ => Ok(password),
    }
}

/// Asks on a terminal whether `what` is meant. Elsewhere a script has meant it.
pub fn meant(what: &str) -> Result<(), Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Ok(());
    }
    let mut terminal = std::io::stderr();
    // Who does not see the question does not answer yes.
    let _ = write!(terminal, "{what} [y/N] ").and_then(|()| terminal.flush());
    if is_yes(&one_line(&mut stdin.lock())?) { Ok(()) } else { Err(Failure::Refused("nothing done".into())) }
}

fn is_yes(answer: &str) -> bool {
    ["y", "yes"].iter().any(|yes| answer.trim().eq_ignore_ascii_case(yes))
}

fn silently(prompt: &str) -> Result<String, Failure> {
    let stdin = std::io::stdin();
    let refused = |e: nix::Error| Failure::Usage(format!("cannot silence the terminal: {e}"));
    let loud = tcgetattr(&stdin).map_err(refused)?;
    let mut silent = loud.clone();
    // Without signals: an interrupt would leave the terminal silent.
    silent.local_flags.remove(LocalFlags::ECHO | LocalFlags::ISIG);
    silent.local_flags.insert(LocalFlags::ECHONL);
    // Silence first: what is typed at the prompt must not be shown, nor thrown away.
    tcsetattr(&stdin, SetArg::TCSADRAIN, &silent).map_err(refused)?;
    eprint!("{prompt}");
    let answer = one_line(&mut stdin.lock());
    tcsetattr(&stdin, SetArg::TCSADRAIN, &loud).map_err(refused)?;
    match answer? {
        text if text.contains('\u{3}') => Err(Failure::Usage("given up".into())),
        text => Ok(text),
    }
}

fn one_line(from: &mut impl BufRead) -> Result<String, Failure> {
    let mut line = String::new();
    from.take(1024).read_line(&mut line).map_err(|e| Failure::Usage(format!("nothing can be read: {e}")))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_is_one() {
        assert!(["y", "Y", "yes", " YES "].into_iter().all(is_yes));
        assert!(!["", "n", "no", "yesterday", "ja"].into_iter().any(is_yes));
    }

    #[test]
    fn an_answer_is_one_line_of_bounded_length() {
        assert_eq!(one_line(&mut &b"se cret\r\nrest"[..]).ok(), Some("se cret".into()));
        assert_eq!(one_line(&mut &[b'x'; 5000][..]).ok().map(|line| line.len()), Some(1024));
        assert!(one_line(&mut &b"\xff\n"[..]).is_err());
    }
}
