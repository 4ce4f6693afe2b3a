//! Other people's packages: their licences, their sources, and no package in two versions without a reason.
//! Leaves what is allowed to `plan`; `deny.toml` is written from it, so that `cargo deny` says the same.
use super::plan::{DUPLICATES, LICENCES, SOURCES, TARGET};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// What `cargo metadata` says of a package.
#[derive(Clone, Debug)]
pub struct Package {
    pub name: String,
    pub version: String,
    pub licence: Option<String>,
    /// None is a folder of ours.
    pub source: Option<String>,
}

type Allowed<'a> = &'a [(&'a str, &'a str)];

pub fn check(packages: &[Package]) -> Vec<String> {
    let mut wrong = Vec::new();
    for package in packages {
        let named = format!("{} {}", package.name, package.version);
        match &package.licence {
            None => wrong.push(format!("{named}: has no licence")),
            Some(licence) if !is_allowed(licence, LICENCES) => {
                wrong.push(format!(
                    "{named}: the plan does not allow its licence, {licence}"
                ));
            }
            Some(_) => {}
        }
        if let Some(source) = &package.source
            && !SOURCES.iter().any(|(allowed, _)| allowed == source)
        {
            wrong.push(format!(
                "{named}: the plan does not allow its source, {source}"
            ));
        }
    }
    wrong.extend(duplicates(packages, DUPLICATES));
    wrong
}

/// A reason that is no longer needed is wrong too, so that the list stays true.
fn duplicates(packages: &[Package], allowed: Allowed) -> Vec<String> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages {
        versions
            .entry(&package.name)
            .or_default()
            .insert(&package.version);
    }
    let mut wrong = Vec::new();
    for (name, versions) in &versions {
        if versions.len() > 1 && !allowed.iter().any(|(allowed, _)| allowed == name) {
            let versions: Vec<&str> = versions.iter().copied().collect();
            wrong.push(format!(
                "{name}: is compiled in the versions {}; the plan has no reason for that",
                versions.join(" and ")
            ));
        }
    }
    for (name, _) in allowed {
        if versions.get(name).is_none_or(|versions| versions.len() < 2) {
            wrong.push(format!(
                "{name}: the plan allows several versions, and there are none any more"
            ));
        }
    }
    wrong
}

/// An SPDX expression: `OR` (or `/`, as it was once written) binds less than `AND`.
fn is_allowed(expression: &str, allowed: Allowed) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    any_of(&mut rest, allowed) && rest.is_empty()
}

fn any_of(rest: &mut &[&str], allowed: Allowed) -> bool {
    let mut fine = all_of(rest, allowed);
    while let ["OR", after @ ..] = *rest {
        *rest = after;
        fine |= all_of(rest, allowed);
    }
    fine
}

fn all_of(rest: &mut &[&str], allowed: Allowed) -> bool {
    let mut fine = one(rest, allowed);
    while let ["AND", after @ ..] = *rest {
        *rest = after;
        fine &= one(rest, allowed);
    }
    fine
}

fn one(rest: &mut &[&str], allowed: Allowed) -> bool {
    match *rest {
        ["(", after @ ..] => {
            *rest = after;
            let fine = any_of(rest, allowed);
            let [")", after @ ..] = *rest else {
                return false;
            };
            *rest = after;
            fine
        }
        // An exception only permits more.
        [name, "WITH", _, after @ ..] | [name, after @ ..] => {
            *rest = after;
            allowed.iter().any(|(allowed, _)| allowed == name)
        }
        [] => false,
    }
}

/// The text of `deny.toml`.
pub fn deny_toml() -> String {
    let mut text = format!(
        "# Written by `cargo xtask tidy --write` from xtask/src/tidy/plan.rs, where the reasons are; for `cargo deny check`.\n\n\
         [graph]\ntargets = [{TARGET:?}]\nall-features = true\n\n[licenses]\nallow = [\n"
    );
    for (licence, why) in LICENCES {
        writeln!(text, "    {licence:?}, # {why}").expect("a String grows");
    }
    text += "]\n\n[bans]\nmultiple-versions = \"deny\"\nskip = [\n";
    for (name, reason) in DUPLICATES {
        writeln!(text, "    {{ crate = {name:?}, reason = {reason:?} }},").expect("a String grows");
    }
    text +=
        "]\n\n[sources]\nunknown-registry = \"deny\"\nunknown-git = \"deny\"\nallow-registry = [\n";
    for (source, why) in SOURCES {
        let source = source.trim_start_matches("registry+");
        writeln!(text, "    {source:?}, # {why}").expect("a String grows");
    }
    text + "]\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_licence_is_judged_as_its_expression_says() {
        let allowed = [("MIT", ""), ("Apache-2.0", ""), ("ISC", "")];
        for (expression, fine) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("GPL-3.0 OR MIT", true),
            ("GPL-3.0/MIT", true),
            ("MIT AND GPL-3.0", false),
            ("Apache-2.0 AND ISC", true),
            ("MIT OR GPL-3.0 AND ISC", true),
            ("(MIT OR GPL-3.0) AND ISC", true),
            ("(MIT OR GPL-3.0) AND BSL-1.0", false),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("GPL-2.0 WITH Classpath-exception-2.0 OR MIT", true),
            ("(MIT", false),
            ("MIT)", false),
            ("", false),
        ] {
            assert_eq!(is_allowed(expression, &allowed), fine, "{expression}");
        }
    }

    fn package(name: &str, version: &str) -> Package {
        Package {
            name: name.into(),
            version: version.into(),
            licence: Some("MIT".into()),
            source: None,
        }
    }

    #[test]
    fn two_versions_need_a_reason_and_a_reason_two_versions() {
        let packages = [
            package("a", "1.0.0"),
            package("a", "2.0.0"),
            package("b", "1.0.0"),
        ];
        assert_eq!(
            duplicates(&packages, &[("b", "why")]),
            [
                "a: is compiled in the versions 1.0.0 and 2.0.0; the plan has no reason for that",
                "b: the plan allows several versions, and there are none any more"
            ]
        );
        assert_eq!(duplicates(&packages, &[("a", "why")]), Vec::<String>::new());
    }

    #[test]
    fn a_package_from_elsewhere_is_found() {
        let git = Package {
            source: Some("git+https://example.org/a".into()),
            licence: None,
            ..package("a", "1.0.0")
        };
        let wrong = check(&[git]);
        assert_eq!(wrong[0], "a 1.0.0: has no licence");
        assert_eq!(
            wrong[1],
            "a 1.0.0: the plan does not allow its source, git+https://example.org/a"
        );
    }
}
