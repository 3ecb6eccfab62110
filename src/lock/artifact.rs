//! Wheels and archives as uv.lock and pylock.toml list them.

use std::cmp::Reverse;
use std::path::{Component, Path, PathBuf};

use url::Url;

use super::Source;
use crate::error::{Context, Error, Result};
use crate::python::{Tags, WheelName};

/// The wheel that fits best, of those with these file names: the best tags, then the highest build number.
pub(super) fn best_wheel<'a, W>(
    wheels: &'a [W],
    tags: &Tags,
    file_name: impl Fn(&W) -> Option<String>,
) -> Option<&'a W> {
    let ranked = wheels.iter().filter_map(|wheel| {
        let name: WheelName = file_name(wheel)?.parse().ok()?;
        Some((tags.rank(&name)?, name.build, wheel))
    });
    // Of several that are equal, `min_by_key` gives the first, as uv does.
    ranked.min_by_key(|(rank, build, _)| (*rank, Reverse(build.clone()))).map(|(_, _, wheel)| wheel)
}

/// The last segment of a URL or path, with the escapes that versions need (`+` and `!`) undone.
pub(super) fn file_name(address: &str) -> String {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    name.replace("%2B", "+").replace("%2b", "+").replace("%21", "!")
}

/// A path of a lock that lies in `directory`: absolute, with `..` resolved by name, as uv writes it into
/// `direct_url.json`.
pub(super) fn absolute(directory: &Path, path: &str) -> Result<PathBuf> {
    let path = std::path::absolute(directory.join(path))
        .context(|| format!("the path `{path}` is not understood"))?;
    let mut resolved = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                resolved.pop();
            }
            component => resolved.push(component),
        }
    }
    Ok(resolved)
}

/// A wheel or source archive at a URL, or at a path that counts from `directory`.
pub(super) fn archive(
    directory: &Path,
    url: Option<&str>,
    path: Option<&str>,
    subdirectory: Option<String>,
) -> Result<Source> {
    let url = match (path, url) {
        (Some(path), _) => file_url(&absolute(directory, path)?)?,
        (None, Some(url)) => parse_url(url)?,
        (None, None) => return Err(Error::new("it has neither a URL nor a path")),
    };
    Ok(Source::Archive { url, subdirectory })
}

pub(super) fn file_url(path: &Path) -> Result<Url> {
    Url::from_file_path(path).map_err(|()| Error::new(format!("`{}` is no absolute path", path.display())))
}

pub(super) fn parse_url(text: &str) -> Result<Url> {
    let mut url = Url::parse(text).context(|| "the URL is not understood".to_owned())?;
    url.set_fragment(None);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{absolute, best_wheel, file_name};
    use crate::lock::marker::tests::linux_tags;

    #[test]
    fn a_file_name_has_its_plus_and_no_query() {
        assert_eq!(
            file_name("https://x.example/a/b-1.0%2Bcpu-py3-none-any.whl?x=/#y"),
            "b-1.0+cpu-py3-none-any.whl"
        );
        assert_eq!(file_name("../b.tar.gz"), "b.tar.gz");
    }

    #[test]
    fn a_path_counts_from_the_lock() {
        for (path, expected) in [(".", "/w/p"), ("../lib", "/w/lib"), ("/a/./b/", "/a/b"), ("", "/w/p")] {
            assert_eq!(absolute(Path::new("/w/p"), path).unwrap(), Path::new(expected), "{path}");
        }
    }

    #[test]
    fn the_best_wheel_has_the_best_tags_then_the_highest_build() {
        let tags = linux_tags();
        for (wheels, expected) in [
            (&["a-1-py3-none-any.whl", "a-1-cp311-cp311-linux_x86_64.whl"][..], Some(1)),
            (&["a-1-2-py3-none-any.whl", "a-1-10-py3-none-any.whl", "a-1-py3-none-any.whl"], Some(1)),
            (&["a-1-cp310-cp310-linux_x86_64.whl", "nonsense"], None),
        ] {
            let best = best_wheel(wheels, &tags, |name| Some((*name).to_owned()));
            assert_eq!(best, expected.map(|index: usize| &wheels[index]), "{wheels:?}");
        }
    }
}
