//! Owns where the product under test is: program, kernel, ramdisk and image, as `cargo xtask` built them.
//! Leaves building them to `cargo xtask`, and running them to `cluster`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// What is under test, built beforehand by `cargo xtask`, and where it is.
#[derive(Clone, Debug)]
pub struct Product {
    /// The `ironbeat` binary.
    pub ironbeat: PathBuf,
    /// Holds `vmlinuz` and `initrd`.
    pub boot_dir: PathBuf,
    /// The demo operating system, compressed: served by the workers under its file name.
    pub image: PathBuf,
    /// SHA-256 of that file, hex.
    pub image_sha256: String,
    /// The system of rescues, `rescue.cpio.zst`, served like the image.
    pub rescue: PathBuf,
    /// SHA-256 of that file, hex.
    pub rescue_sha256: String,
}

impl Product {
    /// From `IRONBEAT_PRODUCT`, a JSON file that `cargo xtask` writes when it builds what the rack needs.
    ///
    /// # Errors
    /// When it is not set or does not lead to the files.
    pub fn from_env() -> Result<Self> {
        Self::named("IRONBEAT_PRODUCT")
    }

    /// The same with the drivers of real machines, from `IRONBEAT_PRODUCT_GENERIC`.
    ///
    /// # Errors
    /// When it is not set or does not lead to the files.
    pub fn generic_from_env() -> Result<Self> {
        Self::named("IRONBEAT_PRODUCT_GENERIC")
    }

    fn named(variable: &str) -> Result<Self> {
        let path = std::env::var_os(variable).with_context(|| {
            format!("{variable} is not set: rack tests are run by `cargo xtask ci` or `cargo xtask test-rack`")
        })?;
        Self::read(Path::new(&path))
    }

    /// # Errors
    /// When the file cannot be read or a field is missing.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let value: Value = serde_json::from_str(&text)
            .with_context(|| format!("understand {}", path.display()))?;
        let field = |name: &str| {
            value[name]
                .as_str()
                .map(str::to_owned)
                .with_context(|| format!("{} has no {name:?}", path.display()))
        };
        let product = Self {
            ironbeat: field("ironbeat")?.into(),
            boot_dir: field("boot_dir")?.into(),
            image: field("image")?.into(),
            image_sha256: field("image_sha256")?,
            rescue: field("rescue")?.into(),
            rescue_sha256: field("rescue_sha256")?,
        };
        let Self {
            ironbeat,
            boot_dir,
            image,
            rescue,
            ..
        } = &product;
        for file in [ironbeat, boot_dir, image, rescue] {
            ensure!(file.exists(), "{} is missing", file.display());
        }
        Ok(product)
    }

    /// What [`Self::read`] reads.
    pub fn to_json(&self) -> Value {
        serde_json::json!({
            "ironbeat": self.ironbeat, "boot_dir": self.boot_dir, "image": self.image, "image_sha256": self.image_sha256,
            "rescue": self.rescue, "rescue_sha256": self.rescue_sha256,
        })
    }

    /// The image's file name, which is how a deploy names it.
    pub fn image_name(&self) -> String {
        self.image
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    }
}
