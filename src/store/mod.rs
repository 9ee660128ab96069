//! The durable verbs, in domain words.
