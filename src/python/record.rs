//! RECORD: the files of an installed distribution.

use std::ffi::OsStr;
use std::path::Path;

use csv::{ReaderBuilder, StringRecord, WriterBuilder};
use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// One line of a RECORD.
///
/// Source: <https://packaging.python.org/en/latest/specifications/recording-installed-packages/#the-record-file>
/// (PEP 376, 627).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordEntry {
    /// Path with `/`, relative to site-packages (`../../../bin/tool`) or absolute.
    pub path: String,
    /// `sha256=` and the digest in urlsafe base64 without padding; empty for RECORD itself.
    pub hash: Option<String>,
    /// Size in bytes.
    pub size: Option<u64>,
}

impl RecordEntry {
    /// An entry for a file with these contents.
    pub fn of(path: impl Into<String>, contents: &[u8]) -> Self {
        let digest = BASE64URL_NOPAD.encode(&Sha256::digest(contents));
        Self { path: path.into(), hash: Some(format!("sha256={digest}")), size: Some(contents.len() as u64) }
    }
}

/// Reads a wheel's RECORD. Lines with one, two or three fields are accepted, in any order; a path with a leading
/// `/`, which some build tools write, is read as relative.
///
/// # Errors
/// Text that is not CSV, a size that is not a number; the message names the line.
pub fn parse(text: &str) -> Result<Vec<RecordEntry>> {
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut entries = Vec::new();
    for row in reader.records() {
        let row = row.map_err(|error| Error::new("RECORD is not CSV").because(error))?;
        let entry = parse_row(&row).map_err(|reason| {
            let line = row.position().map_or(0, csv::Position::line);
            Error::new(format!("line {line} of RECORD: {reason}"))
        })?;
        entries.push(entry);
    }
    Ok(entries)
}

/// Writes a RECORD: sorted, each line ended by `\n`, quoted only where needed, as uv writes it.
pub fn format(entries: &[RecordEntry]) -> String {
    let mut sorted: Vec<&RecordEntry> = entries.iter().collect();
    sorted.sort();
    let mut writer = WriterBuilder::new().from_writer(Vec::new());
    for entry in sorted {
        let size = entry.size.map(|size| size.to_string()).unwrap_or_default();
        let hash = entry.hash.as_deref().unwrap_or_default();
        // Writing to memory fails only for rows of unequal length, and these all have three fields.
        let _ = writer.write_record([&entry.path, hash, &size]);
    }
    let bytes = writer.into_inner().unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn parse_row(row: &StringRecord) -> Result<RecordEntry, String> {
    if row.len() > 3 {
        return Err(format!("it has {} fields, not 3", row.len()));
    }
    let field = |index| row.get(index).map(str::trim).filter(|field| !field.is_empty());
    let path = row.get(0).unwrap_or_default().trim_start_matches('/');
    if path.is_empty() {
        return Err("it has no path".to_owned());
    }
    let size = field(2)
        .map(|size| size.parse().map_err(|_| format!("the size `{size}` is no number")))
        .transpose()?;
    Ok(RecordEntry { path: path.to_owned(), hash: field(1).map(str::to_owned), size })
}

/// A relative path as RECORD writes it, with `/` on every system.
pub(crate) fn slashed(path: &Path) -> String {
    let components: Vec<_> = path.iter().map(OsStr::to_string_lossy).collect();
    components.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, hash: Option<&str>, size: Option<u64>) -> RecordEntry {
        RecordEntry { path: path.to_owned(), hash: hash.map(str::to_owned), size }
    }

    #[test]
    fn lines_may_have_one_two_or_three_fields() {
        assert_eq!(
            parse("a.py\nb.py,sha256=x\r\n\nc.py,sha256=y,7\nd.py,,").unwrap(),
            [
                entry("a.py", None, None),
                entry("b.py", Some("sha256=x"), None),
                entry("c.py", Some("sha256=y"), Some(7)),
                entry("d.py", None, None),
            ]
        );
    }

    #[test]
    fn a_leading_slash_is_dropped_and_a_quoted_comma_kept() {
        assert_eq!(
            parse("/selenium/a.py,,\n\"a,\"\"b\"\".py\",,3\n").unwrap(),
            [entry("selenium/a.py", None, None), entry("a,\"b\".py", None, Some(3)),]
        );
    }

    #[test]
    fn an_error_names_the_line() {
        for (text, part) in [
            ("a.py,,\nb.py,,many\n", "line 2 of RECORD: the size `many`"),
            ("a.py,,-1\n", "line 1 of RECORD: the size `-1`"),
            ("a.py,,1,2\n", "line 1 of RECORD: it has 4 fields"),
            ("a.py\n,sha256=x,1\n", "line 2 of RECORD: it has no path"),
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_record_is_written_sorted_and_quoted_only_where_needed() {
        let entries = [
            entry("b c.py", Some("sha256=x"), Some(1)),
            entry("a,b.py", None, None),
            entry("../../../bin/b", Some("sha256=y"), Some(0)),
        ];
        let text = format(&entries);
        assert_eq!(text, "../../../bin/b,sha256=y,0\n\"a,b.py\",,\nb c.py,sha256=x,1\n");
        let mut sorted = entries.to_vec();
        sorted.sort();
        assert_eq!(parse(&text).unwrap(), sorted);
    }

    #[test]
    fn a_file_is_recorded_by_its_sha256_and_size() {
        assert_eq!(
            RecordEntry::of("x-1.0.dist-info/INSTALLER", b"uv"),
            entry(
                "x-1.0.dist-info/INSTALLER",
                Some("sha256=5hhM4Q4mYTT9z6QB6PGpUAW81PGNFrYrdXMj4oM_6ak"),
                Some(2)
            )
        );
    }
}
