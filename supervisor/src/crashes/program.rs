//! What a program's file tells of places in it: functions, files, lines.
//!
//! It is read, never mapped: whoever reads a mapped file while a new program is written over it dies of SIGBUS. And no other
//! file that it names is opened, be it its debug information: at that path may be anything, a pipe that never ends included.

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

/// The largest program that is read, in bytes: so much memory is taken for the moment.
const MAX_PROGRAM: u64 = 256 << 20;

/// Its bytes.
///
/// # Errors
/// When it is too large, or the disk says no.
pub(super) fn read(mut file: &File) -> io::Result<Vec<u8>> {
    if file.metadata()?.len() > MAX_PROGRAM {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(MAX_PROGRAM).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What is known of its places, which are told by their distance from the program's beginning in memory.
pub(super) struct Places<'p> {
    /// Where the program itself says that it begins: not at 0 if it cannot be moved.
    base: u64,
    symbols: SymbolMap<SymbolMapName<'p>>,
    functions: Context<EndianSlice<'p, RunTimeEndian>>,
}

impl<'p> Places<'p> {
    /// None if these bytes are no program.
    pub(super) fn find(program: &'p [u8]) -> Option<Self> {
        let program = object::File::parse(program).ok()?;
        let endian = if program.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big };
        let section = |id| Ok::<_, Infallible>(EndianSlice::new(section(&program, id), endian));
        Some(Self {
            base: program.segments().map(|segment| segment.address()).min()?,
            symbols: program.symbol_map(),
            functions: Context::from_dwarf(Dwarf::load(section).ok()?).ok()?,
        })
    }

    /// The symbol there, with its full name.
    pub(super) fn symbol(&self, place: u64) -> Option<String> {
        let symbol = self.symbols.containing(self.base.saturating_add(place))?;
        Some(demangle_auto(symbol.name().into(), None).into_owned())
    }

    /// The functions there, those that were inlined first, and ` at FILE:LINE` in each, where that is known.
    pub(super) fn functions(&self, place: u64) -> Vec<(Option<String>, String)> {
        let mut named = Vec::new();
        if let Ok(mut frames) = self.functions.find_frames(self.base.saturating_add(place)).skip_all_loads() {
            while let Ok(Some(frame)) = frames.next() {
                let function =
                    frame.function.as_ref().and_then(|name| Some(name.demangle().ok()?.into_owned()));
                let line = frame.location.as_ref().and_then(|place| Some((place.file?, place.line?)));
                named.push((
                    function,
                    line.map(|(file, line)| format!(" at {file}:{line}")).unwrap_or_default(),
                ));
            }
        }
        named
    }
}

/// A section's bytes; none where it is missing, or compressed: nobody can say how much memory that takes.
fn section<'p>(program: &object::File<'p>, id: SectionId) -> &'p [u8] {
    let section = program.section_by_name(id.name()).and_then(|section| section.compressed_data().ok());
    section.filter(|section| section.format == CompressionFormat::None).map_or(&[], |section| section.data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::ObjectSymbol as _;
    use std::{fs, path::Path, process::Command};

    /// A program of C, and where its function `spin` begins, from the program's beginning on.
    fn compiled(folder: &Path, options: &[&str]) -> (Vec<u8>, u64) {
        fs::write(
            folder.join("p.c"),
            "int spin(int n) { return n * 2; }\nint main(void) { return spin(0); }\n",
        )
        .unwrap();
        let mut compiler = Command::new("cc");
        assert!(
            compiler
                .current_dir(folder)
                .args(["-O0", "p.c", "-o", "p"])
                .args(options)
                .status()
                .unwrap()
                .success()
        );
        let bytes = fs::read(folder.join("p")).unwrap();
        let program = object::File::parse(&*bytes).unwrap();
        let begins = program.segments().map(|segment| segment.address()).min().unwrap();
        let place = program.symbol_by_name("spin").unwrap().address() - begins;
        (bytes, place)
    }

    #[test]
    fn places_of_programs_that_can_be_moved_and_of_those_that_cannot_have_names_and_lines() {
        let folder = tempfile::tempdir().unwrap();
        for option in ["-pie", "-no-pie"] {
            let (bytes, place) = compiled(folder.path(), &["-g", "-gz=none", option]);
            let places = Places::find(&bytes).unwrap();
            assert_eq!(places.symbol(place).as_deref(), Some("spin"), "{option}");
            let functions = places.functions(place);
            let [(function, line)] = &*functions else { panic!("{functions:?}") };
            assert_eq!(function.as_deref(), Some("spin"), "{option}");
            assert!(line.ends_with("p.c:1"), "{option}: {line}");
        }
    }

    #[test]
    fn debug_information_in_other_files_is_left_alone_whatever_lies_there() {
        let folder = tempfile::tempdir().unwrap();
        let (bytes, place) = compiled(folder.path(), &["-g", "-gsplit-dwarf"]);
        let others = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let others: Vec<_> = others.filter(|path| path.extension().is_some_and(|end| end == "dwo")).collect();
        assert_eq!(others.len(), 1, "{others:?}");
        fs::remove_file(&others[0]).unwrap();
        // Whoever opens it waits for a writer.
        nix::unistd::mkfifo(&others[0], nix::sys::stat::Mode::S_IRWXU).unwrap();
        let places = Places::find(&bytes).unwrap();
        places.functions(place);
        assert_eq!(places.symbol(place).as_deref(), Some("spin"));
    }

    #[test]
    fn compressed_information_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let (bytes, place) = compiled(folder.path(), &["-g", "-gz=zlib"]);
        let places = Places::find(&bytes).unwrap();
        assert_eq!(places.symbol(place).as_deref(), Some("spin"));
        assert_eq!(places.functions(place), []);
    }

    #[test]
    fn a_program_that_is_cut_or_none_at_all_tells_nothing_or_less() {
        let folder = tempfile::tempdir().unwrap();
        let (bytes, place) = compiled(folder.path(), &["-g"]);
        for length in (0..bytes.len()).step_by(97) {
            if let Some(places) = Places::find(&bytes[..length]) {
                places.functions(place);
                places.symbol(place);
            }
        }
        assert!(Places::find(b"#!/bin/sh\n").is_none());
    }
}
