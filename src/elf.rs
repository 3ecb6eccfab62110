//! Where a native library looks for others.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use object::elf::{self, DynamicTag, FileHeader32, FileHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::read::{ReadCache, ReadRef};
use object::{Endianness, FileKind};

/// The directories in which the dynamic loader searches for what a library needs, as the library's RPATH and RUNPATH say,
/// and the libraries that it needs by path. None for what is no ELF file. Only the parts that say so are read.
///
/// # Errors
/// The file cannot be read, or is a broken ELF file.
///
/// Source: <https://refspecs.linuxfoundation.org/elf/gabi4+/ch5.dynamic.html>
pub(crate) fn search_paths(path: &Path) -> io::Result<Vec<String>> {
    let mut file = fs_err::File::open(path)?.into_parts().0;
    let mut magic = [0; 4];
    match file.read_exact(&mut magic) {
        Ok(()) if magic == elf::ELFMAG => {}
        Ok(()) => return Ok(Vec::new()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Vec::new()),
        Err(error) => return Err(error),
    }
    let data = ReadCache::new(file);
    match FileKind::parse(&data).map_err(broken)? {
        FileKind::Elf32 => of_class::<FileHeader32<Endianness>>(&data),
        FileKind::Elf64 => of_class::<FileHeader64<Endianness>>(&data),
        _ => Ok(Vec::new()),
    }
}

fn of_class<Elf: FileHeader<Endian = Endianness>>(data: &ReadCache<File>) -> io::Result<Vec<String>> {
    let header = Elf::parse(data).map_err(broken)?;
    let endian = header.endian().map_err(broken)?;
    let segments = header.program_headers(endian, data).map_err(broken)?;
    let mut entries: Vec<(DynamicTag, u64)> = Vec::new();
    for segment in segments {
        let dynamic = segment.dynamic(endian, data).map_err(broken)?.unwrap_or_default().iter();
        let used = dynamic.map(|entry| (entry.d_tag(endian), entry.d_val(endian).into()));
        entries.extend(used.take_while(|(tag, _)| *tag != elf::DT_NULL));
    }
    let Some(&(_, strings)) = entries.iter().find(|(tag, _)| *tag == elf::DT_STRTAB) else {
        return Ok(Vec::new());
    };
    let mut paths = Vec::new();
    for (tag, offset) in entries {
        let is_search = tag == elf::DT_RPATH || tag == elf::DT_RUNPATH;
        if is_search || tag == elf::DT_NEEDED {
            let text = string::<Elf>(segments, endian, data, strings.saturating_add(offset))?;
            paths.extend(text.split(':').filter(|part| is_search || part.contains('/')).map(str::to_owned));
        }
    }
    Ok(paths)
}

/// The string at an address of the loaded library. The segment that has it may be large, and is not read.
fn string<Elf: FileHeader<Endian = Endianness>>(
    segments: &[Elf::ProgramHeader],
    endian: Endianness,
    data: &ReadCache<File>,
    address: u64,
) -> io::Result<String> {
    let loaded = segments.iter().filter(|segment| segment.p_type(endian) == elf::PT_LOAD);
    let range = loaded.into_iter().find_map(|segment| {
        let (start, size) = (segment.p_vaddr(endian).into(), segment.p_filesz(endian).into());
        let inside = address.checked_sub(start).filter(|inside| *inside < size)?;
        let offset: u64 = segment.p_offset(endian).into();
        Some(offset.checked_add(inside)?..offset.checked_add(size)?)
    });
    let bytes = range.and_then(|range| data.read_bytes_at_until(range, 0).ok());
    let bytes = bytes.ok_or_else(|| broken("a string that lies outside of the file"))?;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
