//! Documents of presence, judged from outside: by the schemas of the RFCs.

mod packages;
pub mod schema;
