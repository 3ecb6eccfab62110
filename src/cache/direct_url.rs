//! `direct_url.json`: where a distribution was installed from, when that is not an index.
//!
//! Source: <https://packaging.python.org/en/latest/specifications/direct-url-data-structure/> (PEP 610).

use serde::Serialize;
use url::Url;

use crate::lock::{Pin, Source};

/// The text of `direct_url.json`, byte for byte as uv writes it; `None` for what an index gave.
pub(super) fn text(pin: &Pin) -> Option<String> {
    let document = match &pin.source {
        Source::Index => return None,
        Source::Archive { url, subdirectory } => DirectUrl {
            url: without_credentials(url).into(),
            info: Info::Archive {},
            subdirectory: subdirectory.as_deref(),
        },
        Source::Git {
            repository,
            revision,
            subdirectory,
        } => DirectUrl {
            url: without_credentials(repository).into(),
            info: Info::Vcs {
                vcs: "git",
                commit_id: revision.as_deref(),
                requested_revision: revision.as_deref(),
            },
            subdirectory: subdirectory.as_deref(),
        },
        Source::Directory { path, editable } => DirectUrl {
            url: Url::from_file_path(path).ok()?.into(),
            info: Info::Dir {
                editable: (*editable || says_editable_or_not(pin)).then_some(*editable),
            },
            subdirectory: None,
        },
    };
    serde_json::to_string(&document).ok()
}

/// The URL as uv and pip record it. `git` is no secret where it only names the account of an SSH server.
pub(super) fn without_credentials(url: &Url) -> Url {
    let mut url = url.clone();
    if !(url.scheme() == "ssh" && url.username() == "git" && url.password().is_none()) {
        // Both fail only for URLs that cannot have credentials.
        let _ = url.set_username("");
        let _ = url.set_password(None);
    }
    url
}

/// uv.lock and pylock.toml tell `editable = false` from silence, requirements files do not; uv compares this field.
fn says_editable_or_not(pin: &Pin) -> bool {
    let extension = pin
        .origin
        .file
        .extension()
        .and_then(|extension| extension.to_str());
    matches!(extension, Some("lock" | "toml"))
}

/// The order of the fields is uv's.
#[derive(Serialize)]
struct DirectUrl<'pin> {
    url: String,
    #[serde(flatten)]
    info: Info<'pin>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subdirectory: Option<&'pin str>,
}

#[derive(Serialize)]
enum Info<'pin> {
    #[serde(rename = "archive_info")]
    Archive {},
    #[serde(rename = "dir_info")]
    Dir {
        #[serde(skip_serializing_if = "Option::is_none")]
        editable: Option<bool>,
    },
    #[serde(rename = "vcs_info")]
    Vcs {
        vcs: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        commit_id: Option<&'pin str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        requested_revision: Option<&'pin str>,
    },
}
