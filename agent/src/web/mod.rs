//! HTTP and TLS from the agent's side: which URLs there are, one GET, whom to believe, and by which way a request leaves.
//! What to fetch, and when to try again, is decided in `disk::fetch` and `heart`.
pub mod document;
pub mod http;
mod stream;
pub mod trust;
pub mod url;
pub mod way;

#[cfg(test)]
pub mod testing;
