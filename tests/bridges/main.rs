//! Tests of clients of one protocol era on tool servers of the other, as processes.
//!
//! One folder per direction. The servers are the fixture where an honest server will do, and scripted ones where a
//! test needs to see what was sent, or a server that no library would make.

mod onto_modern;
