//! All that the workers and commands of a site print, and the secrets that none of them may print.
//! `ironbeat_rack::leaks` knows in which forms a secret may be there.
use ironbeat_rack::leaks::{find, has_seed, of_logins};
use ironbeat_rack::secrets::MASTER_KEY;
use std::path::PathBuf;
use std::sync::Mutex;

/// The password of a BMC that nobody asks.
pub const IDLE: &str = "hush-idle-bmc";

/// What tests give to BMCs, config drives and image servers, or type in their place. A test that makes up another secret puts
/// it here.
const GIVEN: [&str; 19] = [
    IDLE,
    // Of the simulators' users.
    "Rack-pw-1",
    "Rack-pw-2",
    "hush-wrong-password",
    "first-password",
    "not-the-password",
    "hush-user-data",
    "hush-network-data",
    "hush-24682468",
    // K_g in hex: kg-hush.
    "6b672d68757368",
    "sesame-31337",
    // K_g: sesame-kg.
    "736573616d652d6b67",
    "sesame-kg",
    "sesame-changed-4712",
    "sesame-user-4713",
    "sesame-net-4714",
    "sesame-again-4715",
    "sesame-sig-4716",
    "sesame-set-4717",
];

/// Whether a secret is looked for.
pub fn is_given(secret: &str) -> bool {
    GIVEN.contains(&secret)
}

pub struct Printed {
    /// With the logs of workers, and of commands that go on.
    dir: PathBuf,
    /// What `ironbeat auth init` made.
    auth: Option<PathBuf>,
    /// What all other commands printed.
    pub said: Mutex<String>,
}

impl Printed {
    pub fn new(dir: PathBuf, auth: Option<PathBuf>) -> Self {
        let said = Mutex::default();
        Self { dir, auth, said }
    }

    /// Each with a name.
    pub fn secrets(&self) -> Vec<(String, String)> {
        let given = GIVEN
            .iter()
            .map(|it| (format!("given: {it}"), it.to_string()));
        let master = MASTER_KEY.trim().rsplit(':').next().unwrap();
        let master = ("the master key".to_string(), master.to_string());
        let mut all: Vec<_> = given.chain([master]).collect();
        if let Some(auth) = &self.auth {
            let logins = of_logins(auth).unwrap();
            assert!(logins.len() > 15, "{logins:?}");
            all.extend(logins);
        }
        all
    }

    /// No process has printed a secret, and nobody's private key.
    pub fn assert_hushed(&self) {
        let secrets = self.secrets();
        let check = |who: &str, text: &str| {
            let found = find(text, &secrets);
            assert_eq!(found, None, "{who} has printed it: {text}");
            assert!(!has_seed(text), "{who} has printed a private key: {text}");
        };
        check("a command", &self.said.lock().unwrap());
        for entry in std::fs::read_dir(&self.dir).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|it| it == "log") {
                let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
                check(&path.display().to_string(), &text);
            }
        }
    }
}
