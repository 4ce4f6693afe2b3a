//! Who is who on NATS: keys, the tokens that servers check, and what each role may say and hear.
//! It reads no file and opens no connection; the conductor and the command line do.
pub mod agent;
pub mod creds;
pub mod grant;
pub mod jwt;
pub mod refused;
pub mod revoke;
pub mod roles;
pub mod sealing;
pub mod site;
pub mod streams;
pub mod upgrade;
