//! Why we differ from Ironic, for each state and event where we do.
//! A test holds that these are all, and that each is needed.

const AT_ANY_MOMENT: &str =
    "an operator is heard at any moment: a worker that drives the BMC lets go of it";

const LET_IN: &str =
    "the last step is the ramdisk's: when it says that people can log in, the node is in rescue";

/// States and events (`*`: any), and the reason.
pub const REASONS: &[(&str, &str, &str)] = &[
    ("verifying", "abort", AT_ANY_MOMENT),
    ("deploying", "abort", AT_ANY_MOMENT),
    ("deploying", "delete", AT_ANY_MOMENT),
    ("deploy hold", "delete", AT_ANY_MOMENT),
    ("deleting", "abort", AT_ANY_MOMENT),
    ("cleaning", "abort", AT_ANY_MOMENT),
    ("inspecting", "abort", AT_ANY_MOMENT),
    ("adopting", "abort", AT_ANY_MOMENT),
    (
        "inspect wait",
        "done",
        "the machine is switched off first, by its BMC: inspecting comes before manageable",
    ),
    ("rescuing", "abort", AT_ANY_MOMENT),
    ("rescuing", "delete", AT_ANY_MOMENT),
    ("unrescuing", "abort", AT_ANY_MOMENT),
    ("rescuing", "done", LET_IN),
    ("rescue wait", "resume", LET_IN),
    ("rescue wait", "done", LET_IN),
    ("servicing", "abort", AT_ANY_MOMENT),
    ("servicing", "delete", AT_ANY_MOMENT),
    ("service hold", "delete", AT_ANY_MOMENT),
    (
        "service hold",
        "service",
        "a service under way is aborted first, or its hold ended",
    ),
    (
        "service hold",
        "fail",
        "nothing is under way that could fail: an operator aborts it",
    ),
    (
        "service failed",
        "wait",
        "a failed service is over: service begins it again",
    ),
    (
        "service failed",
        "hold",
        "a failed service is over: service begins it again",
    ),
    (
        "service failed",
        "abort",
        "active is said of a machine that was seen to boot its disk: servicing comes before it",
    ),
];

pub fn of(state: &str, event: &str) -> Option<&'static str> {
    let fits =
        |(of, what, _): &&(&str, &str, &str)| *of == state && (*what == event || *what == "*");
    REASONS.iter().find(fits).map(|(_, _, reason)| *reason)
}
