//! Wheels that lie or attack: refused with the reason, and nothing of them is kept.

use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::common::{Outcome, Sandbox, WheelBuilder, assert_same, clean_command, exact_tree};
use crate::{archives, cache, greet, leftovers, other, store};

const METADATA: &[u8] = b"Metadata-Version: 2.1\nName: bad\nVersion: 1.0\n";
const WHEEL: &[u8] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n";

/// A wheel whose every member and line of RECORD is the test's own.
struct Crafted {
    members: Vec<(String, Vec<u8>)>,
    record: String,
    dist_info: &'static str,
}

impl Crafted {
    fn new() -> Self {
        Self::with_dist_info("bad-1.0.dist-info")
    }

    fn with_dist_info(dist_info: &'static str) -> Self {
        let crafted = Self { members: Vec::new(), record: String::new(), dist_info };
        crafted.file(&format!("{dist_info}/METADATA"), METADATA).file(&format!("{dist_info}/WHEEL"), WHEEL)
    }

    /// A file that RECORD is true about.
    fn file(self, path: &str, bytes: &[u8]) -> Self {
        let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(bytes));
        let line = format!("{path},sha256={digest},{}\n", bytes.len());
        self.unrecorded(path, bytes).recorded(&line)
    }

    fn unrecorded(mut self, path: &str, bytes: &[u8]) -> Self {
        self.members.push((path.to_owned(), bytes.to_vec()));
        self
    }

    fn recorded(mut self, line: &str) -> Self {
        self.record += line;
        self
    }

    fn build(self, folder: &Path) -> PathBuf {
        self.build_with(folder, |_, options| options)
    }

    fn build_with(
        mut self,
        folder: &Path,
        options: impl Fn(&str, SimpleFileOptions) -> SimpleFileOptions,
    ) -> PathBuf {
        let path = format!("{}/RECORD", self.dist_info);
        let record = format!("{}{path},,\n", self.record);
        self.members.push((path, record.into_bytes()));
        let wheel = folder.join("bad-1.0-py3-none-any.whl");
        let mut archive = ZipWriter::new(fs_err::File::create(&wheel).unwrap());
        for (name, bytes) in &self.members {
            let plain = SimpleFileOptions::default().unix_permissions(0o644);
            archive.start_file(name.as_str(), options(name, plain)).unwrap();
            archive.write_all(bytes).unwrap();
        }
        archive.finish().unwrap();
        wheel
    }
}

/// Replaces bytes everywhere in a file: in the central directory of a ZIP as in the headers of its files.
fn patch(path: &Path, from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len());
    let mut bytes = fs_err::read(path).unwrap();
    let found: Vec<usize> =
        (0..=bytes.len() - from.len()).filter(|&at| bytes[at..].starts_with(from)).collect();
    assert!(!found.is_empty(), "nothing to patch");
    for at in found {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    fs_err::write(path, bytes).unwrap();
}

/// The wheel that `make` makes is refused for a reason with these words. Nothing is left of it, in the store or elsewhere.
#[track_caller]
fn refused(reason: &str, make: impl FnOnce(&Path) -> PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let wheel = make(folder.path());
    let outside = || {
        let mut tree = exact_tree(folder.path());
        tree.retain(|path, _| !path.starts_with("home"));
        tree
    };
    let before = outside();
    let mut command = clean_command(env!("CARGO_BIN_EXE_sitefs"), &home);
    command.args(["cache", "add"]).arg(wheel).current_dir(folder.path());
    Outcome::of(&mut command).fails().says("bad-1.0").says(reason);
    let store = home.join(".cache/sitefs/store");
    assert!(store.is_dir());
    assert_eq!(archives(&store), Vec::<PathBuf>::new());
    assert_eq!(leftovers(&store), Vec::<PathBuf>::new());
    assert_same("before", &before, "after", &outside());
}

#[test]
fn names_that_lead_out_of_the_wheel() {
    for name in
        ["../evil.py", "a/../../evil.py", "/evil.py", "a\\..\\evil.py", "./evil.py", "a//evil.py", "a/./e.py"]
    {
        refused("is not safe to unpack", |folder| Crafted::new().file(name, b"1").build(folder));
    }
}

#[test]
fn a_record_that_leads_out_of_the_wheel() {
    refused("leads out", |folder| Crafted::new().recorded("../../../bin/python,,\n").build(folder));
}

#[test]
fn links_and_special_files() {
    for kind in [0o120_777, 0o010_644, 0o020_644, 0o140_644] {
        refused("is a link or a special file", |folder| {
            let wheel = Crafted::new().file("bad.py", b"/etc/passwd").build(folder);
            // The mode of a regular file, in the high half of the external attributes.
            let (regular, other) = (0o100_644_u32 << 16, kind << 16);
            patch(&wheel, &regular.to_le_bytes(), &u32::to_le_bytes(other));
            wheel
        });
    }
}

#[test]
fn a_name_that_is_there_twice() {
    refused("duplicate", |folder| {
        let wheel = Crafted::new().file("bad1.py", b"1").file("bad2.py", b"2").build(folder);
        patch(&wheel, b"bad2.py", b"bad1.py");
        wheel
    });
}

#[test]
fn names_that_are_one_where_case_does_not_count() {
    refused("upper and lower case", |folder| {
        Crafted::new().file("bad/a.py", b"1").file("Bad/b.py", b"2").build(folder)
    });
    refused("a file and a directory", |folder| {
        Crafted::new().file("bad", b"1").file("bad/b.py", b"2").build(folder)
    });
}

#[test]
fn a_record_that_lies() {
    let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(b"another"));
    let empty = Crafted::new;
    refused("another hash than its RECORD says", |folder| {
        empty()
            .unrecorded("bad.py", b"content")
            .recorded(&format!("bad.py,sha256={digest},7\n"))
            .build(folder)
    });
    refused("and 8 by its RECORD", |folder| {
        empty()
            .unrecorded("bad.py", b"content")
            .recorded(&format!("bad.py,sha256={digest},8\n"))
            .build(folder)
    });
    refused("is not in its RECORD", |folder| empty().unrecorded("bad.py", b"1").build(folder));
    refused("not in the wheel", |folder| {
        empty().recorded(&format!("gone.py,sha256={digest},7\n")).build(folder)
    });
    refused("has no hash of `bad.py`", |folder| {
        empty().unrecorded("bad.py", b"1").recorded("bad.py,,\n").build(folder)
    });
    refused("does not count: md5", |folder| {
        empty().unrecorded("bad.py", b"1").recorded("bad.py,md5=abc,1\n").build(folder)
    });
    refused("twice", |folder| empty().file("bad.py", b"1").recorded("bad.py,sha256=x,2\n").build(folder));
    refused("RECORD", |folder| empty().recorded("a,b,c,d,e\n").build(folder));
}

#[test]
fn dist_info_directories_that_are_missing_too_many_or_about_something_else() {
    refused("two dist-info directories", |folder| {
        Crafted::new().file("good-1.0.dist-info/METADATA", METADATA).build(folder)
    });
    refused("it holds good-1.0", |folder| Crafted::with_dist_info("good-1.0.dist-info").build(folder));
    refused("it holds bad-2.0", |folder| Crafted::with_dist_info("bad-2.0.dist-info").build(folder));
    refused("no *.dist-info directory", |folder| Crafted::with_dist_info("bad.egg-info").build(folder));
}

#[test]
fn a_bomb() {
    // 1.1 GiB of zeros in 1.1 MB, honestly recorded: it is refused before a byte is unpacked.
    refused("a ZIP bomb", |folder| {
        let wheel = folder.join("bad-1.0-py3-none-any.whl");
        let mut archive = ZipWriter::new(fs_err::File::create(&wheel).unwrap());
        let deflated = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        archive.start_file("zeros", deflated).unwrap();
        let zeros = vec![0; 1 << 20];
        (0..1126).for_each(|_| archive.write_all(&zeros).unwrap());
        archive.finish().unwrap();
        wheel
    });
}

#[test]
fn a_file_that_is_longer_than_the_directory_says() {
    refused("bad.py", |folder| {
        let deflated =
            |_: &str, options: SimpleFileOptions| options.compression_method(CompressionMethod::Deflated);
        let content = vec![b'x'; 123_456];
        let wheel = Crafted::new().file("bad.py", &content).build_with(folder, deflated);
        // The sizes in both headers, and the one in RECORD, say 10.
        patch(&wheel, &123_456_u32.to_le_bytes(), &10_u32.to_le_bytes());
        wheel
    });
}

#[test]
fn entries_that_share_their_bytes() {
    refused("ambiguous", |folder| {
        let wheel = folder.join("bad-1.0-py3-none-any.whl");
        let mut archive = ZipWriter::new(fs_err::File::create(&wheel).unwrap());
        archive.start_file("a.py", SimpleFileOptions::default()).unwrap();
        archive.write_all(b"content").unwrap();
        archive.shallow_copy_file("a.py", "b.py").unwrap();
        archive.finish().unwrap();
        wheel
    });
}

#[test]
fn what_is_encrypted_or_compressed_in_an_unknown_way() {
    let flags_at = |wheel: &Path, signature: &[u8], offset: usize, value: u16| {
        let mut bytes = fs_err::read(wheel).unwrap();
        let at: Vec<usize> = (0..bytes.len() - 4).filter(|&at| bytes[at..].starts_with(signature)).collect();
        for at in at {
            bytes[at + offset..at + offset + 2].copy_from_slice(&value.to_le_bytes());
        }
        fs_err::write(wheel, bytes).unwrap();
    };
    let patched = |folder: &Path, offset: usize, value: u16| {
        let wheel = Crafted::new().build(folder);
        flags_at(&wheel, b"PK\x03\x04", offset, value);
        flags_at(&wheel, b"PK\x01\x02", offset + 2, value);
        wheel
    };
    refused("encrypted", |folder| patched(folder, 6, 1));
    // 93 is Zstandard, 14 is LZMA, 9 is Deflate64.
    for method in [93, 14, 9] {
        refused("which wheels are not", |folder| patched(folder, 8, method));
    }
}

#[test]
fn what_is_cut_short_or_no_zip() {
    refused("cut short or damaged", |folder| {
        let wheel = Crafted::new().file("bad.py", &[b'x'; 1000]).build(folder);
        let bytes = fs_err::read(&wheel).unwrap();
        fs_err::write(&wheel, &bytes[..bytes.len() - 100]).unwrap();
        wheel
    });
    refused("no wheel", |folder| {
        let wheel = folder.join("bad-1.0-py3-none-any.whl");
        fs_err::write(&wheel, "<html>404</html>").unwrap();
        wheel
    });
    refused("bad-1.0", |folder| {
        let stored =
            |_: &str, options: SimpleFileOptions| options.compression_method(CompressionMethod::Stored);
        let wheel = Crafted::new().file("bad.py", &[b'x'; 1000]).build_with(folder, stored);
        patch(&wheel, &[b'x'; 900], &[b'y'; 900]);
        wheel
    });
}

#[test]
fn one_bad_wheel_does_not_keep_the_others_out_and_is_said() {
    let test = Sandbox::new();
    let folder = test.root().join("folder");
    greet().build(&folder);
    other().build(&folder);
    Crafted::new().unrecorded("bad.py", b"1").build(&folder);
    cache(&test, [std::ffi::OsStr::new("add"), folder.as_os_str()])
        .fails()
        .says("bad.py")
        .says("added 2 wheels");
    assert_eq!(archives(&store(&test)).len(), 2);
}

#[test]
fn a_mount_that_needs_a_bad_wheel_fails_and_leaves_nothing() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let test = crate::with_wheelhouse(test, &[greet()]);
    let wheel = Crafted::new().unrecorded("bad.py", b"1").build(&test.cache);
    test.seal_cache();
    // What no lock needs is not opened, and harms nobody.
    test.mount().succeeds();
    test.unmount().succeeds();
    let before = test.environment();
    test.lock("greet==1.0\nbad==1.0");
    test.mount().fails().says(wheel.to_str().unwrap()).says("is not in its RECORD");
    test.nothing_left(&before);
}

#[test]
fn an_honest_wheel_is_taken() {
    let test = Sandbox::new();
    let wheel = WheelBuilder::new("greet", "1.0").executable("greet/tool", "x").file("greet/é ü.txt", "x");
    cache(&test, [std::ffi::OsStr::new("add"), wheel.build(&test.root()).as_os_str()]).succeeds();
    let archive = archives(&store(&test)).pop().unwrap();
    let modes: Vec<(String, u32)> = exact_tree(&archive)
        .into_iter()
        .map(|(path, entry)| (path.display().to_string(), entry.mode & 0o7777))
        .collect();
    let mode = |path: &str| modes.iter().find(|(other, _)| other == path).unwrap().1;
    assert_eq!(mode(""), 0o555);
    assert_eq!(mode("greet"), 0o555);
    assert_eq!(mode("greet/tool"), 0o555);
    assert_eq!(mode("greet/é ü.txt"), 0o444);
    assert_eq!(mode("greet-1.0.dist-info/RECORD"), 0o444);
}
