//! Arguments for the login to a BMC: the same for enrolling a node and for checking a BMC without one.
//! The conductor logs in.
use anyhow::Context;
use clap::Args;
use ironbeat_core::node::{BmcAccess, BmcAddress, CipherSuite, KgKey, Secret};
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct BmcLogin {
    /// User of the BMC.
    #[arg(long, default_value = "admin")]
    bmc_user: String,
    /// File with the BMC password; or set IRONBEAT_BMC_PASSWORD. Never an argument: everybody can see those.
    #[arg(long)]
    bmc_password_file: Option<PathBuf>,
    /// RMCP+ cipher suite, 3 or 17; default: the best the BMC has.
    #[arg(long)]
    cipher_suite: Option<CipherSuite>,
    /// File with the key K_g in hex, for BMCs that need one.
    #[arg(long)]
    bmc_kg_file: Option<PathBuf>,
    /// Speak IPMI 1.5, which hardly protects the password: for BMCs that offer nothing better.
    #[arg(long)]
    ipmi_1_5: bool,
}

impl BmcLogin {
    /// # Errors
    /// When there is no password, or a file cannot be read.
    pub fn access(self, address: BmcAddress) -> anyhow::Result<BmcAccess> {
        let password = match &self.bmc_password_file {
            Some(path) => read("BMC password", path)?,
            None => std::env::var("IRONBEAT_BMC_PASSWORD")
                .context("give --bmc-password-file or set IRONBEAT_BMC_PASSWORD")?,
        };
        let kg = self.bmc_kg_file.as_deref();
        let kg = kg.map(read_kg).transpose()?;
        Ok(BmcAccess::Ipmi {
            address,
            username: self.bmc_user,
            password: Secret::new(password),
            cipher_suite: self.cipher_suite,
            kg,
            ipmi_1_5: self.ipmi_1_5,
        })
    }
}

pub(super) fn read_kg(path: &Path) -> anyhow::Result<KgKey> {
    let hex = read("key K_g", path)?;
    hex.parse().with_context(|| format!("{}", path.display()))
}

pub(super) fn read(what: &str, path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("read the {what} from {}", path.display()))?;
    let text = text.trim_end_matches(['\r', '\n']);
    anyhow::ensure!(
        !text.is_empty(),
        "read the {what} from {}: there is nothing in it",
        path.display()
    );
    Ok(text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_no_password() {
        let path = std::env::temp_dir().join(format!("ironbeat-login-{}", std::process::id()));
        for (content, password) in [("", None), ("\n", None), ("hush\r\n", Some("hush"))] {
            std::fs::write(&path, content).unwrap();
            match (read("BMC password", &path), password) {
                (Ok(found), Some(password)) => assert_eq!(found, password),
                (Err(error), None) => {
                    assert!(error.to_string().contains("nothing in it"), "{error}");
                }
                (found, _) => panic!("{content:?}: {found:?}"),
            }
        }
        std::fs::remove_file(&path).unwrap();
    }
}
