//! Who imports whom, between crates and between the folders of a crate, and whether the plan has that arrow.
//! Leaves circles of files to `circles`, and finding imports to `source` and `tree`.
use super::plan::{Crate, FOR_TESTS, Kind, May, Room, TESTS_MAY};
use super::tree::{File, Tree};
use std::collections::BTreeSet;

/// A crate of the workspace, and those that it depends on.
#[derive(Clone, Debug, Default)]
pub struct Member {
    pub name: String,
    pub uses: Vec<String>,
    pub uses_in_tests: Vec<String>,
    /// All that it is built from, however far away.
    pub reaches: BTreeSet<String>,
}

pub fn check_crates(plan: &[Crate], members: &[Member]) -> Vec<String> {
    let mut wrong = Vec::new();
    for one in plan {
        if !members.iter().any(|member| member.name == one.name) {
            wrong.push(format!(
                "{}: the plan has crate {}, the workspace has not",
                one.dir, one.name
            ));
        }
    }
    for member in members {
        let name = &member.name;
        let Some(one) = plan.iter().find(|one| one.name == *name) else {
            wrong.push(format!("Cargo.toml: crate {name} is not in the plan"));
            continue;
        };
        let manifest = format!("{}/Cargo.toml", one.dir);
        for to in &member.uses {
            if !one.may.contains(&to.as_str()) {
                wrong.push(format!("{manifest}: the plan has no arrow {name} -> {to}"));
            }
        }
        let more = TESTS_MAY.iter().find(|(who, _)| who == name);
        for to in &member.uses_in_tests {
            let to = to.as_str();
            // A crate names itself to have its own features in its tests.
            let allowed = to == name
                || one.may.contains(&to)
                || FOR_TESTS.contains(&to)
                || more.is_some_and(|(_, more)| more.contains(&to));
            if !allowed {
                wrong.push(format!(
                    "{manifest}: the plan has no arrow {name} -> {to}, not even for tests"
                ));
            }
        }
        for far in one
            .never
            .iter()
            .filter(|far| member.reaches.contains(**far))
        {
            wrong.push(format!(
                "{manifest}: {name} must not be built from {far}, which `cargo tree -i {far}` finds below it"
            ));
        }
    }
    wrong
}

/// Arrows between folders and files right below `src`.
pub type Arrows = BTreeSet<(String, String)>;

/// The arrows that are there, and what is wrong with them. A forbidden arrow is told once per file, with its first line.
pub fn check_folders(one: &Crate, tree: &Tree) -> (Arrows, Vec<String>) {
    let mut arrows = Arrows::new();
    let mut wrong = Vec::new();
    let mut told = BTreeSet::new();
    if one.rooms.is_empty() {
        return (arrows, wrong);
    }
    for found in tree.uses() {
        let (from, to) = (&tree.files[found.from], &tree.files[found.to]);
        let (room, other) = (name_of(from), name_of(to));
        if room == other {
            continue;
        }
        if !may(one.rooms, &room, &other) && told.insert((found.from, other.clone())) {
            wrong.push(format!(
                "{}:{}: the plan of {}/src has no arrow {room} -> {other} ({})",
                from.path.display(),
                found.line,
                one.dir,
                to.path.display(),
            ));
        }
        arrows.insert((room, other));
    }
    (arrows, wrong)
}

/// The folder or file right below `src`.
fn name_of(file: &File) -> String {
    file.module.first().cloned().unwrap_or_else(|| {
        let stem = file.path.file_stem().unwrap_or_default();
        stem.to_string_lossy().into_owned()
    })
}

fn may(rooms: &[Room], from: &str, to: &str) -> bool {
    let find = |name: &str| rooms.iter().find(|room| room.name == name);
    match find(from).map(|room| room.may) {
        Some(May::ImportAll) => true,
        // What the plan does not name is shared, and so at the bottom.
        Some(May::Import(names)) => names.contains(&to) || find(to).is_none(),
        None => find(to).is_none(),
    }
}

/// `folders` and `files` are the names right below `src`, files without `.rs`.
pub fn check_rooms(
    one: &Crate,
    folders: &BTreeSet<String>,
    files: &BTreeSet<String>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    if one.rooms.is_empty() {
        return wrong;
    }
    for room in one.rooms {
        let there = match room.kind {
            Kind::Folder => folders,
            Kind::File => files,
        };
        if !there.contains(room.name) {
            wrong.push(format!(
                "{}/src/{}: is in the plan and missing on disk",
                one.dir, room.name
            ));
        }
    }
    for name in folders {
        // `x/` beside `x.rs` is that file's.
        if !one.rooms.iter().any(|room| room.name == name) && !files.contains(name) {
            wrong.push(format!(
                "{}/src/{name}: is a folder that is not in the plan",
                one.dir
            ));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::super::plan;
    use super::super::tree::of;
    use super::*;

    const ROOMS: &[Room] = &[
        Room {
            name: "lib",
            kind: Kind::File,
            may: May::ImportAll,
            owns: "",
        },
        Room {
            name: "front",
            kind: Kind::Folder,
            may: May::Import(&["records"]),
            owns: "",
        },
        Room {
            name: "records",
            kind: Kind::Folder,
            may: May::Import(&[]),
            owns: "",
        },
    ];

    fn small() -> Crate {
        Crate {
            name: "small",
            dir: "small",
            owns: "",
            lacks: "",
            may: &["base"],
            no_std: false,
            never: &["far"],
            rooms: ROOMS,
        }
    }

    fn names(list: &[&str]) -> BTreeSet<String> {
        list.iter().map(|name| (*name).to_string()).collect()
    }

    fn folders(front: &str, records: &str, clock: &str) -> (Arrows, Vec<String>) {
        let tree = of(&[
            (
                "src/lib.rs",
                "mod clock;\nmod front;\nmod records;\nuse crate::front::f;",
            ),
            ("src/clock.rs", clock),
            ("src/front/mod.rs", front),
            ("src/records/mod.rs", "mod kv;"),
            ("src/records/kv.rs", records),
        ]);
        check_folders(&small(), &tree)
    }

    #[test]
    fn an_arrow_of_the_plan_is_printed_and_fine() {
        let (arrows, wrong) = folders("use crate::{clock, records::kv::Kv};", "", "");
        let arrow = |from: &str, to: &str| (from.to_string(), to.to_string());
        assert_eq!(
            arrows,
            [
                arrow("front", "clock"),
                arrow("front", "records"),
                arrow("lib", "front")
            ]
            .into()
        );
        assert_eq!(wrong, Vec::<String>::new());
    }

    #[test]
    fn a_forbidden_arrow_is_told_with_file_and_line() {
        let (_, wrong) = folders("", "\n\nuse super::super::front::f;", "");
        assert_eq!(
            wrong,
            [
                "src/records/kv.rs:3: the plan of small/src has no arrow records -> front (src/front/mod.rs)"
            ]
        );
    }

    #[test]
    fn a_shared_file_imports_no_folder() {
        let (_, wrong) = folders("", "", "fn f() { crate::records::kv::g() }");
        assert_eq!(
            wrong,
            [
                "src/clock.rs:1: the plan of small/src has no arrow clock -> records (src/records/kv.rs)"
            ]
        );
    }

    #[test]
    fn a_forbidden_dependency_is_found() {
        let member = |uses: &[&str], tests: &[&str], reaches: &[&str]| Member {
            name: "small".into(),
            uses: uses.iter().map(|name| (*name).into()).collect(),
            uses_in_tests: tests.iter().map(|name| (*name).into()).collect(),
            reaches: names(reaches),
        };
        for (member, expected) in [
            (
                member(&["base"], &["ironbeat-rack", "small"], &["base"]),
                None,
            ),
            (
                member(&["other"], &[], &[]),
                Some("small/Cargo.toml: the plan has no arrow small -> other"),
            ),
            (
                member(&[], &["other"], &[]),
                Some("small/Cargo.toml: the plan has no arrow small -> other, not even for tests"),
            ),
            (
                member(&["base"], &[], &["base", "far"]),
                Some(
                    "small/Cargo.toml: small must not be built from far, which `cargo tree -i far` finds below it",
                ),
            ),
        ] {
            let wrong = check_crates(&[small()], &[member]);
            assert_eq!(wrong.first().map(String::as_str), expected);
        }
    }

    #[test]
    fn plan_and_disk_have_the_same_folders() {
        let folders = ["front", "records"];
        assert_eq!(
            check_rooms(&small(), &names(&folders), &names(&["lib"])),
            Vec::<String>::new()
        );
        assert_eq!(
            check_rooms(
                &small(),
                &names(&["front", "new", "clock"]),
                &names(&["lib", "clock"])
            ),
            [
                "small/src/records: is in the plan and missing on disk",
                "small/src/new: is a folder that is not in the plan"
            ]
        );
        assert_eq!(
            check_crates(
                &[small()],
                &[Member {
                    name: "odd".into(),
                    ..Member::default()
                }]
            ),
            [
                "small: the plan has crate small, the workspace has not",
                "Cargo.toml: crate odd is not in the plan"
            ]
        );
    }

    /// The plan itself: its arrows lead to what it has, and never in a circle.
    #[test]
    fn the_plan_has_no_circles() {
        for one in plan::CRATES {
            for name in one.may.iter().chain(one.never) {
                assert!(
                    plan::CRATES.iter().any(|other| other.name == *name),
                    "{name} of {}",
                    one.name
                );
            }
            let rooms: Vec<(&str, &[&str])> = one
                .rooms
                .iter()
                .filter_map(|room| match room.may {
                    May::ImportAll => None,
                    May::Import(names) => Some((room.name, names)),
                })
                .collect();
            assert!(is_layered(&rooms), "{}", one.name);
        }
        let crates: Vec<(&str, &[&str])> =
            plan::CRATES.iter().map(|one| (one.name, one.may)).collect();
        assert!(is_layered(&crates));
        assert!(!is_layered(&[("a", &["b"]), ("b", &["a"])]));
    }

    /// Takes away what imports nothing that is left, until nothing is left.
    fn is_layered(all: &[(&str, &[&str])]) -> bool {
        let mut left = all.to_vec();
        loop {
            let names: Vec<&str> = left.iter().map(|(name, _)| *name).collect();
            let before = left.len();
            left.retain(|(_, may)| may.iter().any(|name| names.contains(name)));
            if left.is_empty() || left.len() == before {
                return left.is_empty();
            }
        }
    }
}
