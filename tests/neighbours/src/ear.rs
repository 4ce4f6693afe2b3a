//! All that one of the people hears of the prefix while others play.
//! What is looked for in it is in `rows/people`.
use crate::site::Site;
use crate::wire::SOON;
use anyhow::Result;
use std::sync::{Arc, Mutex, PoisonError};

/// Everything of the prefix that a login may hear, from now on.
pub struct Ear {
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Ear {
    /// # Errors
    /// When it may not.
    pub fn open(site: &Site, login: &str) -> Result<Self> {
        let mut wire = site.wire(&format!("people/{login}.creds"))?;
        wire.subscribe("ib.v1.>")?;
        let heard: Arc<Mutex<Vec<u8>>> = Arc::default();
        let hears = Arc::clone(&heard);
        std::thread::spawn(move || {
            // Until the server ends with the run.
            while let Ok(message) = wire.message_where(SOON, |_| true) {
                let Some(message) = message else { continue };
                let mut heard = hears.lock().unwrap_or_else(PoisonError::into_inner);
                heard.extend(
                    format!("{} {} ", message.subject, message.head.replace("\r\n", " ")).bytes(),
                );
                heard.extend(&message.body);
                heard.push(b'\n');
            }
        });
        Ok(Self { heard })
    }

    pub fn text(&self) -> String {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&heard).into_owned()
    }
}
