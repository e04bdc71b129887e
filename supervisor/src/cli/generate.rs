//! Generates shell completions and man pages from the definition of the command line.

use super::Cli;
use clap::CommandFactory as _;
use clap_complete::Shell;
use std::{io, path::Path};

/// The completion script for a shell.
pub(super) fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "bulkhead", &mut script);
    script
}

/// Writes `bulkhead.1` and a man page for each command.
///
/// # Errors
/// A page cannot be written.
pub(super) fn man(directory: &Path) -> io::Result<()> {
    // Without pages for `help`, which would be empty.
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_a_man_page() {
        let dir = tempfile::tempdir().unwrap();
        man(dir.path()).unwrap();
        let mut pages: Vec<_> =
            dir.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        pages.sort();
        let mut expected: Vec<std::ffi::OsString> = Cli::command()
            .get_subcommands()
            .flat_map(|command| {
                let page = format!("bulkhead-{}", command.get_name());
                let below = command.get_subcommands().map(|sub| format!("{page}-{}", sub.get_name()));
                below.chain([page.clone()]).collect::<Vec<_>>()
            })
            .map(|page| format!("{page}.1").into())
            .collect();
        expected.push("bulkhead.1".into());
        expected.sort();
        assert_eq!(pages, expected);
        let page = std::fs::read_to_string(dir.path().join("bulkhead-logs.1")).unwrap();
        assert!(page.contains("\\-\\-follow"), "{page}");
    }

    #[test]
    fn every_command_is_in_the_completions_of_each_shell() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = String::from_utf8(completions(shell)).unwrap();
            for command in Cli::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
        }
    }
}
