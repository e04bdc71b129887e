//! The debug information in an executable: functions, source files and lines of code addresses.
//!
//! The file is read, not mapped: reading a mapped file while it is overwritten raises SIGBUS. Separate debug files that
//! the executable names are never opened: such a path may lead to anything, even to a pipe that never ends.

use addr2line::{
    Context, demangle_auto,
    gimli::{Dwarf, EndianSlice, RunTimeEndian, SectionId},
};
use object::{
    CompressionFormat, Object as _, ObjectSection as _, ObjectSegment as _, SymbolMap, SymbolMapName,
};
use std::{
    convert::Infallible,
    fs::File,
    io::{self, Read as _, Seek as _},
};

/// Largest executable that is read, in bytes. It is held in memory while addresses are resolved.
const MAX_EXECUTABLE: u64 = 256 << 20;

/// Reads an executable.
///
/// # Errors
/// The file is larger than [`MAX_EXECUTABLE`] or cannot be read.
pub(super) fn read(mut file: &File) -> io::Result<Vec<u8>> {
    if file.metadata()?.len() > MAX_EXECUTABLE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(MAX_EXECUTABLE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Resolves addresses, given as offsets from the start of the executable in memory.
pub(super) struct DebugInfo<'p> {
    /// Lowest address in the program headers: not 0 if the executable is not position-independent.
    base: u64,
    symbols: SymbolMap<SymbolMapName<'p>>,
    functions: Context<EndianSlice<'p, RunTimeEndian>>,
}

impl<'p> DebugInfo<'p> {
    /// Parses an executable; `None` if it is not an object file.
    pub(super) fn parse(program: &'p [u8]) -> Option<Self> {
        let program = object::File::parse(program).ok()?;
        let endian = if program.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big };
        let section = |id| Ok::<_, Infallible>(EndianSlice::new(section(&program, id), endian));
        Some(Self {
            base: program.segments().map(|segment| segment.address()).min()?,
            symbols: program.symbol_map(),
            functions: Context::from_dwarf(Dwarf::load(section).ok()?).ok()?,
        })
    }

    /// The full, demangled name of the symbol that contains this offset.
    pub(super) fn symbol(&self, offset: u64) -> Option<String> {
        let symbol = self.symbols.containing(self.base.saturating_add(offset))?;
        Some(demangle_auto(symbol.name().into(), None).into_owned())
    }

    /// The functions at this offset, innermost inlined function first. Each has ` at FILE:LINE`, or an empty text if
    /// the line is unknown.
    pub(super) fn functions(&self, offset: u64) -> Vec<(Option<String>, String)> {
        let mut named = Vec::new();
        if let Ok(mut frames) = self.functions.find_frames(self.base.saturating_add(offset)).skip_all_loads()
        {
            while let Ok(Some(frame)) = frames.next() {
                let function =
                    frame.function.as_ref().and_then(|name| Some(name.demangle().ok()?.into_owned()));
                let line = frame.location.as_ref().and_then(|source| Some((source.file?, source.line?)));
                named.push((
                    function,
                    line.map(|(file, line)| format!(" at {file}:{line}")).unwrap_or_default(),
                ));
            }
        }
        named
    }
}

/// The bytes of a section. Empty if the section is missing, or compressed: its size in memory would be unbounded.
fn section<'p>(program: &object::File<'p>, id: SectionId) -> &'p [u8] {
    let section = program.section_by_name(id.name()).and_then(|section| section.compressed_data().ok());
    section.filter(|section| section.format == CompressionFormat::None).map_or(&[], |section| section.data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::ObjectSymbol as _;
    use std::{fs, path::Path, process::Command};

    /// Compiles a C program; returns its bytes and the offset of its function `spin`.
    fn compiled(dir: &Path, options: &[&str]) -> (Vec<u8>, u64) {
        fs::write(dir.join("p.c"), "int spin(int n) { return n * 2; }\nint main(void) { return spin(0); }\n")
            .unwrap();
        let mut compiler = Command::new("cc");
        assert!(
            compiler
                .current_dir(dir)
                .args(["-O0", "p.c", "-o", "p"])
                .args(options)
                .status()
                .unwrap()
                .success()
        );
        let bytes = fs::read(dir.join("p")).unwrap();
        let program = object::File::parse(&*bytes).unwrap();
        let start = program.segments().map(|segment| segment.address()).min().unwrap();
        let offset = program.symbol_by_name("spin").unwrap().address() - start;
        (bytes, offset)
    }

    #[test]
    fn offsets_resolve_to_names_and_lines_with_and_without_pie() {
        let dir = tempfile::tempdir().unwrap();
        for option in ["-pie", "-no-pie"] {
            let (bytes, offset) = compiled(dir.path(), &["-g", "-gz=none", option]);
            let info = DebugInfo::parse(&bytes).unwrap();
            assert_eq!(info.symbol(offset).as_deref(), Some("spin"), "{option}");
            let functions = info.functions(offset);
            let [(function, line)] = &*functions else { panic!("{functions:?}") };
            assert_eq!(function.as_deref(), Some("spin"), "{option}");
            assert!(line.ends_with("p.c:1"), "{option}: {line}");
        }
    }

    #[test]
    fn separate_debug_files_are_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let (bytes, offset) = compiled(dir.path(), &["-g", "-gsplit-dwarf"]);
        let others = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let others: Vec<_> = others.filter(|path| path.extension().is_some_and(|end| end == "dwo")).collect();
        assert_eq!(others.len(), 1, "{others:?}");
        fs::remove_file(&others[0]).unwrap();
        // Opening a pipe blocks until it has a writer.
        nix::unistd::mkfifo(&others[0], nix::sys::stat::Mode::S_IRWXU).unwrap();
        let info = DebugInfo::parse(&bytes).unwrap();
        info.functions(offset);
        assert_eq!(info.symbol(offset).as_deref(), Some("spin"));
    }

    #[test]
    fn compressed_debug_information_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let (bytes, offset) = compiled(dir.path(), &["-g", "-gz=zlib"]);
        let info = DebugInfo::parse(&bytes).unwrap();
        assert_eq!(info.symbol(offset).as_deref(), Some("spin"));
        assert_eq!(info.functions(offset), []);
    }

    #[test]
    fn a_truncated_executable_does_not_panic_and_a_script_is_not_parsed() {
        let dir = tempfile::tempdir().unwrap();
        let (bytes, offset) = compiled(dir.path(), &["-g"]);
        for length in (0..bytes.len()).step_by(97) {
            if let Some(info) = DebugInfo::parse(&bytes[..length]) {
                info.functions(offset);
                info.symbol(offset);
            }
        }
        assert!(DebugInfo::parse(b"#!/bin/sh\n").is_none());
    }
}
