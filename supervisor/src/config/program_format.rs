//! Checks that the kernel could execute a file: execve(2) accepts ELF files, and scripts whose first line names an
//! interpreter. A shell would also execute other texts.

use super::problem::{Finding, Issue, Severity};
use std::{fs::File, io::Read as _, path::Path};

/// The most bytes of the first line of a script that the kernel reads.
const MAX_FIRST_LINE: u64 = 256;

/// Checks the begin of a program. A file that cannot be read by this user may still be executable.
pub(super) fn check(program: &Path) -> Result<(), Finding> {
    let mut begin = Vec::new();
    let read = File::open(program).and_then(|file| file.take(MAX_FIRST_LINE).read_to_end(&mut begin));
    if read.is_err() || begin.starts_with(b"\x7fELF") {
        return Ok(());
    }
    let shown = program.display();
    let Some(line) = begin.strip_prefix(b"#!") else {
        // The kernel may know further formats: see binfmt_misc.
        let issue = Issue::new(
            format!("{shown} is neither an ELF file nor a script with \"#!\""),
            "expected a program",
        );
        return Err((Severity::Warning, issue.with_help("begin a script with a line such as #!/bin/sh")));
    };
    let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let interpreter = line.trim_ascii().split(u8::is_ascii_whitespace).next().unwrap_or_default();
    let interpreter = String::from_utf8_lossy(interpreter);
    if Path::new(&*interpreter).exists() {
        return Ok(());
    }
    let issue = Issue::new(
        format!("the interpreter {interpreter:?} of {shown} does not exist"),
        "expected a program",
    );
    let help =
        if line.ends_with(b"\r") { "save the script with Unix line ends" } else { "correct its first line" };
    Err((Severity::Error, issue.with_help(help)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(text: &str) -> Option<(Severity, String)> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        check(file.path()).err().map(|(severity, issue)| (severity, issue.help.unwrap_or_default()))
    }

    #[test]
    fn a_program_is_an_elf_file_or_a_script_with_an_existing_interpreter() {
        assert_eq!(check(&std::env::current_exe().unwrap()), Ok(()));
        for script in ["#!/bin/sh\ntrue\n", "#! /bin/sh -e\n", "#!/bin/sh"] {
            assert_eq!(check_text(script), None, "{script:?}");
        }
        for text in ["", "true\n", "# comment\n"] {
            assert_eq!(check_text(text).unwrap().0, Severity::Warning, "{text:?}");
        }
        assert_eq!(
            check_text("#!/nowhere/sh\n").unwrap(),
            (Severity::Error, "correct its first line".into())
        );
        let (severity, help) = check_text("#!/nowhere/sh\r\n").unwrap();
        assert!(severity == Severity::Error && help.contains("Unix line ends"), "{help}");
    }
}
