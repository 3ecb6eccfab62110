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
            path: None,
        },
        Source::Git { repository, revision, commit, subdirectory, file } => DirectUrl {
            url: without_credentials(repository).into(),
            info: Info::Vcs {
                vcs: "git",
                commit_id: commit.as_deref(),
                requested_revision: revision.as_deref(),
            },
            subdirectory: subdirectory.as_deref(),
            path: file.as_deref(),
        },
        Source::Directory { path, editable } => DirectUrl {
            url: Url::from_file_path(path).ok()?.into(),
            info: Info::Dir { editable: *editable },
            subdirectory: None,
            path: None,
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

/// The order of the fields is uv's.
#[derive(Serialize)]
struct DirectUrl<'pin> {
    url: String,
    #[serde(flatten)]
    info: Info<'pin>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subdirectory: Option<&'pin str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'pin str>,
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

#[cfg(test)]
mod tests {
    use pep508_rs::MarkerTree;
    use url::Url;

    use super::text;
    use crate::lock::{BuildSettings, Origin, Pin, Source};
    use crate::python::PackageName;

    fn direct_url(source: Source) -> String {
        text(&Pin {
            name: PackageName::new("x"),
            version: None,
            source,
            hashes: Vec::new(),
            marker: MarkerTree::default(),
            build: BuildSettings::default(),
            origin: Origin { file: "requirements.txt".into(), line: 1 },
        })
        .unwrap()
    }

    #[test]
    fn a_directory_is_editable_or_not_or_does_not_say() {
        for (editable, info) in
            [(None, "{}"), (Some(false), r#"{"editable":false}"#), (Some(true), r#"{"editable":true}"#)]
        {
            let source = Source::Directory { path: "/a b".into(), editable };
            assert_eq!(direct_url(source), format!(r#"{{"url":"file:///a%20b","dir_info":{info}}}"#));
        }
    }

    #[test]
    fn a_git_repository_keeps_its_account_and_loses_its_password() {
        for (repository, written) in [
            ("ssh://git@git.example/x.git", "ssh://git@git.example/x.git"),
            ("https://me:secret@git.example/x.git", "https://git.example/x.git"),
        ] {
            let source = Source::Git {
                repository: Url::parse(repository).unwrap(),
                revision: Some("v1".to_owned()),
                commit: Some("abc".to_owned()),
                subdirectory: Some("sub".to_owned()),
                file: None,
            };
            let vcs = r#"{"vcs":"git","commit_id":"abc","requested_revision":"v1"}"#;
            assert_eq!(
                direct_url(source),
                format!(r#"{{"url":"{written}","vcs_info":{vcs},"subdirectory":"sub"}}"#)
            );
        }
    }
}
