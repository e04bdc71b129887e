//! Completions and man pages, from the definition of the command line.

use super::Cli;
use clap::CommandFactory as _;
use clap_complete::Shell;
use std::{io, path::Path};

/// The script for a shell.
pub(super) fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "bulkhead", &mut script);
    script
}

/// Writes `bulkhead.1` and a page for each command.
///
/// # Errors
/// When they cannot be written.
pub(super) fn man(directory: &Path) -> io::Result<()> {
    // The pages of `help` would say nothing.
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_a_man_page() {
        let folder = tempfile::tempdir().unwrap();
        man(folder.path()).unwrap();
        let mut pages: Vec<_> =
            folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        pages.sort();
        let mut wanted: Vec<std::ffi::OsString> = Cli::command()
            .get_subcommands()
            .flat_map(|verb| {
                let page = format!("bulkhead-{}", verb.get_name());
                let below = verb.get_subcommands().map(|sub| format!("{page}-{}", sub.get_name()));
                below.chain([page.clone()]).collect::<Vec<_>>()
            })
            .map(|page| format!("{page}.1").into())
            .collect();
        wanted.push("bulkhead.1".into());
        wanted.sort();
        assert_eq!(pages, wanted);
        let page = std::fs::read_to_string(folder.path().join("bulkhead-logs.1")).unwrap();
        assert!(page.contains("\\-\\-follow"), "{page}");
    }

    #[test]
    fn every_command_is_completed_in_every_shell() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = String::from_utf8(completions(shell)).unwrap();
            for verb in Cli::command().get_subcommands() {
                assert!(script.contains(verb.get_name()), "{shell}: {}", verb.get_name());
            }
        }
    }
}
