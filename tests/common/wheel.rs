//! Wheels, made from a few words; good ones, and ones that lie.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// A wheel in the making.
#[derive(Clone)]
pub struct WheelBuilder {
    name: String,
    version: String,
    tags: String,
    members: BTreeMap<String, (Vec<u8>, u32)>,
    requires: Vec<String>,
    entry_points: BTreeMap<String, Vec<String>>,
    raw_record: Option<String>,
}

impl WheelBuilder {
    /// An empty pure Python wheel.
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            tags: "py3-none-any".to_owned(),
            members: BTreeMap::new(),
            requires: Vec::new(),
            entry_points: BTreeMap::new(),
            raw_record: None,
        }
    }

    /// Tags other than `py3-none-any`.
    pub fn tags(mut self, tags: &str) -> Self {
        tags.clone_into(&mut self.tags);
        self
    }

    /// A file of mode 0644.
    pub fn file(self, path: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.member(path, bytes.as_ref(), 0o644)
    }

    /// A file of mode 0755.
    pub fn executable(self, path: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.member(path, bytes.as_ref(), 0o755)
    }

    /// A file of `NAME-VERSION.data/`, such as `scripts/tool` or `data/share/doc/x`.
    pub fn data(self, path: &str, bytes: impl AsRef<[u8]>) -> Self {
        let path = format!("{}.data/{path}", self.stem());
        let mode = if path.contains(".data/scripts/") { 0o755 } else { 0o644 };
        self.member(&path, bytes.as_ref(), mode)
    }

    /// A line of entry_points.txt, as it is written there: `("console_scripts", "tool = pkg:main")`. The line may lie.
    pub fn entry_point(mut self, group: &str, line: &str) -> Self {
        self.entry_points.entry(group.to_owned()).or_default().push(line.to_owned());
        self
    }

    /// A `Requires-Dist` line of METADATA.
    pub fn requires(mut self, requirement: &str) -> Self {
        self.requires.push(requirement.to_owned());
        self
    }

    /// This RECORD instead of the true one.
    pub fn raw_record(mut self, record: &str) -> Self {
        self.raw_record = Some(record.to_owned());
        self
    }

    /// `name==version`.
    pub fn pin(&self) -> String {
        format!("{}=={}", self.name, self.version)
    }

    /// The distribution's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of its dist-info directory.
    pub fn dist_info(&self) -> String {
        format!("{}.dist-info", self.stem())
    }

    /// Writes the wheel into a folder; returns its path.
    pub fn build(&self, folder: &Path) -> PathBuf {
        let mut members = self.members.clone();
        let dist_info = self.dist_info();
        members.insert(format!("{dist_info}/METADATA"), (self.metadata().into_bytes(), 0o644));
        members.insert(format!("{dist_info}/WHEEL"), (self.wheel_file().into_bytes(), 0o644));
        if !self.entry_points.is_empty() {
            members.insert(
                format!("{dist_info}/entry_points.txt"),
                (self.entry_points_file().into_bytes(), 0o644),
            );
        }
        let record_path = format!("{dist_info}/RECORD");
        let record = self.raw_record.clone().unwrap_or_else(|| record(&members, &record_path));
        members.insert(record_path, (record.into_bytes(), 0o644));

        fs_err::create_dir_all(folder).unwrap();
        let path = folder.join(format!("{}-{}.whl", self.stem(), self.tags));
        let mut archive = ZipWriter::new(fs_err::File::create(&path).unwrap());
        for (name, (bytes, mode)) in &members {
            archive.start_file(name.as_str(), SimpleFileOptions::default().unix_permissions(*mode)).unwrap();
            archive.write_all(bytes).unwrap();
        }
        archive.finish().unwrap();
        path
    }

    fn member(mut self, path: &str, bytes: &[u8], mode: u32) -> Self {
        self.members.insert(path.to_owned(), (bytes.to_vec(), mode));
        self
    }

    fn stem(&self) -> String {
        format!("{}-{}", self.name.replace(['-', '.'], "_"), self.version)
    }

    fn metadata(&self) -> String {
        let mut text = format!("Metadata-Version: 2.1\nName: {}\nVersion: {}\n", self.name, self.version);
        for requirement in &self.requires {
            text += &format!("Requires-Dist: {requirement}\n");
        }
        text
    }

    fn wheel_file(&self) -> String {
        let is_pure = self.tags.ends_with("-any");
        let mut text = format!("Wheel-Version: 1.0\nGenerator: sitefs-tests\nRoot-Is-Purelib: {is_pure}\n");
        for tag in expanded(&self.tags) {
            text += &format!("Tag: {tag}\n");
        }
        text
    }

    fn entry_points_file(&self) -> String {
        let group = |(name, lines): (&String, &Vec<String>)| format!("[{name}]\n{}\n\n", lines.join("\n"));
        self.entry_points.iter().map(group).collect()
    }
}

/// `py2.py3-none-any` stands for two tags.
fn expanded(tags: &str) -> BTreeSet<String> {
    let parts: Vec<Vec<&str>> = tags.split('-').map(|part| part.split('.').collect()).collect();
    let [pythons, abis, platforms] = parts.as_slice() else { panic!("three parts in {tags}") };
    let with_platforms = |python: &str, abi: &str| -> Vec<String> {
        platforms.iter().map(|platform| format!("{python}-{abi}-{platform}")).collect()
    };
    pythons.iter().flat_map(|python| abis.iter().flat_map(move |abi| with_platforms(python, abi))).collect()
}

fn record(members: &BTreeMap<String, (Vec<u8>, u32)>, record_path: &str) -> String {
    let mut text = String::new();
    for (name, (bytes, _)) in members {
        let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(bytes));
        text += &format!("{name},sha256={digest},{}\n", bytes.len());
    }
    text + &format!("{record_path},,\n")
}
