//! The map of crates and folders in `ARCHITECTURE.md`: written from the plan, between two marks.
//! Leaves the rest of that file to people.
use super::plan::{Crate, Kind, May, Room};
use std::fmt::Write as _;

pub const BEGIN: &str = "<!-- map: written by cargo xtask tidy --write -->";
pub const END: &str = "<!-- end of map -->";

/// What stands between the marks.
pub fn text(plan: &[Crate]) -> String {
    let mut text =
        String::from("\n| crate | owns | does not have | imports of ours |\n|---|---|---|---|\n");
    for one in plan {
        let imports = one.may.iter().map(|name| {
            let to = plan.iter().find(|other| other.name == *name);
            to.map_or((*name).to_string(), |to| format!("`{}/`", to.dir))
        });
        writeln!(
            text,
            "| `{}/` | {} | {} | {} |",
            one.dir,
            one.owns,
            one.lacks,
            list(imports)
        )
        .expect("a String grows");
    }
    for one in plan.iter().filter(|one| !one.rooms.is_empty()) {
        write!(
            text,
            "\nIn `{}/src/`, where a file that is not named is shared: all may import it, and it imports none of these.\n\n\
             | | owns | imports |\n|---|---|---|\n",
            one.dir
        )
        .expect("a String grows");
        for room in one.rooms.iter().filter(|room| !room.owns.is_empty()) {
            let imports = match room.may {
                May::ImportAll => "all".to_string(),
                May::Import(names) => list(names.iter().map(|name| title(one.rooms, name))),
            };
            writeln!(
                text,
                "| {} | {} | {imports} |",
                title(one.rooms, room.name),
                room.owns
            )
            .expect("a String grows");
        }
    }
    text.push('\n');
    text
}

fn title(rooms: &[Room], name: &str) -> String {
    let found = rooms.iter().find(|room| room.name == name);
    match found.map(|room| room.kind) {
        Some(Kind::Folder) => format!("`{name}/`"),
        Some(Kind::File) | None => format!("`{name}.rs`"),
    }
}

fn list(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    if names.is_empty() {
        "–".into()
    } else {
        names.join(", ")
    }
}

/// The document with that map in it; None where the marks are missing.
pub fn put(document: &str, map: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{map}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: &[Crate] = &[
        Crate {
            name: "a-base",
            dir: "base",
            owns: "words",
            lacks: "clock",
            may: &[],
            no_std: true,
            never: &[],
            rooms: &[],
        },
        Crate {
            name: "a-top",
            dir: "top",
            owns: "deeds",
            lacks: "",
            may: &["a-base"],
            no_std: false,
            never: &[],
            rooms: &[
                Room {
                    name: "lib",
                    kind: Kind::File,
                    may: May::ImportAll,
                    owns: "",
                },
                Room {
                    name: "front",
                    kind: Kind::Folder,
                    may: May::Import(&["store", "run"]),
                    owns: "doors",
                },
                Room {
                    name: "store",
                    kind: Kind::Folder,
                    may: May::Import(&[]),
                    owns: "shelves",
                },
            ],
        },
    ];

    #[test]
    fn the_map_has_a_row_for_each_crate_and_folder() {
        assert_eq!(
            text(PLAN),
            "\n| crate | owns | does not have | imports of ours |\n|---|---|---|---|\n\
             | `base/` | words | clock | – |\n| `top/` | deeds |  | `base/` |\n\
             \nIn `top/src/`, where a file that is not named is shared: all may import it, and it imports none of these.\n\
             \n| | owns | imports |\n|---|---|---|\n\
             | `front/` | doors | `store/`, `run.rs` |\n| `store/` | shelves | – |\n\n"
        );
    }

    #[test]
    fn a_new_map_replaces_only_what_is_between_the_marks() {
        let document = format!("# Title\n{BEGIN}\nold\n{END}\nmore\n");
        let new = put(&document, "new\n").unwrap();
        assert_eq!(new, format!("# Title\n{BEGIN}\nnew\n{END}\nmore\n"));
        assert_eq!(put(&new, "new\n").unwrap(), new);
        assert_eq!(put("# Title\n", "new\n"), None);
    }
}
