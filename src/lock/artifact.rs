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

/// The text of a lock with empty lines for wheels that do not fit: most of a lock is such wheels, and reading them as
/// TOML would take most of the time. Only a line that holds nothing but one wheel, as uv writes it, is left out.
pub(super) fn without_unfit_wheels(text: &str, tags: &Tags) -> String {
    let mut kept = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let wheel = line.trim().strip_prefix("{ url = \"").filter(|_| line.trim_end().ends_with("},"));
        let url = wheel.and_then(|wheel| wheel.split('"').next());
        let name = url.and_then(|url| url.rsplit('/').next()).filter(|name| name.ends_with(".whl"));
        match name {
            Some(name) if !tags.may_fit(name) => kept.push('\n'),
            _ => kept.push_str(line),
        }
    }
    kept
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
    resolved(&directory.join(path)).context(|| format!("the path `{path}` is not understood"))
}

/// A path, absolute and with `..` resolved by name.
pub(super) fn resolved(path: &Path) -> std::io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
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

    use super::{absolute, best_wheel, file_name, without_unfit_wheels};
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
    fn only_wheels_that_do_not_fit_are_left_out() {
        let kept = "wheels = [\n    { url = \"https://x/a-1-py3-none-any.whl\", size = 1 },\n\
                    { url = \"https://x/a-1-cp311-cp311-linux_x86_64.whl\" },\n\
                    { url = \"https://x/a-1-CP310-cp310-win32.whl\" },\n{ url = \"https://x/a-1.tar.gz\" },\n\
                    { url = \"https://x/a-1-cp310-cp310-win32.whl\" }\n]\n";
        let unfit = "    { url = \"https://x/a-1-cp310-cp310-win32.whl\", size = 2 },\n";
        let text = kept.replacen("    {", &format!("{unfit}    {{"), 1);
        assert_ne!(text, kept);
        let expected = kept.replacen("    {", "\n    {", 1);
        assert_eq!(without_unfit_wheels(&text, &linux_tags()), expected);
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
