//! Files that import each other in a circle, so that none can be read or changed alone.
//! A parent and its children are one thing in several files: between them there is no circle.
use super::tree::{Tree, Use};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

/// One message per group of files that import each other; `excused` are imports (from, to, reason) that may do so.
pub fn check(tree: &Tree, excused: &[(&str, &str, &str)]) -> Vec<String> {
    let is_excused = |one: &Use| {
        let (from, to) = (&tree.files[one.from].path, &tree.files[one.to].path);
        excused
            .iter()
            .any(|(a, b, _)| from == Path::new(a) && to == Path::new(b))
    };
    let uses: Vec<Use> = tree
        .uses()
        .into_iter()
        .filter(|one| !is_family(tree, one) && !is_excused(one))
        .collect();
    let edges: Vec<(usize, usize)> = uses.iter().map(|one| (one.from, one.to)).collect();
    groups(tree.files.len(), &edges)
        .iter()
        .map(|group| describe(tree, &uses, &round(group, &edges)))
        .collect()
}

fn is_family(tree: &Tree, one: &Use) -> bool {
    let (from, to) = (&tree.files[one.from].module, &tree.files[one.to].module);
    from.starts_with(to) || to.starts_with(from)
}

fn describe(tree: &Tree, uses: &[Use], round: &[usize]) -> String {
    let mut text = String::from("files import each other in a circle:");
    for (at, from) in round.iter().enumerate() {
        let to = round[(at + 1) % round.len()];
        let line = uses
            .iter()
            .find(|one| (one.from, one.to) == (*from, to))
            .map_or(0, |one| one.line);
        let (from, to) = (&tree.files[*from].path, &tree.files[to].path);
        text += &format!("\n    {}:{line} imports {}", from.display(), to.display());
    }
    text
}

/// Groups of two and more that all reach each other: Tarjan's strongly connected components.
fn groups(count: usize, edges: &[(usize, usize)]) -> Vec<Vec<usize>> {
    let mut tarjan = Tarjan {
        to: vec![Vec::new(); count],
        index: vec![None; count],
        low: vec![0; count],
        on_stack: vec![false; count],
        stack: Vec::new(),
        next: 0,
        groups: Vec::new(),
    };
    for (from, to) in edges {
        tarjan.to[*from].push(*to);
    }
    for node in 0..count {
        if tarjan.index[node].is_none() {
            tarjan.visit(node);
        }
    }
    tarjan.groups
}

struct Tarjan {
    to: Vec<Vec<usize>>,
    index: Vec<Option<usize>>,
    low: Vec<usize>,
    on_stack: Vec<bool>,
    stack: Vec<usize>,
    next: usize,
    groups: Vec<Vec<usize>>,
}

impl Tarjan {
    /// As deep as a chain of imports is long: a few dozen files.
    fn visit(&mut self, node: usize) {
        self.index[node] = Some(self.next);
        self.low[node] = self.next;
        self.next += 1;
        self.stack.push(node);
        self.on_stack[node] = true;
        for to in self.to[node].clone() {
            match self.index[to] {
                None => {
                    self.visit(to);
                    self.low[node] = self.low[node].min(self.low[to]);
                }
                Some(index) if self.on_stack[to] => self.low[node] = self.low[node].min(index),
                Some(_) => {}
            }
        }
        if self.index[node] != Some(self.low[node]) {
            return;
        }
        let begin = self
            .stack
            .iter()
            .position(|one| *one == node)
            .expect("it was pushed above");
        let mut group = self.stack.split_off(begin);
        for one in &group {
            self.on_stack[*one] = false;
        }
        group.sort_unstable();
        if group.len() > 1 {
            self.groups.push(group);
        }
    }
}

/// The shortest way round through the first of a group.
fn round(group: &[usize], edges: &[(usize, usize)]) -> Vec<usize> {
    let first = group[0];
    let mut came_from = BTreeMap::new();
    let mut queue = VecDeque::from([first]);
    while let Some(node) = queue.pop_front() {
        for (_, to) in edges
            .iter()
            .filter(|(from, to)| *from == node && group.contains(to))
        {
            if *to == first {
                let mut way = vec![node];
                while let Some(before) = came_from.get(way.last().expect("it has one")) {
                    way.push(*before);
                }
                way.reverse();
                return way;
            }
            if !came_from.contains_key(to) {
                came_from.insert(*to, node);
                queue.push_back(*to);
            }
        }
    }
    group.to_vec()
}

#[cfg(test)]
mod tests {
    use super::super::tree::of;
    use super::*;

    #[test]
    fn groups_are_found_and_chains_are_not() {
        for (edges, expected) in [
            (vec![(0, 1), (1, 2), (2, 3)], vec![]),
            (vec![(0, 1), (1, 0)], vec![vec![0, 1]]),
            (vec![(0, 1), (1, 2), (2, 1), (3, 0)], vec![vec![1, 2]]),
            (
                vec![(0, 1), (1, 0), (2, 3), (3, 2), (1, 2)],
                vec![vec![2, 3], vec![0, 1]],
            ),
        ] {
            assert_eq!(groups(4, &edges), expected, "{edges:?}");
        }
    }

    #[test]
    fn the_shortest_way_round_is_shown() {
        let edges = [(0, 1), (1, 2), (2, 3), (3, 0), (2, 0)];
        assert_eq!(round(&[0, 1, 2, 3], &edges), [0, 1, 2]);
    }

    #[test]
    fn a_circle_names_files_and_lines() {
        let tree = of(&[
            ("lib.rs", "mod a;\nmod b;"),
            ("a.rs", "\nuse crate::b::B;"),
            ("b.rs", "use crate::a::A;"),
        ]);
        assert_eq!(
            check(&tree, &[]),
            [
                "files import each other in a circle:\n    a.rs:2 imports b.rs\n    b.rs:1 imports a.rs"
            ]
        );
        assert_eq!(
            check(&tree, &[("b.rs", "a.rs", "for a reason")]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_parent_and_its_child_are_no_circle() {
        let tree = of(&[
            ("lib.rs", "mod a;"),
            ("a.rs", "mod child;\nuse self::child::C;"),
            ("a/child.rs", "use super::A;\nuse crate::a::B;"),
        ]);
        assert_eq!(check(&tree, &[]), Vec::<String>::new());
    }
}
