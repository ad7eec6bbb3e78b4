//! Which namespaces there are, and what each speaks.

use super::{DialectName, parse};

/// A namespace's path, or what the paths of dynamic ones look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamespacePath {
    /// This one.
    Fixed(String),
    /// All that begin and end like this, each a realm of its own: `/dynamic-{name}`.
    Dynamic {
        /// What stands before the name.
        prefix: String,
        /// What stands after it.
        suffix: String,
    },
}

/// Bytes of the name of a dynamic namespace.
const NAME_BYTES: usize = 128;

impl NamespacePath {
    fn parse(path: &str) -> Result<Self, String> {
        let usable = |text: &str| !text.contains(['{', '}', '#', ',', '?']) && !text.chars().any(char::is_control);
        if !path.starts_with('/') {
            return Err(format!("`{path}`: a namespace starts with /"));
        }
        match path.split_once('{') {
            None if usable(path) => Ok(Self::Fixed(path.to_owned())),
            Some((prefix, rest)) if prefix.len() > 1 => {
                let (name, suffix) = rest.split_once('}').ok_or_else(|| format!("`{path}`: a }} is missing"))?;
                if name.is_empty() || !usable(prefix) || !usable(name) || !usable(suffix) {
                    return Err(format!("`{path}`: expected a path with one {{name}} in it"));
                }
                Ok(Self::Dynamic { prefix: prefix.to_owned(), suffix: suffix.to_owned() })
            }
            Some(_) => Err(format!("`{path}`: a dynamic namespace needs something between / and {{")),
            None => Err(format!("`{path}`: a namespace must not contain # , ? or control characters")),
        }
    }

    /// Whether this is such a namespace. Names of dynamic ones are bounded, and can be told from each other on the wire.
    pub fn fits(&self, namespace: &str) -> bool {
        match self {
            Self::Fixed(path) => path == namespace,
            Self::Dynamic { prefix, suffix } => {
                let name = namespace.strip_prefix(&**prefix).and_then(|rest| rest.strip_suffix(&**suffix));
                let usable = |c: char| !c.is_control() && !matches!(c, '#' | '/' | ',' | '?' | '{' | '}');
                name.is_some_and(|name| !name.is_empty() && name.len() <= NAME_BYTES && name.chars().all(usable))
            }
        }
    }

    /// The path of a fixed one.
    pub fn fixed(&self) -> Option<&str> {
        match self {
            Self::Fixed(path) => Some(path),
            Self::Dynamic { .. } => None,
        }
    }
}

pub(super) fn namespaces(text: &str) -> Result<Vec<(NamespacePath, DialectName)>, String> {
    let mut namespaces: Vec<(NamespacePath, DialectName)> = Vec::new();
    for item in parse::list(text) {
        let (path, dialect) = item.split_once('=').ok_or_else(|| format!("`{item}`: expected /path=dialect"))?;
        let path = NamespacePath::parse(path)?;
        if namespaces.iter().any(|(known, _)| *known == path) {
            return Err(format!("`{item}`: this namespace is there twice"));
        }
        let dialect = parse::one_of(dialect, &DialectName::ALL)
            .map_err(|expected| format!("`{dialect}`: there is no such dialect, {expected}"))?;
        namespaces.push((path, dialect));
    }
    if namespaces.is_empty() { Err("expected at least one, such as /=native".to_owned()) } else { Ok(namespaces) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_namespace_fits_names_and_nothing_else() {
        let path = NamespacePath::parse("/dynamic-{name}").unwrap();
        for namespace in ["/dynamic-a", "/dynamic-101", "/dynamic-ünï"] {
            assert!(path.fits(namespace), "{namespace}");
        }
        let long = format!("/dynamic-{}", "x".repeat(NAME_BYTES + 1));
        for namespace in
            ["/dynamic-", "/dynamic", "/", "/other", "/dynamic-a/b", "/dynamic-a#b", "/dynamic-\u{0}", &long]
        {
            assert!(!path.fits(namespace), "{namespace}");
        }
    }

    #[test]
    fn what_can_be_no_namespace_is_explained() {
        for text in [
            "native",
            "x=native",
            "/a{=native",
            "/{name}=native",
            "/a#b=native",
            "/a=native,/a=native",
            "/a=klingon",
            "",
        ] {
            assert!(namespaces(text).is_err(), "{text}");
        }
        assert_eq!(namespaces("/=native, /d-{x}=native").unwrap().len(), 2);
    }
}
