//! The command that a message recommends, for programs.

/// The last command line of `cutover` in a message. Messages put a command after ": " or "by ", at the end of a clause.
pub fn command_in(message: &str) -> Option<String> {
    let begins = |at: &usize| {
        let before = message.get(..*at).unwrap_or_default();
        before.ends_with(": ") || before.ends_with("by ")
    };
    let at = message.match_indices("cutover ").map(|(at, _)| at).filter(begins).last()?;
    let rest = message.get(at..).unwrap_or_default();
    let command = rest.get(..end_of(rest)).unwrap_or(rest).trim_end();
    // A sentence about the program is no command line.
    command.split(' ').nth(1).filter(|verb| verb.chars().all(|c| c.is_ascii_lowercase() || c == '-'))?;
    Some(command.to_owned())
}

/// Where a command line ends: at the end of the clause, outside of quotes.
fn end_of(text: &str) -> usize {
    let mut quoted = false;
    let mut characters = text.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        match c {
            '\'' => quoted = !quoted,
            '\n' if !quoted => return at,
            ';' | ',' | ':' | ')' if !quoted && characters.peek().is_none_or(|(_, next)| *next == ' ') => {
                return at;
            }
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_command_of_a_message() {
        for (message, command) in [
            (
                "x is soaking: wait; to follow it: cutover watch shop; to end it: cutover abort shop",
                Some("cutover abort shop"),
            ),
            ("it has ended; to go back: cutover rollback 'a; b'", Some("cutover rollback 'a; b'")),
            ("see: cutover status shop", Some("cutover status shop")),
            ("reload, as by systemctl reload cutover; why", None),
            ("no daemon answers at /c.sock: gone; is `cutover serve` running?", None),
            (
                "to begin, run: cutover deploy shop --version 2, then wait",
                Some("cutover deploy shop --version 2"),
            ),
            ("nothing helps", None),
        ] {
            assert_eq!(command_in(message).as_deref(), command, "{message}");
        }
    }
}
