//! `h2conn completions` and `h2conn man`. Both are made from the definitions of the command line.

use std::fs;
use std::io::{self, Write};

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::args;
use crate::exit::{Failure, Result};

pub(crate) fn completions(args: &args::Completions) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut definitions(), "h2conn", &mut script);
    print(&script)
}

pub(crate) fn man(args: &args::Man) -> Result {
    if let Some(dir) = &args.dir {
        let made =
            fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(definitions(), dir));
        return made.map_err(|error| {
            Failure::local(format_args!("cannot write the pages to {}", dir.display()), error)
        });
    }
    let mut command = definitions();
    command.build();
    let command = match &args.subcommand {
        None => command,
        Some(name) => command.find_subcommand(name).cloned().ok_or_else(|| {
            Failure::usage(format_args!(
                "there is no subcommand {name:?}; h2conn --help lists them"
            ))
        })?,
    };
    let mut page = Vec::new();
    let rendered = Man::new(command).render(&mut page);
    rendered.map_err(|error| Failure::local("cannot make the page", error))?;
    print(&page)
}

fn definitions() -> Command {
    args::Args::command()
}

fn print(text: &[u8]) -> Result {
    let mut output = io::stdout().lock();
    output.write_all(text).and_then(|()| output.flush()).map_err(Failure::output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_of_the_command_line_agree_with_each_other() {
        definitions().debug_assert();
    }
}
