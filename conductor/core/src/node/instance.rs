//! The instance that an owner wants on a node: as asked for, and as kept.
//! `plan` decides whether a machine can run it.
use super::secret::{KEPT_BACK, REDACTED, Secret};
use super::traits::Trait;
use crate::hints::Hints;
use crate::named::DeployStep;
use crate::time::Time;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;
use ironbeat_common::image::{Checksum, Digest, ImageFormat};
use ironbeat_common::text_schema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The owner's order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewInstance {
    pub image: Image,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// cloud-init's user data, passed on unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Secret>"))]
    pub user_data: Option<String>,
    /// OpenStack network_data.json, passed on unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Secret>"))]
    pub network_data: Option<String>,
    #[serde(default)]
    pub ssh_keys: Vec<String>,
    /// Overrides the node's own hints.
    #[serde(default, skip_serializing_if = "Hints::is_empty")]
    pub root_device: Hints,
    /// What the machine must have of its node's traits. Deploy templates of these names add their steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traits: Vec<Trait>,
    /// Steps beside those of every deploy, by priority; a worker adds those of templates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deploy_steps: Vec<DeployStep>,
    /// Whether the instance is to say once that it runs; none: as the policy has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<bool>,
    /// With which it says so: made by the worker that is asked, and nobody's to choose.
    #[serde(skip)]
    pub token: Option<ConfirmToken>,
}

/// Proves that a message comes from the instance: it is on the config drive alone.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfirmToken {
    pub secret: Secret,
    pub sha256: Digest<32>,
}

/// The instance's own word that it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirm {
    /// Of the token that it sends.
    pub sha256: Digest<32>,
    /// When it came; none: not yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
}

/// The owner's order, as the record keeps it. The rest is [`InstanceData`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    pub image: Image,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    #[serde(default)]
    pub ssh_keys: Vec<String>,
    /// Overrides the node's own hints.
    #[serde(default, skip_serializing_if = "Hints::is_empty")]
    pub root_device: Hints,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traits: Vec<Trait>,
    /// As they were when it was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deploy_steps: Vec<DeployStep>,
    /// Of one that is to say that it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<Confirm>,
}

/// The rest of the config drive, often large and often with a password in it; and what the image's URL proves to its server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InstanceData {
    /// cloud-init's user data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    /// OpenStack network_data.json.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_data: Option<String>,
    /// With which the instance says that it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// The image's whole URL where it has a query, which may be a signature: the record has the mask in the query's place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_url: Option<Secret>,
}

impl Instance {
    /// What it does not say is as in `other`, but for the token: each deploy has its own.
    #[must_use]
    pub fn or(self, other: Instance) -> Self {
        let given = !self.ssh_keys.is_empty();
        let hinted = !self.root_device.is_empty();
        // Steps come of traits: they go together.
        let stepped = !self.traits.is_empty() || !self.deploy_steps.is_empty();
        let (traits, deploy_steps) = match stepped {
            true => (self.traits, self.deploy_steps),
            false => (other.traits, other.deploy_steps),
        };
        Self {
            image: self.image,
            hostname: self.hostname.or(other.hostname),
            ssh_keys: if given { self.ssh_keys } else { other.ssh_keys },
            root_device: if hinted {
                self.root_device
            } else {
                other.root_device
            },
            traits,
            deploy_steps,
            confirm: self.confirm,
        }
    }
}

impl InstanceData {
    /// What it does not say is as in `other`, but for what belongs to this deploy's token and image.
    #[must_use]
    pub fn or(self, other: InstanceData) -> Self {
        Self {
            user_data: self.user_data.or(other.user_data),
            network_data: self.network_data.or(other.network_data),
            token: self.token,
            image_url: self.image_url,
        }
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The image's source with its query, if it has one; `recorded`: as the record has it. None: its query is lost.
    pub fn image_source(&self, recorded: &ImageSource) -> Option<ImageSource> {
        // A record of before has it whole.
        if !recorded.is_masked() {
            return Some(recorded.clone());
        }
        let whole: ImageSource = self.image_url.as_ref()?.reveal().parse().ok()?;
        (whole.without_query() == *recorded).then_some(whole)
    }
}

impl NewInstance {
    /// Splits it into the part in the record and the part beside it. Whether its token counts is for a decision to say.
    pub fn split(self) -> (Instance, InstanceData) {
        let source = self.image.source.without_query();
        let image_url =
            (source != self.image.source).then(|| Secret::new(self.image.source.as_str()));
        let instance = Instance {
            image: Image {
                source,
                ..self.image
            },
            hostname: self.hostname,
            ssh_keys: self.ssh_keys,
            root_device: self.root_device,
            traits: self.traits,
            deploy_steps: self.deploy_steps,
            confirm: None,
        };
        let data = InstanceData {
            user_data: self.user_data,
            network_data: self.network_data,
            token: None,
            image_url,
        };
        (instance, data)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Image {
    pub source: ImageSource,
    pub checksum: Checksum,
    /// None: the name's extension tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<ImageFormat>,
}

/// `http://…`, or the bare name of a file that the workers serve.
#[derive(Clone, PartialEq, Eq)]
pub enum ImageSource {
    Http(HttpUrl),
    Served(FileName),
}

/// A URL that starts with `http://`. Its query may be a signature: requests have it, and nothing that is printed. Records have
/// the mask in its place; [`InstanceData`] has the whole.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpUrl(String);

/// One path component that cannot leave its directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileName(String);

fn is_file_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-+".contains(&b))
}

impl ImageSource {
    pub fn as_str(&self) -> &str {
        match self {
            ImageSource::Http(url) => &url.0,
            ImageSource::Served(name) => &name.0,
        }
    }

    /// Whether it says that it has a query, and not which.
    pub fn is_masked(&self) -> bool {
        let query = self.as_str().split_once('?').map(|(_, query)| query);
        query == Some(REDACTED)
    }

    /// As [`Self::without_query`], but one that was not masked still is not: `?kept-back`, which a decision takes for a query.
    #[must_use]
    pub(crate) fn kept_back(&self) -> Self {
        match self {
            ImageSource::Http(url) if !self.is_masked() => {
                ImageSource::Http(HttpUrl(url.0.split_once('?').map_or_else(
                    || url.0.clone(),
                    |(before, _)| format!("{before}?{KEPT_BACK}"),
                )))
            }
            ImageSource::Http(_) | ImageSource::Served(_) => self.clone(),
        }
    }

    /// The mask stands for the query.
    #[must_use]
    pub fn without_query(&self) -> Self {
        match self {
            ImageSource::Http(url) => ImageSource::Http(HttpUrl(hidden(&url.0))),
            ImageSource::Served(name) => ImageSource::Served(name.clone()),
        }
    }
}

fn hidden(url: &str) -> String {
    match url.split_once('?') {
        Some((before, _)) => format!("{before}?{REDACTED}"),
        None => url.into(),
    }
}

impl fmt::Display for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hidden(self.as_str()))
    }
}

impl fmt::Debug for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// As it is: whole in a request, masked in a record.
impl Serialize for ImageSource {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ImageSource {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

/// An image source, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSource(String);

impl fmt::Display for BadSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for BadSource {}

impl FromStr for ImageSource {
    type Err = BadSource;
    fn from_str(text: &str) -> Result<Self, BadSource> {
        let bad = |why: &str| {
            let text = hidden(text);
            Err(BadSource(format!("image source {text:?}: {why}")))
        };
        match text.split_once("://") {
            Some(("http" | "https", rest)) => {
                let plain = text.bytes().all(|b| b.is_ascii_graphic());
                if rest.is_empty() || rest.starts_with('/') || !plain {
                    return bad("this is not an http or https URL");
                }
                let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
                if authority.contains('@') {
                    return Err(BadSource(
                        "image source: a URL with a user or a password would show them to whoever reads the node".into(),
                    ));
                }
                Ok(ImageSource::Http(HttpUrl(text.into())))
            }
            Some((scheme, _)) => bad(&format!("{scheme:?} is neither http nor https")),
            None if is_file_name(text) => Ok(ImageSource::Served(FileName(text.into()))),
            None => bad("it is neither a URL nor the plain name of a served file"),
        }
    }
}

text_schema!(ImageSource);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_lies_beside_the_record_and_comes_back_from_there() {
        let split = |source: &str| {
            let image = Image {
                source: source.parse().unwrap(),
                checksum: "0".repeat(64).parse().unwrap(),
                format: None,
            };
            let order = serde_json::json!({ "image": image });
            let order: NewInstance = serde_json::from_value(order).unwrap();
            order.split()
        };
        let signed = "https://h/os.zst?sig=hush";
        let (instance, data) = split(signed);
        let recorded = &instance.image.source;
        assert_eq!(recorded.as_str(), "https://h/os.zst?******");
        assert!(!serde_json::to_string(&instance).unwrap().contains("hush"));
        assert!(!alloc::format!("{data:?}").contains("hush"));
        let whole = |data: &InstanceData, source: &ImageSource| {
            let whole = data.image_source(source);
            whole.map(|whole| String::from(whole.as_str()))
        };
        assert_eq!(whole(&data, recorded).as_deref(), Some(signed));
        assert_eq!(whole(&InstanceData::default(), recorded), None);
        assert_eq!(whole(&split("https://h/b?sig=1").1, recorded), None);
        for plain in ["os.zst", "https://h/os.zst"] {
            let (instance, data) = split(plain);
            assert!(data.is_empty(), "{plain}");
            let source = &instance.image.source;
            assert_eq!(whole(&data, source).as_deref(), Some(plain));
        }
        let of_before: ImageSource = signed.parse().unwrap();
        let whole = whole(&InstanceData::default(), &of_before);
        assert_eq!(whole.as_deref(), Some(signed), "a record of before");
    }

    #[test]
    fn an_image_comes_by_http_or_is_served() {
        for (good, printed) in [
            ("http://h/os.zst?sig=1", "http://h/os.zst?******"),
            ("http://h/os.zst", "http://h/os.zst"),
            ("https://h/os.zst?sig=1", "https://h/os.zst?******"),
            ("os.zst", "os.zst"),
        ] {
            let source: ImageSource = good.parse().unwrap();
            assert_eq!(
                (source.as_str(), source.to_string().as_str()),
                (good, printed)
            );
            assert_eq!(format!("{source:?}"), printed);
            assert_eq!(source.without_query().as_str(), printed);
            // What is serialised is as it is.
            let json = serde_json::to_string(&source).unwrap();
            assert_eq!(json, format!("{good:?}"));
            assert_eq!(serde_json::from_str::<ImageSource>(&json).unwrap(), source);
        }
        for (wrong, why) in [
            (
                "ftp://h/os",
                "image source \"ftp://h/os\": \"ftp\" is neither http nor https",
            ),
            ("https:///os", "not an http or https URL"),
            ("https://u:hush@h/os", "a URL with a user or a password"),
            (
                "ftp://h/os?sig=4711",
                "\"ftp://h/os?******\": \"ftp\" is neither http",
            ),
            ("../shadow", "neither a URL nor the plain name"),
            ("http://", "not an http or https URL"),
            ("http:///os", "not an http or https URL"),
            ("http://h/a b", "not an http or https URL"),
            ("http://u:hush@h/os", "a URL with a user or a password"),
            ("", "neither a URL nor the plain name"),
        ] {
            let error = wrong.parse::<ImageSource>().unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
