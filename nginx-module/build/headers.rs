//! Where nginx's headers are, and the C compiler that nginx is built with.

use std::fs;
use std::path::{Path, PathBuf};

use crate::env;

/// One configured nginx.
pub(crate) struct Headers {
    /// Folders of headers, absolute.
    pub(crate) folders: Vec<PathBuf>,
    /// `-D..` as nginx's makefile has them.
    pub(crate) defines: Vec<String>,
    /// The compiler, with words of its own (`ccache gcc`).
    pub(crate) compiler: Vec<String>,
    /// What the compiler is told that may move a field: all but warnings, optimisation and link-time optimisation.
    pub(crate) flags: Vec<String>,
}

impl Headers {
    /// Of the nginx that nginx-sys has made its bindings for.
    pub(crate) fn of_nginx() -> Result<Self, String> {
        let makefile = Path::new(&env("DEP_NGINX_BUILD_DIR")?).join("Makefile");
        println!("cargo::rerun-if-changed={}", makefile.display());
        let text = fs::read_to_string(&makefile)
            .map_err(|error| format!("failed to read {}: {error}; configure nginx", makefile.display()))?;
        let words = |variable: &str| -> Result<Vec<String>, String> {
            let value = value(&text, variable)
                .ok_or_else(|| format!("{} has no line \"{variable} =\"", makefile.display()))?;
            shlex::split(&value)
                .ok_or_else(|| format!("{}: quotes in {variable} are open", makefile.display()))
        };
        let flags = words("CFLAGS")?;
        Ok(Self {
            folders: std::env::split_paths(&env("DEP_NGINX_INCLUDE")?).collect(),
            defines: flags.iter().filter(|word| word.starts_with("-D")).cloned().collect(),
            compiler: words("CC")?,
            flags: flags.into_iter().filter(|word| may_move_a_field(word)).collect(),
        })
    }

    /// `-I..` for each folder.
    pub(crate) fn includes(&self) -> impl Iterator<Item = String> {
        self.folders.iter().map(|folder| format!("-I{}", folder.display()))
    }
}

/// The value of a variable of the makefile; a line that ends in a backslash goes on.
fn value(makefile: &str, variable: &str) -> Option<String> {
    let text = makefile.replace("\\\n", " ");
    let found = text.lines().find_map(|line| line.strip_prefix(variable)?.trim_start().strip_prefix('='));
    found.map(|value| value.trim().to_owned())
}

fn may_move_a_field(word: &str) -> bool {
    !["-W", "-O", "-flto"].iter().any(|without| word.starts_with(without))
}
