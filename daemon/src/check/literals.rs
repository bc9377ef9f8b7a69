//! Words of commands that only a shell understands. No shell reads them, so the program gets them as they are written.

use std::path::Path;

use cutover_engine::policy::{Argv, Policy};

use super::Finding;

const SHELLS: [&str; 6] = ["sh", "bash", "dash", "zsh", "ksh", "ash"];
/// Words that separate commands, or redirect.
const OPERATORS: [&str; 11] = ["&&", "||", "|", ";", "&", ">", ">>", "<", "2>", "2>&1", "&>"];

/// Warns about words of a command.
pub(super) fn check_words(at: &str, command: &Argv, findings: &mut Vec<Finding>) {
    let name = command.program().file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if SHELLS.contains(&name) || passes_on(name, command.arguments()) {
        return;
    }
    let found = command.arguments().iter().find_map(|word| Some((word, literal(word)?)));
    if let Some((word, what)) = found {
        let typed =
            std::iter::once(command.program().display().to_string()).chain(command.arguments().to_vec());
        let script = typed.collect::<Vec<_>>().join(" ");
        findings.push(Finding::Warning(format!(
            "{at}: no shell reads {word:?}, so the program gets {what} as it is written: {}",
            match what {
                Literal::Variable => "read the variable in the program itself, which has it in its environment, or let a shell \
                                      run it, as in"
                    .to_owned(),
                _ => "let a shell run it, as in".to_owned(),
            } + &format!(" [\"/bin/sh\", \"-c\", {script:?}]")
        )));
    }
}

/// Warns about variables in `[group.NAME.env]`.
pub(super) fn check_env(name: &str, policy: &Policy, findings: &mut Vec<Finding>) {
    for (key, value) in &policy.env {
        if matches!(literal(value), Some(Literal::Variable | Literal::Home)) {
            findings.push(Finding::Warning(format!(
                "group.{name}.env.{key}: no shell reads {value:?}, so commands get it as it is written: write the whole value"
            )));
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Literal {
    Variable,
    Home,
    Substitution,
    Pattern,
    Operator,
}

impl std::fmt::Display for Literal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Variable => "the name of the variable",
            Self::Home => "the \"~\"",
            Self::Substitution => "the inner command",
            Self::Pattern => "the pattern",
            Self::Operator => "the operator",
        })
    }
}

/// Whether the program is one that gives a later word to a shell, as in `sudo -n sh -c ..`, `env sh -c ..` or `ssh host ..`.
fn passes_on(name: &str, arguments: &[String]) -> bool {
    let is_shell = |word: &String| {
        Path::new(word).file_name().and_then(|name| name.to_str()).is_some_and(|name| SHELLS.contains(&name))
    };
    name == "ssh" || arguments.iter().any(is_shell)
}

fn literal(word: &str) -> Option<Literal> {
    if OPERATORS.contains(&word) {
        return Some(Literal::Operator);
    }
    if word.starts_with("~/") || word == "~" {
        return Some(Literal::Home);
    }
    if word.contains("$(") || word.matches('`').count() >= 2 {
        return Some(Literal::Substitution);
    }
    let is_name = |rest: &str| rest.starts_with(|c: char| c == '{' || c == '_' || c.is_ascii_uppercase());
    if word.split('$').skip(1).any(is_name) {
        return Some(Literal::Variable);
    }
    // A pattern of files. In other places a star is often meant as it is, as in a query.
    let is_path = word.contains('/') || word.starts_with("*.");
    (is_path && word.contains('*') && !word.contains(char::is_whitespace)).then_some(Literal::Pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warned(words: &str) -> String {
        let mut policy: Policy = toml::from_str(&format!("[provision]\ncommand = {words}\n")).unwrap();
        let command = policy.provision.take().unwrap().command;
        let mut findings = Vec::new();
        check_words("at", &command, &mut findings);
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_only_a_shell_understands() {
        for (words, part) in [
            (
                r#"["/bin/a", "$CUTOVER_SLOT"]"#,
                "no shell reads \"$CUTOVER_SLOT\", so the program gets the name of the variable",
            ),
            (
                r#"["/bin/a", "shop@${CUTOVER_SLOT}"]"#,
                "[\"/bin/sh\", \"-c\", \"/bin/a shop@${CUTOVER_SLOT}\"]",
            ),
            (r#"["/bin/a", "~/bin/x"]"#, "gets the \"~\""),
            (r#"["/bin/a", "/etc/*.sh"]"#, "gets the pattern"),
            (r#"["/bin/a", "*.sh"]"#, "gets the pattern"),
            (r#"["/bin/a", "`id`"]"#, "gets the inner command"),
            (r#"["/bin/a", "$(id)"]"#, "gets the inner command"),
            (r#"["/bin/a", "&&", "/bin/b"]"#, "gets the operator"),
            (r#"["/bin/a", "|", "tee"]"#, "gets the operator"),
        ] {
            let said = warned(words);
            assert!(said.starts_with("warning: at: ") && said.contains(part), "{words}: {said}");
        }
    }

    #[test]
    fn what_is_meant_as_it_is() {
        for words in [
            r#"["/bin/sh", "-c", "exec a $CUTOVER_SLOT && b"]"#,
            r#"["/usr/bin/sudo", "-n", "/bin/bash", "-c", "a $CUTOVER_SLOT"]"#,
            r#"["/usr/bin/ssh", "host", "restart $X"]"#,
            r#"["/bin/a", "costs 5$", "^a$", "select * from a", "a&b", "x;y", "--match=*", "50%"]"#,
        ] {
            assert_eq!(warned(words), "", "{words}");
        }
    }

    #[test]
    fn an_environment_is_no_script() {
        let policy: Policy =
            toml::from_str("env = { PATH = \"$PATH:/x\", A = \"~/x\", B = \"5$\" }").unwrap();
        let mut findings = Vec::new();
        check_env("shop", &policy, &mut findings);
        assert_eq!(findings.len(), 2, "{findings:?}");
    }
}
