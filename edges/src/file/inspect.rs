//! What `cutover check` asks this edge: whether everything is there that a change needs. It changes nothing.

use std::path::Path;

use rustix::fs::{Access, access};

use super::disk::Disk;
use super::program::{PATH, run, typed};
use super::{FileEdge, FileGroup, log};

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No change is possible.
    Problem(String),
    /// Changes are possible, but something is probably not as meant.
    Warning(String),
    /// Something to know.
    Hint(String),
}

impl FileEdge {
    /// Looks at the files and programs of the edge. Runs the test of the configuration.
    pub async fn inspect(&self) -> Vec<Fault> {
        let settings = &self.0.settings;
        let at = format!("edge.{}", self.0.name);
        let mut faults = Vec::new();
        if let Err(why) = self.0.workers.master() {
            faults.push(Fault::Problem(format!("{at}.pid \"{}\": {why}", settings.pid.display())));
        }
        if let Some(pid) = self.0.workers.upgrade() {
            let text = format!(
                "{at}.pid: {} exists: every change is refused until the binary upgrade of nginx ends",
                pid.display()
            );
            faults.push(Fault::Warning(text));
        }
        if let Err(why) = find_program(&settings.reload) {
            faults.push(Fault::Problem(format!("{at}.reload: {why}")));
        }
        match run(&settings.test, settings.timeout).await {
            Ok(_) => faults.extend(self.check_includes(&at).await),
            Err(error) => faults.push(Fault::Problem(format!("{at}.test: {error}"))),
        }
        faults.extend(settings.groups.iter().filter_map(|group| check_folder(&at, group)));
        faults.extend(settings.log.as_deref().and_then(|path| check_log(&at, path)));
        faults
    }

    /// Whether nginx reads the files. `nginx -T` prints all of its configuration.
    async fn check_includes(&self, at: &str) -> Vec<Fault> {
        let settings = &self.0.settings;
        let Some(flag) = settings.test.iter().rposition(|word| word == "-t") else {
            let text = format!(
                "{at}.test: {} has no \"-t\", so it is not known whether nginx reads the files",
                typed(&settings.test)
            );
            return vec![Fault::Hint(text)];
        };
        let whole =
            |(place, word): (usize, &String)| if place == flag { "-T".to_owned() } else { word.clone() };
        let command: Vec<String> = settings.test.iter().enumerate().map(whole).collect();
        let output = match run(&command, settings.timeout).await {
            Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
            Err(error) => return vec![Fault::Warning(format!("{at}.test: {error}"))],
        };
        let names =
            output.lines().filter_map(|line| line.strip_prefix("# configuration file ")?.strip_suffix(':'));
        let files: Vec<_> = names.filter_map(|name| std::fs::canonicalize(name).ok()).collect();
        let mut faults = Vec::new();
        for group in settings.groups.iter().filter(|group| !files.contains(&group.real_file())) {
            faults.push(Fault::Problem(format!(
                "{at}.group.{}.file \"{}\": nginx does not read it, so a change would have no effect: include it in the http block",
                group.name,
                group.file.display()
            )));
        }
        if !output.contains("worker_shutdown_timeout") {
            faults.push(Fault::Hint(format!(
                "{at}: nginx has no worker_shutdown_timeout, so a long connection keeps an old worker, and with it a way to the \
                 old slot, as long as it likes"
            )));
        }
        faults
    }
}

/// Looks for a program as the edge does.
fn find_program(argv: &[String]) -> Result<(), String> {
    let Some(program) = argv.first() else { return Err("it is empty".to_owned()) };
    let is_there = |path: &Path| path.is_file() && access(path, Access::EXEC_OK).is_ok();
    let found = match program.contains('/') {
        true => is_there(Path::new(program)),
        false => PATH.split(':').any(|folder| is_there(&Path::new(folder).join(program))),
    };
    match found {
        true => Ok(()),
        false => Err(format!("\"{program}\" is no program in {PATH}")),
    }
}

fn check_folder(at: &str, group: &FileGroup) -> Option<Fault> {
    let disk = Disk::of(group);
    let folder = disk.file.parent().unwrap_or(Path::new("/"));
    let at = format!("{at}.group.{}.file \"{}\"", group.name, group.file.display());
    if disk.is_open() {
        let text = format!(
            "{at}: a change has begun and not ended; the daemon settles it when it next reads the file"
        );
        return Some(Fault::Warning(text));
    }
    let error = access(folder, Access::WRITE_OK | Access::EXEC_OK).err()?;
    Some(Fault::Problem(format!("{at}: the folder {} cannot be written: {error}", folder.display())))
}

fn check_log(at: &str, path: &Path) -> Option<Fault> {
    let at = format!("{at}.log \"{}\"", path.display());
    match log::recognised(path) {
        Err(why) => Some(Fault::Problem(format!("{at}: {why}"))),
        Ok((_, 0)) => Some(Fault::Hint(format!("{at}: it is empty, so its format is not known yet"))),
        Ok((0, _)) => Some(Fault::Problem(format!(
            "{at}: its lines do not begin with \"$upstream_addr $status $request_time\", so no answer is counted: give access_log \
             the log_format of docs/file-edge.md"
        ))),
        Ok((good, all)) if good * 2 < all => Some(Fault::Warning(format!(
            "{at}: {good} of its last {all} lines begin with \"$upstream_addr $status $request_time\"; the others are not counted"
        ))),
        Ok(_) => None,
    }
}
