//! Where nginx's headers are, and the C compiler that nginx is built with.

use std::fs;
use std::path::{Path, PathBuf};

use crate::env;

/// One configured nginx.
pub(crate) struct Headers {
    /// Folders of headers, absolute.
    pub(crate) folders: Vec<PathBuf>,
    /// The folder that relative paths in nginx's makefile are meant from.
    pub(crate) source: PathBuf,
    /// `-D..`, `-U..` and `-include` as nginx's makefile has them, with absolute paths.
    pub(crate) preprocessor: Vec<String>,
    /// The compiler, with words of its own (`ccache gcc`).
    pub(crate) compiler: Vec<String>,
    /// What the compiler is told that may move a field: all but warnings, optimisation and link-time optimisation.
    pub(crate) flags: Vec<String>,
}

impl Headers {
    /// Of the nginx that nginx-sys has made its bindings for.
    pub(crate) fn of_nginx() -> Result<Self, String> {
        let build = PathBuf::from(env("DEP_NGINX_BUILD_DIR")?);
        let source = source(&build)?;
        let makefile = build.join("Makefile");
        println!("cargo::rerun-if-changed={}", makefile.display());
        let text = fs::read_to_string(&makefile)
            .map_err(|error| format!("failed to read {}: {error}; configure nginx", makefile.display()))?;
        let words = |variable: &str| -> Result<Vec<String>, String> {
            let value = value(&text, variable)
                .ok_or_else(|| format!("{} has no line \"{variable} =\"", makefile.display()))?;
            shlex::split(&value)
                .ok_or_else(|| format!("{}: quotes in {variable} are open", makefile.display()))
        };
        let flags = with_their_names(words("CFLAGS")?);
        Ok(Self {
            folders: std::env::split_paths(&env("DEP_NGINX_INCLUDE")?).collect(),
            preprocessor: preprocessor(&flags, &source),
            source,
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

/// As nginx-sys finds it.
fn source(build: &Path) -> Result<PathBuf, String> {
    println!("cargo::rerun-if-env-changed=NGINX_SOURCE_DIR");
    let source = match std::env::var_os("NGINX_SOURCE_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => build.parent().unwrap_or(build).to_owned(),
    };
    source.canonicalize().map_err(|error| {
        format!("failed to find nginx's sources, {}: {error}; set NGINX_SOURCE_DIR", source.display())
    })
}

/// `-D NAME` in two words is `-DNAME`.
fn with_their_names(words: Vec<String>) -> Vec<String> {
    let mut words = words.into_iter();
    let mut joined = Vec::new();
    while let Some(mut word) = words.next() {
        if ["-D", "-U"].contains(&word.as_str()) {
            word.extend(words.next());
        }
        joined.push(word);
    }
    joined
}

/// What the preprocessor is told. bindgen does not run in the folder of the sources.
fn preprocessor(flags: &[String], source: &Path) -> Vec<String> {
    let mut flags = flags.iter();
    let mut found = Vec::new();
    while let Some(flag) = flags.next() {
        if flag.starts_with("-D") || flag.starts_with("-U") {
            found.push(flag.clone());
        } else if ["-include", "-imacros"].contains(&flag.as_str())
            && let Some(file) = flags.next()
        {
            let below = source.join(file);
            // Else it is in one of the folders of headers.
            let file = if below.is_file() { below.display().to_string() } else { file.clone() };
            found.extend([flag.clone(), file]);
        }
    }
    found
}

fn may_move_a_field(word: &str) -> bool {
    !["-W", "-O", "-flto"].iter().any(|without| word.starts_with(without))
}
