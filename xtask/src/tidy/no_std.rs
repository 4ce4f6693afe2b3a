//! Crates without the standard library: no dependency of theirs may bring it back by a feature.
//! The compiler holds the crate itself to it; a dependency's `std` would only show on a machine without one.

/// As `cargo tree --prefix depth --format '{p}|{f}'` prints it; `allowed` are packages with their reasons.
pub fn check(tree: &str, allowed: &[(&str, &str)]) -> Vec<String> {
    let mut wrong = Vec::new();
    // Below a macro everything runs where we build, not where it is linked.
    let mut macro_depth = None;
    for line in tree.lines() {
        let digits = line.bytes().take_while(u8::is_ascii_digit).count();
        let (depth, rest) = line.split_at(digits);
        let Ok(depth) = depth.parse::<usize>() else {
            continue;
        };
        if macro_depth.is_some_and(|at| depth > at) {
            continue;
        }
        let (package, features) = rest.split_once('|').unwrap_or((rest, ""));
        macro_depth = package.contains("(proc-macro)").then_some(depth);
        let name = package.split(' ').next().unwrap_or_default();
        let has_std = features.split([',', ' ']).any(|feature| feature == "std");
        if macro_depth.is_none() && has_std && !allowed.iter().any(|(package, _)| *package == name)
        {
            wrong.push(format!("{name} has the feature `std`"));
        }
    }
    wrong.sort();
    wrong.dedup();
    wrong
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn a_package_with_std_is_found_except_below_macros() {
        let tree = "0ours v0.1.0 (/somewhere)|\n1serde v1.0.0|alloc,derive\n2serde_derive v1.0.0 (proc-macro)|default\n\
                    3syn v3.0.0|std\n2serde_core v1.0.0|alloc,std\n1half v2.0.0|std (*)\n1alone v1.0.0|no-std,std-ish\n";
        assert_eq!(
            check(tree, &[]),
            [
                "half has the feature `std`",
                "serde_core has the feature `std`"
            ]
        );
        assert_eq!(
            check(tree, &[("half", "for a reason")]),
            ["serde_core has the feature `std`"]
        );
    }
}
