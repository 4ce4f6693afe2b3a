//! The driver finds what it is there to find, and the seeds are good.
use ironbeat_fuzz::{Counted, Order, Target, all, one, run};
use std::collections::BTreeSet;

#[global_allocator]
static MEMORY: Counted = Counted;

const ORDER: Order = Order {
    seed: 1,
    first: 0,
    mutants: 20_000,
    limit: None,
};

fn target(read: fn(&[u8]) -> bool) -> Target {
    Target {
        seeds: vec![b"hello, world, hello".to_vec()],
        words: &["magic"],
        max_bytes: 1 << 20,
        ..Target::new("test", "nothing", "tests/fuzz/src/lib.rs", read)
    }
}

/// Why the first failure of a target failed, and the bytes that were kept.
fn found(read: fn(&[u8]) -> bool) -> Option<(String, Vec<u8>)> {
    let mut found = None;
    run(&[target(read)], &[0], ORDER, |done| {
        found = done.failures.first().map(|failure| {
            let kept = failure.kept.clone().unwrap();
            let bytes = std::fs::read(&kept).unwrap();
            std::fs::remove_file(kept).unwrap();
            (failure.why.clone(), bytes)
        });
    });
    found
}

#[test]
fn a_panic_is_found_with_its_place_and_its_bytes() {
    fn read(bytes: &[u8]) -> bool {
        assert!(!bytes.starts_with(b"magic"), "there it is");
        true
    }
    let (why, bytes) = found(read).unwrap();
    assert!(
        why.contains("tests/driver.rs") && why.contains("there it is"),
        "{why}"
    );
    assert!(bytes.starts_with(b"magic"));
    assert_eq!(one(&target(read), &bytes).unwrap_err(), why);
}

#[test]
fn memory_beyond_the_bound_is_found_and_below_it_is_not() {
    fn read(bytes: &[u8]) -> bool {
        let many = if bytes.len() > 25 { 2 << 20 } else { 1 << 19 };
        std::hint::black_box(vec![1_u8; many]).len() > bytes.len()
    }
    let (why, bytes) = found(read).unwrap();
    assert!(why.contains("2097152 bytes, at most 1048576"), "{why}");
    assert!(bytes.len() > 25);
    assert!(one(&target(read), b"short").unwrap().peak >= 1 << 19);
}

#[test]
fn what_survives_everything_has_tried_everything() {
    let mut tried = 0;
    run(&[target(|bytes| bytes.len() < 30)], &[0], ORDER, |done| {
        tried = done.mutants;
        assert!(done.failures.is_empty(), "{:?}", done.failures);
        assert!((1..tried).contains(&done.understood), "{done:?}");
    });
    assert_eq!(tried, ORDER.mutants);
}

#[test]
fn each_target_has_a_name_of_its_own_and_understands_its_seeds() {
    let mut names = BTreeSet::new();
    for target in all() {
        assert!(names.insert(target.name), "{} is there twice", target.name);
        assert!(!target.seeds.is_empty(), "{} has no seed", target.name);
        for (n, seed) in target.seeds.iter().enumerate() {
            let tried = one(&target, seed);
            let understood = tried.as_ref().is_ok_and(|tried| tried.understood);
            let text = String::from_utf8_lossy(seed);
            assert!(understood, "{}, seed {n}: {tried:?}\n{text}", target.name);
        }
    }
}

/// Set in the process that is to end.
const ENDS: &str = "IRONBEAT_FUZZ_ENDS";

#[test]
fn a_full_stack_is_told_with_the_command_that_repeats_it() {
    #[expect(unconditional_recursion, reason = "it fills the stack")]
    fn deeper(depth: &mut [u8; 4096]) -> u8 {
        depth[0] = depth[0].wrapping_add(1);
        deeper(&mut std::hint::black_box(*depth)) + std::hint::black_box(depth)[1]
    }
    fn read(bytes: &[u8]) -> bool {
        bytes.starts_with(b"magic") && deeper(&mut [0; 4096]) == 0
    }
    if std::env::var_os(ENDS).is_some() {
        run(&[target(read)], &[0], ORDER, |_| {});
        return;
    }
    let name = "a_full_stack_is_told_with_the_command_that_repeats_it";
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(ENDS, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let command = "repeat it: cargo xtask fuzz --target test --mutants 1 --seed 1 --first ";
    assert!(!output.status.success() && said.contains(command), "{said}");
}
