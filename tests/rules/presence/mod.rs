//! Documents of presence, judged from outside: by the schemas of the RFCs.

mod documents;
mod packages;
pub mod schema;
