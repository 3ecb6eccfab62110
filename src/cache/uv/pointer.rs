//! uv's pointer files: which archive a cached wheel is, its hash, its file name, and where it came from.
//!
//! `<key>.http` and `revision.http` begin with one MessagePack value, the pointer; what follows is the HTTP cache
//! policy. `<key>.rev` and `revision.rev` hold the pair of [`CacheInfo`] and pointer. uv wrote the pointer as an array
//! of two to five fields, or as a map, and promises none of it: what is not understood is passed over.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rmpv::Value;
use serde::Serialize;
use serde_json::{Map, Value as Json};
use url::Url;

/// Enough for what uv writes, and little enough for a thread's stack when a file is foreign.
const MAX_DEPTH: usize = 16;

/// What a pointer file says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Pointer {
    /// The archive, or for an sdist the live revision: a single path component.
    pub(super) id: String,
    /// In lower-case hex.
    pub(super) sha256: Option<String>,
    /// The wheel's file name, where it is recorded (since uv 0.8).
    pub(super) file_name: Option<String>,
    /// The number of the archive bucket.
    pub(super) archive_bucket: u64,
    /// The state of a local source when it was cached.
    pub(super) cache_info: Option<CacheInfo>,
}

impl Pointer {
    /// Reads the contents of a `.http` or `.rev` file, which `path` tells apart.
    pub(super) fn parse(path: &Path, mut bytes: &[u8]) -> Option<Self> {
        let value = rmpv::decode::read_value_with_max_depth(&mut bytes, MAX_DEPTH).ok()?;
        if path.extension()? == "http" {
            return Self::from_value(&value);
        }
        let [info, pointer] = value.as_array()?.as_slice() else {
            return None;
        };
        Some(Self { cache_info: CacheInfo::from_value(info), ..Self::from_value(pointer)? })
    }

    /// The hash in a `hashes.msgpack`, which lies beside what was built from a source archive in a Git repository.
    pub(super) fn hash_of_archive(mut bytes: &[u8]) -> Option<String> {
        let value = rmpv::decode::read_value_with_max_depth(&mut bytes, MAX_DEPTH).ok()?;
        field(&value, 0, "hashes").and_then(sha256)
    }

    /// The archive, in the cache at `root`.
    pub(super) fn archive(&self, root: &Path) -> PathBuf {
        root.join(format!("archive-v{}", self.archive_bucket)).join(&self.id)
    }

    fn from_value(value: &Value) -> Option<Self> {
        let field = |index, name| field(value, index, name);
        let id = field(0, "id")?.as_str()?;
        if id.is_empty() || id == "." || id == ".." || id.contains(['/', '\0']) {
            return None;
        }
        Some(Self {
            id: id.to_owned(),
            sha256: field(1, "hashes").and_then(sha256),
            file_name: field(2, "filename").and_then(Value::as_str).map(str::to_owned),
            archive_bucket: field(3, "version").and_then(Value::as_u64).unwrap_or(0),
            cache_info: None,
        })
    }
}

/// A field of a struct, which MessagePack holds as an array or as a map.
fn field<'value>(value: &'value Value, index: usize, name: &str) -> Option<&'value Value> {
    match value {
        Value::Array(fields) => fields.get(index),
        Value::Map(fields) => {
            fields.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value)
        }
        _ => None,
    }
}

/// The sha256 in a list of digests: `[["Sha256", hex]]` or `[{"Sha256": hex}]`.
fn sha256(digests: &Value) -> Option<String> {
    digests.as_array()?.iter().find_map(|digest| {
        let (algorithm, hex) = match digest {
            Value::Array(pair) => (pair.first()?, pair.get(1)?),
            Value::Map(pairs) => pairs.first().map(|(algorithm, hex)| (algorithm, hex))?,
            _ => return None,
        };
        algorithm
            .as_str()?
            .eq_ignore_ascii_case("sha256")
            .then(|| hex.as_str().map(str::to_ascii_lowercase))?
    })
}

/// uv's record of a local source when it was cached: the time of its last change, and more for directories.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct CacheInfo {
    pub(super) timestamp: Option<Timestamp>,
    commit: Json,
    tags: Json,
    env: Json,
    directories: Directories,
}

/// When source directories were last changed, in uv's order, which a JSON value would not keep.
type Directories = BTreeMap<String, Directory>;

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum Directory {
    Timestamp(Timestamp),
    Other(Json),
}

/// The change time of a file; of several files the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Timestamp {
    pub(super) secs_since_epoch: u64,
    pub(super) nanos_since_epoch: u64,
}

impl CacheInfo {
    fn from_value(value: &Value) -> Option<Self> {
        if let Some(timestamp) = Timestamp::from_value(value) {
            return Some(Self {
                timestamp: Some(timestamp),
                env: Json::Object(Map::new()),
                ..Self::default()
            });
        }
        let json = |index, name| field(value, index, name).map(to_json);
        Some(Self {
            timestamp: field(value, 0, "timestamp").and_then(Timestamp::from_value),
            commit: json(1, "commit").unwrap_or_default(),
            tags: json(2, "tags").unwrap_or_default(),
            env: json(3, "env").unwrap_or_else(|| Json::Object(Map::new())),
            directories: field(value, 4, "directories").map(directories).unwrap_or_default(),
        })
    }

    /// The text of `uv_cache.json`, without which uv installs a local source again.
    pub(super) fn to_json(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(self).ok()
    }
}

impl Timestamp {
    fn from_value(value: &Value) -> Option<Self> {
        match value.as_array()?.as_slice() {
            [seconds, nanoseconds] => {
                Some(Self { secs_since_epoch: seconds.as_u64()?, nanos_since_epoch: nanoseconds.as_u64()? })
            }
            _ => None,
        }
    }
}

fn directories(value: &Value) -> Directories {
    let directory = |value: &Value| match Timestamp::from_value(value) {
        Some(timestamp) => Directory::Timestamp(timestamp),
        None => Directory::Other(to_json(value)),
    };
    let pairs = value.as_map().map(Vec::as_slice).unwrap_or_default();
    pairs.iter().filter_map(|(key, value)| Some((key.as_str()?.to_owned(), directory(value)))).collect()
}

fn to_json(value: &Value) -> Json {
    match value {
        Value::Boolean(boolean) => Json::Bool(*boolean),
        Value::Integer(integer) => integer.as_i64().map_or_else(|| integer.as_u64().into(), Json::from),
        Value::String(text) => text.as_str().into(),
        Value::Array(values) => values.iter().map(to_json).collect(),
        Value::Map(pairs) => pairs
            .iter()
            .filter_map(|(key, value)| Some((key.as_str()?.to_owned(), to_json(value))))
            .collect::<Map<_, _>>()
            .into(),
        _ => Json::Null,
    }
}

/// The URL of the request that the HTTP cache policy at the end of a `.http` file is about: without credentials, before
/// redirects.
///
/// uv keeps the policy in the layout of the `rkyv` crate: texts lie one after the other without a mark between them, and
/// an eight-byte word gives the length of one and the distance back to it.
pub(super) fn recorded_url(bytes: &[u8]) -> Option<Url> {
    bytes.windows(8).enumerate().find_map(|(position, word)| {
        let (length, distance) = word.split_first_chunk::<4>()?;
        let length = text_length(u32::from_le_bytes(*length))?;
        let distance = i32::from_le_bytes(*distance.first_chunk()?);
        let start = position.checked_add_signed(isize::try_from(distance).ok()?)?;
        let text = std::str::from_utf8(bytes.get(start..start.checked_add(length)?)?).ok()?;
        let mut url = text.contains("://").then(|| Url::parse(text).ok())??;
        url.set_fragment(None);
        Some(url)
    })
}

/// The lowest byte of a length word holds six bits of the length below the mark `10`.
fn text_length(word: u32) -> Option<usize> {
    (word & 0xc0 == 0x80).then(|| usize::try_from((word & 0x3f) | ((word & !0xff) >> 2)).ok())?
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rmpv::Value;
    use serde_json::json;

    use super::{Pointer, recorded_url};

    fn encode(value: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, value).unwrap();
        bytes
    }

    fn text(text: &str) -> Value {
        Value::from(text)
    }

    fn array(values: impl Into<Vec<Value>>) -> Value {
        Value::Array(values.into())
    }

    #[test]
    fn every_shape_that_uv_wrote_is_read() {
        let pair = array([array([text("Sha256"), text("AB")])]);
        let map = array([Value::Map(vec![(text("Sha256"), text("AB"))])]);
        let name = text("six-1.17.0-py2.py3-none-any.whl");
        let named = Value::Map(vec![
            (text("hashes"), pair.clone()),
            (text("id"), text("x")),
            (text("filename"), name.clone()),
        ]);
        for (value, sha256, is_named) in [
            (array([text("x"), array([])]), None, false),
            (array([text("x"), array([]), name.clone(), 0.into()]), None, true),
            (named, Some("ab"), true),
            (array([text("x"), map.clone(), name, 0.into(), 42.into()]), Some("ab"), true),
            (array([text("x"), map, 42.into()]), Some("ab"), false),
        ] {
            let mut bytes = encode(&value);
            bytes.extend(b"the policy");
            let pointer = Pointer::parse(Path::new("x.http"), &bytes).unwrap();
            assert_eq!(pointer.id, "x");
            assert_eq!(pointer.sha256.as_deref(), sha256);
            assert_eq!(pointer.file_name.is_some(), is_named);
            let local = encode(&array([array([1.into(), 2.into()]), value]));
            let pointer = Pointer::parse(Path::new("x.rev"), &local).unwrap();
            assert_eq!(pointer.sha256.as_deref(), sha256);
            assert_eq!(pointer.cache_info.unwrap().timestamp.unwrap().nanos_since_epoch, 2);
        }
    }

    #[test]
    fn what_uv_knew_of_a_directory_becomes_uv_cache_json() {
        let src = Value::Map(vec![(text("src"), array([3.into(), 4.into()]))]);
        let info = array([array([1.into(), 2.into()]), Value::Nil, Value::Nil, Value::Map(Vec::new()), src]);
        let bytes = encode(&array([info, array([text("x"), array([])])]));
        let pointer = Pointer::parse(Path::new("revision.rev"), &bytes).unwrap();
        let json: serde_json::Value =
            serde_json::from_slice(&pointer.cache_info.unwrap().to_json().unwrap()).unwrap();
        let timestamp =
            |seconds, nanoseconds| json!({"secs_since_epoch": seconds, "nanos_since_epoch": nanoseconds});
        assert_eq!(
            json,
            json!({
                "timestamp": timestamp(1, 2),
                "commit": null,
                "tags": null,
                "env": {},
                "directories": {"src": timestamp(3, 4)},
            })
        );
    }

    #[test]
    fn an_id_that_leaves_the_archives_is_refused() {
        for id in ["", ".", "..", "../x", "/x", "x/y", "x\0"] {
            let bytes = encode(&array([text(id), array([])]));
            assert_eq!(Pointer::parse(Path::new("x.http"), &bytes), None, "{id}");
        }
    }

    #[test]
    fn the_url_of_a_request_ends_where_its_length_says() {
        let url = "http://127.0.0.1:8917/url_sd-1.0.tar.gz";
        let mut bytes = [b"\x92\xa1x\x90", url.as_bytes(), b"accept-encoding"].concat();
        assert_eq!(recorded_url(&bytes), None);
        let distance = 4 - i32::try_from(bytes.len()).unwrap();
        bytes.extend([0xa7, 0, 0, 0]);
        bytes.extend(distance.to_le_bytes());
        assert_eq!(recorded_url(&bytes).unwrap().as_str(), url);
    }
}
