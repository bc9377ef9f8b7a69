//! `cutover man`: the manual page, with all verbs.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Command, CommandFactory};
use clap_mangen::Man as Page;

use super::{Arguments, CliError};

#[derive(Debug, Args)]
pub(super) struct Man {
    /// Write cutover.1 into this folder [default: print it]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(&self) -> Result<u8, CliError> {
        let page = page()?;
        match &self.out {
            Some(folder) => {
                let path = folder.join("cutover.1");
                fs::write(&path, page).map_err(|source| CliError::File { path, source })?;
            }
            None => io::stdout().write_all(&page)?,
        }
        Ok(0)
    }
}

fn page() -> io::Result<Vec<u8>> {
    // The verbs get the options of the whole program only after this.
    let mut command = Arguments::command();
    command.build();
    let mut page = Vec::new();
    let whole = Page::new(command.clone()).manual("Cutover");
    whole.render_title(&mut page)?;
    whole.render_name_section(&mut page)?;
    whole.render_synopsis_section(&mut page)?;
    whole.render_description_section(&mut page)?;
    whole.render_options_section(&mut page)?;
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help") {
        page.extend(of_verb(verb)?);
    }
    whole.render_extra_section(&mut page)?;
    writeln!(page, ".SH \"SEE ALSO\"\n\\fBnginx\\fR(8)")?;
    Ok(page)
}

/// One section about a verb. The sections of its own page become parts of it.
fn of_verb(verb: &Command) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let own = verb.clone().mut_args(|arg| if arg.is_global_set() { arg.hide(true) } else { arg });
    let page = Page::new(own);
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    let text = String::from_utf8_lossy(&text).replace(".SH ", ".SS ");
    Ok(format!(".SH \"CUTOVER {}\"\n{text}", verb.get_name().to_uppercase()).into_bytes())
}
