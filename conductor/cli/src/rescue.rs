//! Who may log in to a rescue system, as it is typed; the password leaves this program as a hash.
//! The core judges it, and a worker hands it to the agent.
use super::login::read;
use clap::Args;
use ironbeat_core::node::{RescueLogin, Secret};
use std::path::{Path, PathBuf};

#[derive(Args)]
#[group(required = true, multiple = true)]
pub struct LoginArgs {
    /// File with the password of user `rescue`. Never an argument: everybody can see those.
    #[arg(long)]
    password_file: Option<PathBuf>,
    /// SSH public key of one who may log in as `rescue`; may be given several times.
    #[arg(long = "ssh-key")]
    ssh_keys: Vec<String>,
}

impl LoginArgs {
    /// # Errors
    /// When the file cannot be read, or there are no random numbers.
    pub fn login(self) -> anyhow::Result<RescueLogin> {
        let password = self.password_file.as_deref();
        Ok(RescueLogin {
            password_hash: password.map(hash_of).transpose()?,
            ssh_keys: self.ssh_keys,
        })
    }
}

/// SHA-512 by crypt(5), with its usual 5,000 rounds, as Ironic has it.
fn hash_of(path: &Path) -> anyhow::Result<Secret> {
    let password = Secret::new(read("password", path)?);
    let rounds = sha_crypt::Sha512Params::new(sha_crypt::ROUNDS_DEFAULT);
    let rounds = rounds.map_err(|error| anyhow::anyhow!("hash the password: {error:?}"))?;
    let salt = super::password::random()?;
    let hash = sha_crypt::sha512_crypt_b64(password.reveal().as_bytes(), salt.as_bytes(), &rounds);
    let hash = hash.map_err(|error| anyhow::anyhow!("hash the password: {error:?}"))?;
    Ok(Secret::new(format!("$6${salt}${hash}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_hash_is_the_one_of_the_systems_own_crypt() {
        let path = std::env::temp_dir().join(format!("ironbeat-rescue-{}", std::process::id()));
        std::fs::write(&path, "hush and hush\n").unwrap();
        let hash = hash_of(&path).unwrap();
        let salt = hash.reveal().split('$').nth(2).unwrap().to_string();
        let openssl = Command::new("openssl")
            .args(["passwd", "-6", "-salt", &salt, "hush and hush"])
            .output()
            .unwrap();
        let theirs = String::from_utf8(openssl.stdout).unwrap();
        assert_eq!(hash.reveal(), theirs.trim());
        assert_ne!(hash, hash_of(&path).unwrap(), "each has a salt of its own");
        std::fs::remove_file(&path).unwrap();
        let login = RescueLogin {
            password_hash: Some(hash),
            ssh_keys: vec![],
        };
        login.check().unwrap();
    }
}
