//! Documents of presence, judged from outside: by the schemas of the RFCs.

pub mod schema;
