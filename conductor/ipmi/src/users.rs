//! Who may log in to the BMC (IPMI 2.0 §22.26 to §22.29). Read only.
//! `login` logs in, which alone proves that a login works.
use crate::bmc::Bmc;
use crate::error::Error;
use crate::message::{APP, Request};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub id: u8,
    pub name: String,
    /// None: the BMC does not say.
    pub enabled: Option<bool>,
    /// 1 call-back, 2 user, 3 operator, 4 administrator, 5 OEM; Fh: no access on this channel.
    pub privilege: u8,
    /// May use IPMI on this channel at all.
    pub messaging: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    slots: u8,
    enabled: Option<bool>,
    privilege: u8,
    messaging: bool,
}

pub(crate) fn parse_access(data: &[u8]) -> Option<Access> {
    let [slots, status, _fixed, access, ..] = *data else {
        return None;
    };
    Some(Access {
        slots: slots & 0x3f,
        enabled: match status >> 6 {
            1 => Some(true),
            2 => Some(false),
            _ => None,
        },
        privilege: access & 0x0f,
        messaging: access & 0x10 != 0,
    })
}

pub(crate) fn name(data: &[u8]) -> String {
    let end = data.iter().position(|byte| *byte == 0);
    let name = &data[..end.unwrap_or(data.len()).min(16)];
    String::from_utf8_lossy(name).into_owned()
}

impl Bmc {
    /// The users of a channel (usually 1; 0Eh: the one that this session uses). Slots without name and access are left out.
    ///
    /// # Errors
    /// Whatever prevents an answer; see [`crate::ErrorKind`].
    pub async fn users(&self, channel: u8) -> Result<Vec<User>, Error> {
        let mut users = Vec::new();
        let (mut id, mut slots) = (1, 1);
        while id <= slots {
            let access = self.user_access(channel, id).await?;
            slots = access.slots;
            let name = self.user_name(id).await?;
            if !name.is_empty() || access.messaging {
                users.push(User {
                    id,
                    name,
                    enabled: access.enabled,
                    privilege: access.privilege,
                    messaging: access.messaging,
                });
            }
            id += 1;
        }
        Ok(users)
    }

    async fn user_access(&self, channel: u8, id: u8) -> Result<Access, Error> {
        let attempt = "get user access";
        let data = self
            .command(attempt, Request::new(APP, 0x44, &[channel & 0x0f, id]))
            .await?;
        parse_access(&data).ok_or_else(|| self.malformed(attempt, "user access cut short"))
    }

    async fn user_name(&self, id: u8) -> Result<String, Error> {
        let request = Request::new(APP, 0x46, &[id]);
        match self.command("get user name", request).await {
            Ok(data) => Ok(name(&data)),
            // A slot that was never used.
            Err(error) if error.completion().is_some() => Ok(String::new()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_and_names_are_read() {
        let expected = Access {
            slots: 10,
            enabled: Some(true),
            privilege: 4,
            messaging: true,
        };
        assert_eq!(parse_access(&[0x0a, 0x42, 0x01, 0x34]), Some(expected));
        assert_eq!(
            parse_access(&[0x0a, 0x82, 0x01, 0x0f]).unwrap().enabled,
            Some(false)
        );
        assert_eq!(parse_access(&[0x0a, 0x42, 0x01]), None);
        assert_eq!(name(b"admin\0\0\0\0\0\0\0\0\0\0\0"), "admin");
        assert_eq!(name(b"sixteen-bytes-it"), "sixteen-bytes-it");
        assert_eq!(name(&[]), "");
    }
}
