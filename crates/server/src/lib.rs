//! An HTTP server for precomputed datasets: byte ranges, CORS on every answer, packed objects, nothing outside
//! its roots.
//!
//! Everything that blocks (looking up, opening, reading and inflating files) happens on threads of its own, a piece at
//! a time, so that neither a slow disk nor a slow client holds up anybody else. What a file is and how it is to be
//! sent comes from the table in [`Config`].

mod body;
mod conditions;
mod config;
mod encoding;
mod files;
mod host;
mod inflate;
mod quick;
mod range;
mod respond;
mod routes;
mod server;
mod service;
mod target;

pub use config::{Config, NamedRule, Place, Rule, Rules};
pub use hyper::header::HeaderValue;
pub use routes::{FileMount, Handler, HandlerRequest, Mount, Mounted, Pieces, Reply, Sent};
pub use server::Server;
